/* Tries to leave the root of `mediated` isolation: from the inside, as a hostile RUN would. Prints what went wrong. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int wrong;

#define FAIL(...) (wrong = 1, printf(__VA_ARGS__), (void)putchar('\n'))

/* The outside: the executor, tokens, its state, other processes. */
static const char *const outside[] = {
    "/kaniko/executor", "/kaniko", "/state", "/bait", "/bait/bait", "/out", "/credentials", "/workspace", "/busybox/sh",
    "/../kaniko/executor", "/proc/../../kaniko/executor", "/proc/self/root/kaniko/executor", "/proc/1/root/kaniko",
    "/proc/1/environ", "/proc/1/mem", "/proc/1/cmdline", "/proc/self/cwd/../../../kaniko/executor",
    "/proc/self/fd/../../../kaniko", "/dev/fd/../../kaniko", "/dev/mem", "/proc/kcore", "/proc/sysrq-trigger",
    "/link-up/kaniko/executor", "/link-absolute", "/link-proc/kaniko/executor",
};

static void paths(void) {
    struct stat stat_;
    char text[4096];
    mkdir("/a", 0755);
    symlink("../../../../../..", "/link-up");
    symlink("/kaniko/executor", "/link-absolute");
    symlink("/proc/self/root/../..", "/link-proc");
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        const char *path = outside[i];
        int fd = open(path, O_RDONLY | O_NONBLOCK);
        if (fd >= 0) FAIL("open(%s)", path), close(fd);
        if ((fd = open(path, O_PATH)) >= 0) FAIL("open(%s, O_PATH)", path), close(fd);
        if (stat(path, &stat_) == 0) FAIL("stat(%s)", path);
        if (chdir(path) == 0) FAIL("chdir(%s)", path), chdir("/");
        if (access(path, F_OK) == 0) FAIL("access(%s)", path);
        if (truncate(path, 0) == 0) FAIL("truncate(%s)", path);
        if (chmod(path, 0777) == 0) FAIL("chmod(%s)", path);
        /* These two take a link itself, which is RUN's own. */
        int is_link = lstat(path, &stat_) == 0;
        if (!is_link && link(path, "/stolen") == 0) FAIL("link(%s)", path);
        if (!is_link && rename(path, "/stolen") == 0) FAIL("rename(%s)", path);
        char *const arguments[] = {(char *)path, "version", NULL};
        pid_t child = fork();
        if (child == 0) { execv(path, arguments); _exit(99); }
        int status;
        waitpid(child, &status, 0);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 99) FAIL("execve(%s)", path);
    }
    if (readlink("/proc/1/exe", text, sizeof text) > 0) FAIL("readlink(/proc/1/exe)");
    DIR *proc = opendir("/proc");
    int found = 0;
    for (struct dirent *entry; (entry = readdir(proc));)
        if (atoi(entry->d_name) == 1 || atoi(entry->d_name) == getppid()) found++;
    closedir(proc);
    if (found) FAIL("/proc lists %d processes of others", found);
    int proc_fd = open("/proc", O_RDONLY | O_DIRECTORY);
    if (openat(proc_fd, "1/status", O_RDONLY) >= 0) FAIL("openat(/proc, 1/status)");
    int status_fd = openat(proc_fd, "self/status", O_RDONLY);
    if (read(status_fd, text, 5) != 5 || memcmp(text, "Name:", 5)) FAIL("openat(/proc, self/status) reads nothing");
    if (openat(proc_fd, "../kaniko/executor", O_RDONLY) >= 0) FAIL("openat(/proc, ..)");
    int sys_fd = open("/sys", O_RDONLY | O_DIRECTORY);
    if (openat(sys_fd, "../kaniko/executor", O_RDONLY) >= 0) FAIL("openat(/sys, ..)");
    if (open("/sys/kernel/uevent_helper", O_WRONLY) >= 0) FAIL("writing below /sys");
    if (open("/proc/sys/kernel/core_pattern", O_WRONLY) >= 0) FAIL("writing below /proc/sys");
    mknod("/memory", S_IFCHR | 0666, makedev(1, 1)), mknod("/disk", S_IFBLK | 0666, makedev(7, 0));
    mknod("/terminal", S_IFCHR | 0666, makedev(136, 0));
    if (open("/memory", O_RDONLY) >= 0 || open("/disk", O_RDONLY) >= 0 || open("/terminal", O_RDWR) >= 0)
        FAIL("a device of the machine");
    if (open("/proc/self/mem", O_RDWR) >= 0) FAIL("writing one's own memory by its file");
}

