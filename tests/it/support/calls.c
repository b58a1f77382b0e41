// Random calls on files: the same sequence for the same seed, with what each gave, but for times and inode numbers.
//
// calls SEED ROUNDS: in each round a child with another user, other groups, another umask and another directory does some calls
// below /w; at the end, what is there is listed.

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static uint64_t state;

static uint32_t below(uint32_t limit) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (state >> 11) % limit;
}

#define PICK(list) list[below(sizeof(list) / sizeof(*list))]

static const char *const NAMES[] = {"a", "b", "c", "d", "e"};
static const char *const ODD[] = {"..", ".", "", "link", "loop", "sticky", "shared", "a/../b", "longer-name-than-most"};
static const int MODES[] = {0644, 0600, 0755, 0, 0444, 04755, 02755, 01777, 06711, 0222, 0111, 02070, 0777};
static const uid_t IDS[] = {0, 0, 7, 1000, 65534};

static int who;
static void say(const char *format, ...) {
    va_list list;
    va_start(list, format);
    printf("# %d ", who);
    vprintf(format, list);
    printf("\n");
    va_end(list);
}

static const char *path(void) {
    static char all[4][256];
    static int turn;
    char *text = all[turn++ % 4];
    text[0] = 0;
    if (below(3) == 0) strcat(text, "/w/");
    int parts = 1 + below(3);
    for (int i = 0; i < parts; i++) {
        if (i) strcat(text, below(12) ? "/" : "//");
        strcat(text, below(6) ? PICK(NAMES) : PICK(ODD));
    }
    if (below(14) == 0) strcat(text, "/");
    return text;
}

static void tell(const char *what, const char *subject, long result) {
    int error = errno;
    say("%s %s: %ld %s", what, subject, result < 0 ? -1 : result, result < 0 ? strerrorname_np(error) : "");
}

static void show(const char *what, const char *subject, int result, const struct stat *found) {
    if (result < 0) {
        tell(what, subject, result);
        return;
    }
    int sized = S_ISREG(found->st_mode) || S_ISLNK(found->st_mode);
    say("%s %s: %o %u:%u links %lu size %ld device %x", what, subject, found->st_mode, found->st_uid, found->st_gid,
        S_ISDIR(found->st_mode) ? 0 : (unsigned long)found->st_nlink, sized ? (long)found->st_size : 0,
        (unsigned)found->st_rdev);
}

static void with_descriptor(const char *subject, int file, int flags) {
    struct stat found;
    int mode = PICK(MODES);
    uid_t id = PICK(IDS);
    memset(&found, 0, sizeof found);
    // What a write takes from a file, mediation takes when it is opened for writing: so something is written first.
    struct stat root;
    // The root has no name by which the process could open it without reading it.
    if (flags & O_PATH && !fstat(file, &found) && !stat("/", &root) && found.st_ino == root.st_ino) return;
    if (!(flags & O_PATH) && (flags & O_ACCMODE) != O_RDONLY) {
        tell("write", subject, write(file, "some text", 1 + below(9)));
        if (below(3) == 0) tell("ftruncate", subject, ftruncate(file, below(100)));
    }
    for (int i = below(4); i > 0; i--) {
        switch (below(9)) {
        case 0: tell("fgetxattr", subject, fgetxattr(file, "user.two", NULL, 0)); break;
        case 1: tell("fchmod", subject, fchmod(file, mode)); break;
        case 2: tell("fchown", subject, fchown(file, below(3) ? (uid_t)-1 : id, id)); break;
        case 3: tell("flistxattr", subject, flistxattr(file, NULL, 0)); break;
        case 4: show("fstat", subject, fstat(file, &found), &found); break;
        case 5: tell("fsetxattr", subject, fsetxattr(file, "user.two", "2", 1, 0)); break;
        case 6: tell("fremovexattr", subject, fremovexattr(file, "user.two")); break;
        case 7: show("fstatat", subject, fstatat(file, below(2) ? "" : PICK(NAMES), &found, AT_EMPTY_PATH), &found); break;
        case 8: {
            char link[32];
            snprintf(link, sizeof link, "/proc/self/fd/%d", file);
            const char *to = path();
            tell("linkat of a descriptor to", to, linkat(AT_FDCWD, link, AT_FDCWD, to, AT_SYMLINK_FOLLOW));
            break;
        }
        }
    }
}

