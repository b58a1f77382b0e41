/* Stands for Tekton's entrypoint: runs the command behind `--`, and tells the results that are declared, read from their
   files, in the termination message; where a sidecar reads them, the message has none. A message that is too large is an
   error, and then there is none. Source: tektoncd/pipeline, cmd/entrypoint and pkg/termination. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST 4096

static char message[1 << 20];
static size_t length;

static void put(char byte) {
    if (length < sizeof message) message[length++] = byte;
}

static void put_text(const char *text) {
    while (*text) put(*text++);
}

/* A string of JSON; results here have no other control characters than ends of lines. */
static void put_string(const char *text, size_t size) {
    put('"');
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '\n') {
            put_text("\\n");
        } else {
            if (text[i] == '"' || text[i] == '\\') put('\\');
            put(text[i]);
        }
    }
    put('"');
}

int main(int count, char **words) {
    char *results = "", *from = "", *path = NULL, *command = NULL;
    int at = 1;
    for (; at + 1 < count && strcmp(words[at], "--") != 0; at += 2) {
        if (!strcmp(words[at], "-results")) results = words[at + 1];
        if (!strcmp(words[at], "-result_from")) from = words[at + 1];
        if (!strcmp(words[at], "-termination_path")) path = words[at + 1];
        if (!strcmp(words[at], "-entrypoint")) command = words[at + 1];
    }
    if (!path || !command || at >= count) return 2;
    words[at] = command;
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        execv(command, words + at);
        _exit(127);
    }
    waitpid(child, &status, 0);
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    char names[8192];
    snprintf(names, sizeof names, "%s", strcmp(from, "sidecar-logs") ? results : "");
    put('[');
    for (char *name = strtok(names, ","); name; name = strtok(NULL, ",")) {
        static char value[1 << 19];
        char file[512];
        snprintf(file, sizeof file, "/tekton/results/%s", name);
        int in = open(file, O_RDONLY);
        if (in < 0) continue;
        ssize_t size = read(in, value, sizeof value);
        close(in);
        if (size < 0) continue;
        if (length > 1) put(',');
        put_text("{\"key\":");
        put_string(name, strlen(name));
        put_text(",\"value\":");
        put_string(value, (size_t)size);
        put_text(",\"type\":1}");
    }
    put(']');
    if (length > MOST) {
        fprintf(stderr, "Termination message is above max allowed size %d, caused by large task result.\n", MOST);
        return code ? code : 1;
    }
    int out = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (out < 0 || write(out, message, length) != (ssize_t)length) return 3;
    return code;
}
