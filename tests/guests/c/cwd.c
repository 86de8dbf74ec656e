/* Prints the working directory that the environment names, and a file relative to the real one. */
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    const char *pwd = getenv("PWD");
    char line[256];
    FILE *file = fopen("where.txt", "r");
    printf("PWD=%s\n", pwd ? pwd : "");
    if (!file || !fgets(line, sizeof line, file)) {
        perror("where.txt");
        return 1;
    }
    fputs(line, stdout);
    return 0;
}