static void open_one(void) {
    static const int FLAGS[] = {O_CREAT, O_EXCL | O_CREAT, O_TRUNC, O_APPEND, O_NOFOLLOW, O_DIRECTORY, O_PATH, O_NONBLOCK, O_NOATIME};
    const char *subject = path();
    int flags = O_NONBLOCK | O_CLOEXEC | (int)below(3);
    for (int i = below(4); i > 0; i--) flags |= PICK(FLAGS);
    if (below(16) == 0) flags = O_TMPFILE | O_RDWR | O_CLOEXEC;
    int mode = PICK(MODES);
    int file = open(subject, flags, mode);
    char text[300];
    snprintf(text, sizeof text, "%s %o %o", subject, flags, mode);
    tell("open", text, file < 0 ? file : 0);
    if (file >= 0) {
        with_descriptor(subject, file, flags);
        close(file);
    }
}

static void attributes(void) {
    static const char *const ATTRIBUTES[] = {"user.one", "user.two", "security.capability", "system.other", "nothing"};
    const char *subject = path(), *attribute = PICK(ATTRIBUTES);
    char text[400], value[64];
    snprintf(text, sizeof text, "%s %s", subject, attribute);
    // cap_net_raw, permitted and effective.
    static const unsigned char CAPABILITY[20] = {1, 0, 0, 2, 0, 32};
    int is_capability = strcmp(attribute, "security.capability") == 0;
    const void *put = is_capability ? (const void *)CAPABILITY : "value";
    size_t size = is_capability ? sizeof CAPABILITY : 5;
    switch (below(6)) {
    case 0: case 1: tell("setxattr", text, setxattr(subject, attribute, put, size, below(4) ? 0 : below(3))); break;
    case 2: tell("lsetxattr", text, lsetxattr(subject, attribute, put, size, 0)); break;
    case 3: tell("getxattr", text, getxattr(subject, attribute, value, below(4) ? sizeof value : below(8))); break;
    case 4: tell("removexattr", text, removexattr(subject, attribute)); break;
    case 5: tell("listxattr", text, listxattr(subject, value, sizeof value)); break;
    }
}

static void sockets(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *subject = path();
    strcpy(address.sun_path, subject);
    int here = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (below(2)) tell("bind", subject, bind(here, (void *)&address, sizeof address));
    else tell("connect", subject, connect(here, (void *)&address, sizeof address));
    close(here);
}

/* Watches files and directories; what else can be watched, mediation refuses. */
static void watch(const char *subject, uint32_t mask) {
    struct stat found;
    int kind = mask & IN_DONT_FOLLOW ? lstat(subject, &found) : stat(subject, &found);
    if (kind == 0 && !S_ISREG(found.st_mode) && !S_ISDIR(found.st_mode)) return;
    int queue = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    tell("inotify_add_watch", subject, inotify_add_watch(queue, subject, mask));
    close(queue);
}

static void told_of_changes(void) {
    union { struct inotify_event event; char bytes[512]; } told;
    int queue = inotify_init1(IN_CLOEXEC);
    tell("inotify_add_watch", "/w", inotify_add_watch(queue, "/w", IN_CREATE));
    close(open("/w/new-file", O_CREAT | O_WRONLY, 0600));
    long size = read(queue, &told, sizeof told);
    say("told of %s", size > 0 ? told.event.name : "nothing");
    close(queue);
}

