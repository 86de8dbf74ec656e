/* Does to the file system what its arguments say and prints each result on a line:
 *   list:DIR  read:FILE  write:FILE  append:FILE  mkdir:DIR  remove:FILE  link:FROM:TO (symbolic)
 * A result is `ok`, with what was found, or the name of the error. Ends with 0 in any case. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *name(int error) {
    switch (error) {
    case EACCES: return "EACCES";
    case EBADF: return "EBADF";
    case EEXIST: return "EEXIST";
    case EINVAL: return "EINVAL";
    case EIO: return "EIO";
    case EISDIR: return "EISDIR";
    case ELOOP: return "ELOOP";
    case ENODEV: return "ENODEV";
    case ENOENT: return "ENOENT";
    case ENOSPC: return "ENOSPC";
    case ENOSYS: return "ENOSYS";
    case ENOTDIR: return "ENOTDIR";
    case ENXIO: return "ENXIO";
    case EPERM: return "EPERM";
    case EROFS: return "EROFS";
    }
    return strerror(error);
}

static int compare(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int list(const char *path) {
    char *names[256];
    size_t count = 0;
    struct dirent *entry;
    DIR *dir = opendir(path);
    if (!dir)
        return -1;
    while (count < 256 && (entry = readdir(dir)))
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            names[count++] = strdup(entry->d_name);
    closedir(dir);
    qsort(names, count, sizeof *names, compare);
    printf("ok");
    for (size_t i = 0; i < count; i++)
        printf(" %s", names[i]);
    return 0;
}

static int read_file(const char *path) {
    char buffer[64];
    int fd = open(path, O_RDONLY);
    ssize_t got;
    if (fd < 0)
        return -1;
    got = read(fd, buffer, sizeof buffer);
    close(fd);
    if (got < 0)
        return -1;
    printf("ok ");
    for (ssize_t i = 0; i < got && buffer[i] != '\n'; i++)
        putchar(buffer[i] >= ' ' && buffer[i] <= '~' ? buffer[i] : '?');
    return 0;
}

static int write_file(const char *path, int flags) {
    int fd = open(path, O_WRONLY | O_CREAT | flags, 0644);
    ssize_t put;
    if (fd < 0)
        return -1;
    put = write(fd, "written by the guest\n", 21);
    close(fd);
    return put == 21 ? printf("ok") < 0 : -1;
}

static int link_file(char *pair) {
    char *to = strchr(pair, ':');
    if (!to) {
        errno = EINVAL;
        return -1;
    }
    *to++ = 0;
    return symlink(pair, to) ? -1 : printf("ok") < 0;
}

static int act(const char *verb, char *path) {
    if (!strcmp(verb, "list"))
        return list(path);
    if (!strcmp(verb, "read"))
        return read_file(path);
    if (!strcmp(verb, "write"))
        return write_file(path, O_TRUNC);
    if (!strcmp(verb, "append"))
        return write_file(path, O_APPEND);
    if (!strcmp(verb, "mkdir"))
        return mkdir(path, 0755) ? -1 : printf("ok") < 0;
    if (!strcmp(verb, "remove"))
        return unlink(path) ? -1 : printf("ok") < 0;
    if (!strcmp(verb, "link"))
        return link_file(path);
    errno = EINVAL;
    return -1;
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        char *path = strchr(argv[i], ':');
        if (!path)
            return 2;
        *path++ = 0;
        printf("%s %s: ", argv[i], path);
        if (act(argv[i], path))
            printf("%s", name(errno));
        putchar('\n');
        fflush(stdout);
    }
    return 0;
}
