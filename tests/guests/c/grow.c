/* Takes and touches as many MiB of memory as its first argument says, saying how many it has, and
   keeps them for as many seconds as its second says. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
    int wanted = argc > 1 ? atoi(argv[1]) : 16;
    for (int have = 1; have <= wanted; have++) {
        /* Volatile, since a compiler may leave out memory that nobody reads. */
        volatile char *memory = malloc(1 << 20);
        if (!memory) {
            fprintf(stderr, "no memory after %d MiB\n", have - 1);
            return 1;
        }
        for (int page = 0; page < 1 << 20; page += 4096)
            memory[page] = 1;
        if (have % 16 == 0 || have == wanted) {
            printf("%d MiB\n", have);
            fflush(stdout);
        }
    }
    if (argc > 2)
        sleep(atoi(argv[2]));
    return 0;
}
