/* Tells which of its three descriptors are terminals. */
#include <stdio.h>
#include <unistd.h>

int main(void) {
    for (int fd = 0; fd < 3; fd++)
        printf("%d %s\n", fd, isatty(fd) ? "terminal" : "no terminal");
    return 0;
}
