/* Fails as a debugger does that may not trace. */
#include <stdio.h>
#include <sys/ptrace.h>

int main(void) {
    if (ptrace(PTRACE_TRACEME, 0, 0, 0) == 0) return 0;
    perror("ptrace");
    return 1;
}