static void processes(void) {
    struct rlimit64 limit = {1, 1};
    char byte;
    struct iovec here = {&byte, 1}, there = {(void *)0x400000, 1};
    pid_t others[] = {1, getppid()};
    for (int i = 0; i < 2; i++) {
        pid_t other = others[i];
        if (kill(other, 0) == 0) FAIL("kill(%d, 0)", other);
        if (kill(other, SIGSTOP) == 0) FAIL("kill(%d, SIGSTOP)", other);
        if (syscall(SYS_tkill, other, SIGSTOP) == 0) FAIL("tkill(%d)", other);
        if (syscall(SYS_tgkill, other, other, SIGSTOP) == 0) FAIL("tgkill(%d)", other);
        if (syscall(SYS_pidfd_open, other, 0) >= 0) FAIL("pidfd_open(%d)", other);
        if (ptrace(PTRACE_SEIZE, other, 0, 0) == 0) FAIL("ptrace(%d)", other);
        if (process_vm_readv(other, &here, 1, &there, 1, 0) >= 0) FAIL("process_vm_readv(%d)", other);
        if (syscall(SYS_prlimit64, other, RLIMIT_NPROC, &limit, NULL) == 0) FAIL("prlimit64(%d)", other);
        if (setpriority(PRIO_PROCESS, other, 5) == 0) FAIL("setpriority(%d)", other);
        if (syscall(SYS_ioprio_set, 1, other, 0) == 0) FAIL("ioprio_set(%d)", other);
        struct sched_param none = {0};
        if (sched_setscheduler(other, SCHED_IDLE, &none) == 0) FAIL("sched_setscheduler(%d)", other);
    }
    if (setpriority(PRIO_USER, 0, 5) == 0) FAIL("setpriority of a user");
    if (fcntl(0, F_SETOWN, getppid()) == 0) FAIL("F_SETOWN");
    /* Itself alone is left out; if others were met, this test ended here. */
    kill(-1, SIGUSR2);
    struct rlimit64 label = {0x3fffe00, RLIM64_INFINITY};
    uid_t before = getuid();
    syscall(SYS_prlimit64, 0, RLIMIT_LOCKS, &label, NULL);
    setrlimit(RLIMIT_LOCKS, (struct rlimit *)&label);
    if (getuid() != before) FAIL("a limit changes who one is");
}

/* Every call there may be, without arguments that mean anything, each in a process of its own. */
static void numbers(void) {
    for (int number = 0; number <= 1024; number++) {
        if (number == SYS_pause || number == SYS_rt_sigsuspend || number == SYS_vfork) continue;
        pid_t child = fork();
        if (child == 0) {
            int null = open("/dev/null", O_RDWR);
            dup2(null, 0), dup2(null, 1), dup2(null, 2);
            alarm(1);
            syscall(number, -1, 0, 0, 0, 0, 0);
            _exit(0);
        }
        int status;
        if (child > 0) waitpid(child, &status, 0);
    }
}

static void *swap_descriptors(void *files) {
    const int *const numbers = files;
    for (;;) {
        for (int number = 3; number < 12; number++) {
            if (number != numbers[0] && number != numbers[1]) dup2(numbers[number % 2], number);
        }
        for (int number = 3; number < 12; number++) {
            if (number != numbers[0] && number != numbers[1]) close(number);
        }
    }
    return NULL;
}

/* Another thread puts a program of its own under the number of what the supervisor has the kernel execute. */
static void swapped_programs(int memory) {
    char *const arguments[] = {"true", "native", NULL};
    for (int i = 0; i < 300; i++) {
        pid_t child = fork();
        if (child == 0) {
            int files[2] = {fcntl(memory, F_DUPFD, 100), fcntl(open("/escape", O_RDONLY), F_DUPFD, 100)};
            pthread_t thread;
            alarm(10);
            pthread_create(&thread, NULL, swap_descriptors, files);
            execv("/bin/busybox", arguments);
            _exit(99);
        }
        int status;
        waitpid(child, &status, 0);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
            FAIL("a program was executed without the supervisor");
            return;
        }
    }
}

