/* Tries what a container engine's default filter refuses, and what it must not. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <sys/personality.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int wrong;

static void expect(const char *name, long result, int error) {
    int found = result < 0 ? errno : 0;
    if (found != error) {
        printf("%s: errno %d, and not %d\n", name, found, error);
        wrong = 1;
    }
}

int main(void) {
    char buffer[128] = {0};
    expect("unshare(CLONE_NEWUSER)", syscall(SYS_unshare, 0x10000000), EPERM);
    expect("clone(CLONE_NEWUSER)", syscall(SYS_clone, 0x10000000 | 17, 0, 0, 0, 0), EPERM);
    expect("clone3()", syscall(SYS_clone3, buffer, 0), ENOSYS);
    expect("io_uring_setup()", syscall(SYS_io_uring_setup, 1, buffer), EPERM);
    expect("keyctl(KEYCTL_GET_KEYRING_ID)", syscall(SYS_keyctl, 0, -3, 0), EPERM);
    expect("add_key()", syscall(SYS_add_key, "user", "name", "secret", 6, -3), EPERM);
    expect("bpf()", syscall(SYS_bpf, 0, buffer, sizeof buffer), EPERM);
    expect("mount()", syscall(SYS_mount, "none", "/", "tmpfs", 0, ""), EPERM);
    expect("open_tree()", syscall(SYS_open_tree, -100, "/", 1), EPERM);
    expect("personality(ADDR_NO_RANDOMIZE)", syscall(SYS_personality, 0x40000), EPERM);
    expect("personality(PER_LINUX)", syscall(SYS_personality, 0), 0);
    expect("socket(AF_INET)", socket(AF_INET, SOCK_STREAM, 0), 0);
    expect("a call of the future", syscall(4000), ENOSYS);
    if (fork() == 0)
        _exit(0);
    int status = 1;
    expect("wait()", wait(&status), 0);
    expect("a child's end", status, 0);
    return wrong;
}
