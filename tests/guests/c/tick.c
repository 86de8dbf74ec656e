/* Counts on stdout, one line each 10 ms, until it is ended. */
#include <stdio.h>
#include <unistd.h>

int main(void) {
    for (long tick = 0;; tick++) {
        printf("%ld\n", tick);
        fflush(stdout);
        usleep(10000);
    }
}
