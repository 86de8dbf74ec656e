/* Says that it is up, sleeps for as many seconds as its argument says, ends with 0. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
    puts("sleeping");
    fflush(stdout);
    sleep(argc > 1 ? atoi(argv[1]) : 1);
    puts("awake");
    return 0;
}
