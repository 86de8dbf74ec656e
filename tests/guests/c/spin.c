/* Says that it is up, then never ends. */
#include <stdio.h>

int main(void) {
    volatile unsigned long turns = 0;
    puts("spinning");
    fflush(stdout);
    for (;;)
        turns++;
}
