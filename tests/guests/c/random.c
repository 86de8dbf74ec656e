/* Prints 16 random bytes in hexadecimal. */
#include <stdio.h>
#include <unistd.h>

int main(void) {
    unsigned char bytes[16];
    if (getentropy(bytes, sizeof bytes))
        return 1;
    for (unsigned i = 0; i < sizeof bytes; i++)
        printf("%02x", bytes[i]);
    putchar('\n');
    return 0;
}