/* The page that only the supervisor writes, found by its being there. */
static void page(void) {
    char *const start = (char *)0x10000;
    if (munmap(start, 4096) == 0) FAIL("munmap of the page");
    if (munmap(0, 0x40000) == 0) FAIL("munmap of all below");
    if (mprotect(start, 4096, PROT_READ | PROT_WRITE) == 0) FAIL("mprotect of the page");
    if (mmap(start, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED)
        FAIL("mmap over the page");
    void *high = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mremap(high, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, start) != MAP_FAILED) FAIL("mremap over the page");
    if (mremap(start, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, high) != MAP_FAILED) FAIL("mremap of the page");
    if (madvise(start, 4096, MADV_DONTNEED) == 0) FAIL("madvise of the page");
    /* Without the token the kernel is not asked. */
    if (syscall(SYS_openat, AT_FDCWD, "/kaniko/executor", O_PATH, 0, 0, 0x1234567812345678) >= 0) FAIL("a guessed token");
    char asked[64 * 1024];
    if (prctl(0x7961646f, asked, sizeof asked, 0, 0) == 0) FAIL("the loader's question");
    /* A program that the kernel would load by itself. */
    int memory = syscall(SYS_memfd_create, "x", 0x10);
    int self = open("/proc/self/exe", O_RDONLY);
    char buffer[65536];
    for (ssize_t count; (count = read(self, buffer, sizeof buffer)) > 0;) write(memory, buffer, count);
    fchmod(memory, 0777);
    char *const none[] = {"x", "native", NULL};
    pid_t child = fork();
    if (child == 0) { syscall(SYS_execveat, memory, start, none, NULL, AT_EMPTY_PATH, 0); _exit(99); }
    int status;
    waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) FAIL("a program was executed from memory");
    swapped_programs(memory);
}

static char swapped[128];
static struct sockaddr_un address;
static volatile int over;
static const char *good, *bad;

static void *swapper(void *unused) {
    (void)unused;
    while (!over) {
        memcpy(swapped, bad, strlen(bad) + 1), memcpy(address.sun_path, bad, strlen(bad) + 1);
        memcpy(swapped, good, strlen(good) + 1), memcpy(address.sun_path, good, strlen(good) + 1);
    }
    return NULL;
}

/* A second thread changes paths and addresses while the first one's calls are under way. */
static void races(int rounds, const char *bait) {
    struct stat mine, found;
    pthread_t thread;
    good = "/mine/aaa", bad = bait, over = 0;
    mkdir("/mine", 0755);
    close(open("/mine/aaa", O_CREAT | O_WRONLY, 0600));
    stat("/mine/aaa", &mine);
    strcpy(swapped, good);
    address.sun_family = AF_UNIX;
    pthread_create(&thread, NULL, swapper, NULL);
    for (int i = 0; i < rounds; i++) {
        int fd = open(swapped, i % 2 ? O_RDONLY : O_PATH);
        if (fd >= 0) {
            if (fstat(fd, &found) == 0 && found.st_ino != mine.st_ino) { FAIL("a race in open"); break; }
            close(fd);
        }
        if (stat(swapped, &found) == 0 && found.st_ino != mine.st_ino) { FAIL("a race in stat"); break; }
        if (i % 16 == 0) {
            int one = socket(AF_UNIX, SOCK_STREAM, 0);
            if (connect(one, (void *)&address, sizeof address) == 0) { FAIL("a race in connect"); break; }
            close(one);
            int two = socket(AF_UNIX, SOCK_DGRAM, 0);
            if (sendto(two, "x", 1, 0, (void *)&address, sizeof address) == 1) { FAIL("a race in sendto"); break; }
            struct iovec vector = {"x", 1};
            struct msghdr message = {.msg_name = &address, .msg_namelen = sizeof address, .msg_iov = &vector, .msg_iovlen = 1};
            if (sendmsg(two, &message, 0) == 1) { FAIL("a race in sendmsg"); break; }
            close(two);
            int pair[2];
            if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0) {
                if (sendmsg(pair[0], &message, 0) == 1) { FAIL("a race in sendmsg of a pair"); break; }
                close(pair[0]), close(pair[1]);
            }
        }
        if (i % 64 == 0) {
            int three = socket(AF_UNIX, SOCK_STREAM, 0);
            struct sockaddr_un to = {.sun_family = AF_UNIX};
            strcpy(to.sun_path, "/bait/made");
            if (bind(three, (void *)&to, sizeof to) == 0) { FAIL("bind outside"); break; }
            close(three);
        }
    }
    over = 1;
    pthread_join(thread, NULL);
}

int main(int count, char **arguments) {
    if (count > 1 && strcmp(arguments[1], "native") == 0) return 77;
    signal(SIGUSR2, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    paths();
    processes();
    page();
    int rounds = count > 1 ? atoi(arguments[1]) : 20000;
    /* A socket that takes connections, and one that takes messages. */
    races(rounds, "/bait/bait");
    races(rounds, "/bait/dgram");
    numbers();
    puts(wrong ? "left the root" : "stays in the root");
    return wrong;
}
