/* Uses sockets as programs in a build do: by path, relative, unnamed, abstract, with credentials, several at a time. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t ended;

static void count(int signal) {
    (void)signal;
    ended++;
}

static int line(int number) {
    printf("line %d: errno %d\n", number, errno);
    exit(1);
}
#define OK(what) ((what) ? (void)0 : (void)line(__LINE__))

int main(void) {
    struct sockaddr_un name = {.sun_family = AF_UNIX}, told;
    socklen_t length = sizeof told;
    struct stat stat_;
    alarm(60);
    unlink("sock"), unlink("dgram");
    strcpy(name.sun_path, "sock");
    int server = socket(AF_UNIX, SOCK_STREAM, 0);
    OK(bind(server, (void *)&name, sizeof name) == 0);
    OK(stat("sock", &stat_) == 0 && S_ISSOCK(stat_.st_mode) && stat_.st_uid == getuid());
    OK(getsockname(server, (void *)&told, &length) == 0 && strcmp(told.sun_path, "sock") == 0);
    int again = socket(AF_UNIX, SOCK_STREAM, 0);
    OK(bind(again, (void *)&name, sizeof name) == -1 && errno == EADDRINUSE);
    OK(listen(server, 5) == 0);
    OK(symlink("sock", "sock-link") == 0 || errno == EEXIST);
    pid_t child = fork();
    if (child == 0) {
        strcpy(name.sun_path, "sock-link");
        int client = socket(AF_UNIX, SOCK_STREAM, 0);
        OK(connect(client, (void *)&name, sizeof name) == 0);
        OK(write(client, "hello", 5) == 5);
        _exit(0);
    }
    int accepted = accept(server, NULL, NULL);
    char text[64];
    OK(accepted >= 0 && read(accepted, text, sizeof text) == 5);
    struct ucred peer;
    length = sizeof peer;
    OK(getsockopt(accepted, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0);
    OK(peer.pid == child && peer.uid == getuid() && peer.gid == getgid());
    int status;
    OK(waitpid(child, &status, 0) == child && status == 0);
    strcpy(name.sun_path, "nothing");
    OK(connect(again, (void *)&name, sizeof name) == -1 && errno == ENOENT);

    /* By a name that is not in the file system. */
    struct sockaddr_un hidden = {.sun_family = AF_UNIX};
    memcpy(hidden.sun_path, "\0mine", 5);
    int abstract = socket(AF_UNIX, SOCK_STREAM, 0), other = socket(AF_UNIX, SOCK_STREAM, 0);
    socklen_t short_ = sizeof(sa_family_t) + 5;
    OK(bind(abstract, (void *)&hidden, short_) == 0 && listen(abstract, 1) == 0);
    OK(connect(other, (void *)&hidden, short_) == 0);

    /* Messages with an address, one at a time and two. */
    strcpy(name.sun_path, "dgram");
    int in = socket(AF_UNIX, SOCK_DGRAM, 0), out = socket(AF_UNIX, SOCK_DGRAM, 0);
    OK(bind(in, (void *)&name, sizeof name) == 0);
    OK(sendto(out, "one", 3, 0, (void *)&name, sizeof name) == 3);
    struct iovec vectors[2] = {{"two", 3}, {"three", 5}};
    struct mmsghdr messages[2] = {0};
    for (int i = 0; i < 2; i++) {
        messages[i].msg_hdr = (struct msghdr){.msg_name = &name, .msg_namelen = sizeof name, .msg_iov = &vectors[i], .msg_iovlen = 1};
    }
    OK(sendmsg(out, &messages[0].msg_hdr, 0) == 3);
    int sent = 0;
    while (sent < 2) {
        int count = sendmmsg(out, messages + sent, 2 - sent, 0);
        OK(count > 0 && messages[sent].msg_len == vectors[sent].iov_len);
        sent += count;
    }
    const char *const expected[] = {"one", "two", "two", "three"};
    for (int i = 0; i < 4; i++) {
        ssize_t count = read(in, text, sizeof text);
        OK(count == (ssize_t)strlen(expected[i]) && memcmp(text, expected[i], count) == 0);
    }

    /* The network of the machine itself, as resolvers use it. */
    struct sockaddr_in loopback = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int udp = socket(AF_INET, SOCK_DGRAM, 0), asks = socket(AF_INET, SOCK_DGRAM, 0);
    OK(bind(udp, (void *)&loopback, sizeof loopback) == 0);
    length = sizeof loopback;
    OK(getsockname(udp, (void *)&loopback, &length) == 0 && loopback.sin_port != 0);
    OK(connect(asks, (void *)&loopback, sizeof loopback) == 0);
    for (int i = 0; i < 2; i++) messages[i].msg_hdr.msg_name = NULL, messages[i].msg_hdr.msg_namelen = 0;
    OK(sendmmsg(asks, messages, 2, MSG_NOSIGNAL) >= 1 && messages[0].msg_len == 3);
    OK(read(udp, text, sizeof text) == 3);

    /* A descriptor through a socket. */
    int pair[2];
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    char control[CMSG_SPACE(sizeof(int))] = {0}, byte = 0;
    struct iovec vector = {&byte, 1};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *part = CMSG_FIRSTHDR(&message);
    part->cmsg_level = SOL_SOCKET, part->cmsg_type = SCM_RIGHTS, part->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(part), &in, sizeof(int));
    OK(sendmsg(pair[0], &message, 0) == 1);
    OK(recvmsg(pair[1], &message, 0) == 1);

    /* Children that end while a call is under way: their parent's signals must neither be lost nor stop it. */
    signal(SIGCHLD, count);
    for (int i = 0; i < 500; i++) {
        pid_t brief = fork();
        if (brief == 0) _exit(0);
        OK(connect(asks, (void *)&loopback, sizeof loopback) == 0);
        OK(chdir(".") == 0);
        while (waitpid(brief, &status, 0) == -1) OK(errno == EINTR);
    }
    OK(ended > 0);
    unlink("sock"), unlink("dgram"), unlink("sock-link");
    return 0;
}
