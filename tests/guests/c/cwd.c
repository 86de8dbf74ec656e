/* Prints the working directory that the environment names, and a file relative to the real one.
   WASI 0.1 starts every program in the root: one that cares goes to its working directory itself. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(void) {
    const char *pwd = getenv("PWD");
    char line[256];
#ifdef __wasi__
    if (pwd && chdir(pwd)) {
        perror(pwd);
        return 1;
    }
#endif
    FILE *file = fopen("where.txt", "r");
    printf("PWD=%s\n", pwd ? pwd : "");
    if (!file || !fgets(line, sizeof line, file)) {
        perror("where.txt");
        return 1;
    }
    fputs(line, stdout);
    return 0;
}
