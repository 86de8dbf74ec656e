/* Copies stdin to stdout up to its end, then says so on stderr. */
#include <stdio.h>
#include <unistd.h>

int main(void) {
    char buffer[65536];
    long total = 0;
    ssize_t got;
    while ((got = read(0, buffer, sizeof buffer)) > 0) {
        for (ssize_t put = 0, n; put < got; put += n)
            if ((n = write(1, buffer + put, got - put)) < 0)
                return 1;
        total += got;
    }
    fprintf(stderr, "end of input after %ld bytes\n", total);
    return got < 0;
}
