/* Says that it is up, sleeps for as many seconds as its first argument says, ends with the code of
   its second, or 0. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
    puts("sleeping");
    fflush(stdout);
    sleep(argc > 1 ? atoi(argv[1]) : 1);
    puts("awake");
    return argc > 2 ? atoi(argv[2]) : 0;
}