static void one(void) {
    char text[600], value[300];
    struct stat found;
    memset(&found, 0, sizeof found);
    const char *subject = path(), *other = path();
    int mode = PICK(MODES), number;
    uid_t id = PICK(IDS), group = PICK(IDS);
    snprintf(text, sizeof text, "%s %s", subject, other);
    switch (below(30)) {
    case 0: case 1: case 2: case 3: open_one(); break;
    case 4: case 5: case 6:
        snprintf(text, sizeof text, "%s %o", subject, mode);
        tell("mkdir", text, mkdir(subject, mode | (below(2) ? 0700 : 0)));
        break;
    case 7: tell("rmdir", subject, rmdir(subject)); break;
    case 8: tell("unlink", subject, unlink(subject)); break;
    case 9: case 10: tell("rename", text, rename(subject, other)); break;
    case 11:
        number = 1 + below(4);
        snprintf(text, sizeof text, "%d %s %s", number, subject, other);
        tell("renameat2", text, syscall(SYS_renameat2, AT_FDCWD, subject, AT_FDCWD, other, number == 4 ? 8 : number));
        break;
    case 12: case 13: tell("link", text, link(subject, other)); break;
    case 14: tell("linkat", text, linkat(AT_FDCWD, subject, AT_FDCWD, other, AT_SYMLINK_FOLLOW)); break;
    case 15:
        // With a slash at the end of a link's text, O_CREAT fails in another way.
        snprintf(value, sizeof value, "%s%s", subject, *subject && subject[strlen(subject) - 1] == '/' ? "." : "");
        tell("symlink", text, symlink(value, other));
        break;
    case 16:
        number = readlink(subject, value, below(8) ? sizeof value - 1 : 1 + below(3));
        value[number < 0 ? 0 : number] = 0;
        snprintf(text, sizeof text, "%s '%s'", subject, value);
        tell("readlink", text, number);
        break;
    case 17: case 18:
        snprintf(text, sizeof text, "%s %o", subject, mode);
        tell("chmod", text, chmod(subject, mode));
        break;
    case 19: case 20:
        snprintf(text, sizeof text, "%s %d %d", subject, id, group);
        tell("chown", text, chown(subject, below(4) ? id : (uid_t)-1, below(4) ? group : (gid_t)-1));
        break;
    case 21: tell("lchown", subject, lchown(subject, id, -1)); break;
    case 22: show("stat", subject, stat(subject, &found), &found); break;
    case 23: show("lstat", subject, lstat(subject, &found), &found); break;
    case 24:
        number = below(8);
        snprintf(text, sizeof text, "%s %d", subject, number);
        tell("access", text, below(2) ? access(subject, number) : faccessat(AT_FDCWD, subject, number, AT_EACCESS));
        break;
    case 25:
        if (below(2)) tell("truncate", subject, truncate(subject, below(50)));
        else watch(subject, below(2) ? IN_MODIFY : IN_CREATE | IN_DONT_FOLLOW);
        break;
    case 26: {
        static const int TYPES[] = {S_IFIFO, S_IFSOCK, S_IFREG, S_IFCHR, S_IFBLK};
        number = PICK(TYPES);
        snprintf(text, sizeof text, "%s %o %o", subject, number, mode);
        tell("mknod", text, mknod(subject, number | mode, makedev(1, 40 + below(3))));
        break;
    }
    case 27: attributes(); break;
    case 28: sockets(); break;
    case 29:
        if (below(2)) {
            struct timespec times[2] = {{1500000000, 0}, {1500000000, below(2) ? 0 : UTIME_NOW}};
            tell("utimensat", subject, utimensat(AT_FDCWD, subject, below(3) ? times : NULL, below(2) ? AT_SYMLINK_NOFOLLOW : 0));
        } else {
            tell("chdir", subject, chdir(subject));
            number = getcwd(value, sizeof value) ? 0 : -1;
            tell("getcwd", number ? "" : value, number);
        }
        break;
    }
}

static void round_of_calls(int number) {
    who = number;
    uid_t user = PICK(IDS);
    gid_t group = PICK(IDS), further = PICK(IDS);
    int mask = below(3) ? 022 : (int)below(0777);
    const char *start = path();
    int dropped = below(4) == 0;
    say("as %u %u %u %o", user, group, further, mask);
    if (setgroups(1, &further) || setresgid(group, group, group) || setresuid(user, user, user)) tell("identity", "", -1);
    if (user == 0 && dropped) {
        // Root without the rights to files that are not its own.
        struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
        struct __user_cap_data_struct data[2];
        syscall(SYS_capget, &header, data);
        data[0].effective &= ~(1u << CAP_DAC_OVERRIDE | 1u << CAP_FOWNER | 1u << CAP_CHOWN);
        tell("capset", "", syscall(SYS_capset, &header, data));
    }
    umask(mask);
    tell("chdir", start, chdir(start));
    for (int i = 5 + below(20); i > 0; i--) one();
}

static void list(const char *directory) {
    struct dirent **entries;
    int count = scandir(directory, &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        char text[1024];
        struct stat found;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) continue;
        if ((size_t)snprintf(text, sizeof text, "%s/%s", directory, name) >= sizeof text) continue;
        show("there is", text, lstat(text, &found), &found);
        if (S_ISDIR(found.st_mode)) list(text);
    }
}

int main(int count, char **arguments) {
    if (count != 3) return 2;
    uint64_t seed = strtoull(arguments[1], NULL, 10);
    setvbuf(stdout, NULL, _IOFBF, 1 << 20);
    umask(0);
    mkdir("/w", 0777);
    if (chdir("/w")) return 1;
    mkdir("a", 0777);
    mkdir("b", 0755);
    mkdir("sticky", 01777);
    mkdir("shared", 02775);
    if (chown("shared", 7, 1000) || symlink("a", "link") || symlink("loop", "loop")) return 1;
    int rounds = atoi(arguments[2]);
    for (int i = 0; i < rounds; i++) {
        state = (seed + 1) * 0x9E3779B97F4A7C15u ^ (i + 1) * 0xBF58476D1CE4E5B9u;
        for (int skip = 0; skip < 8; skip++) below(2);
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            round_of_calls(i);
            fflush(stdout);
            _exit(0);
        }
        int status = 0;
        waitpid(child, &status, 0);
        if (status) printf("# %d ended with %x\n", i, status);
    }
    who = -1;
    list("/w");
    told_of_changes();
    fflush(stdout);
    return 0;
}
