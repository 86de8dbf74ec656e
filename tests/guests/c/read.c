/* Says that it is up, then waits for a line on stdin. */
#include <stdio.h>
#include <unistd.h>

int main(void) {
    char byte;
    puts("reading");
    fflush(stdout);
    return read(0, &byte, 1) < 0;
}
