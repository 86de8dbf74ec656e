/* Walks through what a program can ask of WASI 0.1, in the folder of its first argument, and prints
 * what it saw, a line for each step: the step, then `ok`, what was found, or the name of the error.
 * Nothing that it prints depends on the moment or the machine. Ends with its second argument. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static const char *error(void) {
    switch (errno) {
    case EACCES: return "EACCES";
    case EBADF: return "EBADF";
    case EEXIST: return "EEXIST";
    case EFBIG: return "EFBIG";
    case EINVAL: return "EINVAL";
    case EIO: return "EIO";
    case EISDIR: return "EISDIR";
    case ELOOP: return "ELOOP";
    case ENAMETOOLONG: return "ENAMETOOLONG";
    case ENOENT: return "ENOENT";
    case ENOSYS: return "ENOSYS";
    case ENOTDIR: return "ENOTDIR";
    case ENOTEMPTY: return "ENOTEMPTY";
    case ENOTSUP: return "ENOTSUP";
    case ENOTTY: return "ENOTTY";
    case ENXIO: return "ENXIO";
    case EPERM: return "EPERM";
    case EROFS: return "EROFS";
    case ESPIPE: return "ESPIPE";
    case EXDEV: return "EXDEV";
#ifdef ENOTCAPABLE
    case ENOTCAPABLE: return "ENOTCAPABLE";
#endif
    }
    return strerror(errno);
}

static void say(const char *step, long result) {
    printf("%s: %s\n", step, result < 0 ? error() : "ok");
}

static void count(const char *step, long long result) {
    if (result < 0)
        say(step, result);
    else
        printf("%s: %lld\n", step, result);
}

static void yes(const char *step, int holds) {
    printf("%s: %s\n", step, holds ? "yes" : "no");
}

/* What a file holds from its first byte, with zeros as dots. */
static void content(const char *step, const char *path) {
    char text[64];
    int fd = open(path, O_RDONLY);
    long got = fd < 0 ? -1 : read(fd, text, sizeof text);
    if (got < 0) {
        say(step, -1);
    } else {
        printf("%s: ", step);
        for (long i = 0; i < got; i++)
            putchar(text[i] ? text[i] : '.');
        putchar('\n');
    }
    if (fd >= 0)
        close(fd);
}

static void opened(const char *step, const char *path, int flags) {
    int fd = open(path, flags, 0644);
    say(step, fd);
    if (fd >= 0)
        close(fd);
}

static const char *sort_of(int mode) {
    return S_ISREG(mode) ? "file" : S_ISDIR(mode) ? "folder" : S_ISLNK(mode) ? "link" : "other";
}

static void status(const char *step, int result, const struct stat *seen) {
    if (result < 0)
        say(step, result);
    else if (S_ISREG(seen->st_mode))
        printf("%s: file of %lld, %d names\n", step, (long long)seen->st_size, (int)seen->st_nlink);
    else
        printf("%s: %s\n", step, sort_of(seen->st_mode));
}

static void words(int argc, char **argv) {
    printf("arguments: %d\n", argc);
    for (int i = 3; i < argc; i++)
        printf("argument %d: %s\n", i, argv[i]);
    const char *names[] = {"PORT", "EMPTY", "ABSENT"};
    for (int i = 0; i < 3; i++) {
        const char *value = getenv(names[i]);
        printf("variable %s: %s\n", names[i], value ? value : "(none)");
    }
}

static void writing(void) {
    struct stat seen;
    char text[32] = "";
    struct iovec parts[2] = {{"one,", 4}, {"two", 3}};
    opened("open what is not there", "absent", O_RDONLY);
    int fd = open("log", O_RDWR | O_CREAT | O_EXCL, 0644);
    say("create", fd);
    opened("create again", "log", O_RDWR | O_CREAT | O_EXCL);
    count("write", write(fd, "0123456789", 10));
    count("seek to 4", lseek(fd, 4, SEEK_SET));
    count("read 3", read(fd, text, 3));
    printf("read there: %s\n", text);
    count("seek by -5", lseek(fd, -5, SEEK_CUR));
    count("seek before the start", lseek(fd, -20, SEEK_CUR));
    count("seek to the end", lseek(fd, 0, SEEK_END));
    count("read at the end", read(fd, text, 3));
    count("pread", pread(fd, text, 2, 8));
    count("pwrite", pwrite(fd, "xy", 2, 1));
    count("where it is after these", lseek(fd, 0, SEEK_CUR));
    content("content", "log");
    count("seek beyond the end", lseek(fd, 3, SEEK_END));
    count("write there", write(fd, "z", 1));
    content("content with a hole", "log");
    say("truncate to 4", ftruncate(fd, 4));
    say("truncate to 6", ftruncate(fd, 6));
    say("truncate to -1", ftruncate(fd, -1));
    content("content after it", "log");
    say("reserve", posix_fallocate(fd, 0, 8) ? (errno = ENOTSUP, -1) : 0);
    status("size after it", fstat(fd, &seen), &seen);
    say("advise", posix_fadvise(fd, 0, 8, POSIX_FADV_SEQUENTIAL) ? -1 : 0);
    say("sync", fsync(fd));
    say("sync data", fdatasync(fd));
    yes("a file is a terminal", isatty(fd));
    say("close", close(fd));
    say("close again", close(fd));
    count("read after it", read(fd, text, 1));
    fd = open("log", O_WRONLY | O_APPEND);
    say("open to append", fd);
    yes("append is told", (fcntl(fd, F_GETFL) & O_APPEND) != 0);
    lseek(fd, 0, SEEK_SET);
    count("append two parts", writev(fd, parts, 2));
    count("read what is open to write", read(fd, text, 1));
    close(fd);
    content("content with the parts", "log");
    fd = open("log", O_RDONLY);
    count("write what is open to read", write(fd, "x", 1));
    say("truncate what is open to read", ftruncate(fd, 0));
    close(fd);
    opened("open and empty", "log", O_WRONLY | O_TRUNC);
    status("size of the emptied", stat("log", &seen), &seen);
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list(const char *step, const char *path) {
    char *names[64];
    int found = 0;
    struct dirent *entry;
    DIR *folder = opendir(path);
    if (!folder) {
        say(step, -1);
        return;
    }
    while (found < 64 && (entry = readdir(folder))) {
        char name[300];
        const char *sort = entry->d_type == DT_REG ? "" : entry->d_type == DT_DIR ? "/"
                         : entry->d_type == DT_LNK ? "@" : "?";
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        snprintf(name, sizeof name, "%s%s", entry->d_name, sort);
        names[found++] = strdup(name);
    }
    closedir(folder);
    qsort(names, found, sizeof *names, by_name);
    printf("%s:", step);
    for (int i = 0; i < found; i++)
        printf(" %s", names[i]);
    putchar('\n');
}

static void names(void) {
    struct stat seen;
    char path[32];
    int made = 0;
    say("make a folder", mkdir("sub", 0755));
    say("make it again", mkdir("sub", 0755));
    say("make one below nothing", mkdir("absent/sub", 0755));
    status("a folder", stat("sub", &seen), &seen);
    opened("a folder opened to write", "sub", O_WRONLY);
    opened("a file opened as a folder", "log", O_RDONLY | O_DIRECTORY);
    opened("a path through a file", "log/below", O_RDONLY);
    opened("a path through a folder and back", "sub/../log", O_RDONLY);
    opened("a name of 300", "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
        "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
        "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
        "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn", O_RDONLY | O_CREAT);
    opened("a name of two bytes a letter", "sub/ünï", O_WRONLY | O_CREAT);
    list("list a folder", "sub");
    for (int i = 0; i < 40; i++) {
        snprintf(path, sizeof path, "sub/%02d", i);
        made += close(open(path, O_WRONLY | O_CREAT, 0644)) == 0;
    }
    count("make forty", made);
    list("list forty", "sub");
    for (int i = 0; i < 40; i++) {
        snprintf(path, sizeof path, "sub/%02d", i);
        made -= unlink(path) == 0;
    }
    count("remove forty", made);
    list("list what is left", "sub");
    list("list what is not there", "absent");
    list("list a file", "log");
    say("rename", rename("log", "sub/book"));
    say("rename what is not there", rename("log", "sub/book"));
    opened("make another", "log", O_WRONLY | O_CREAT);
    say("rename onto a file", rename("log", "sub/book"));
    say("rename onto a folder", rename("sub/book", "sub"));
    say("rename a folder into itself", rename("sub", "sub/sub"));
    say("rename a folder", rename("sub", "hold"));
    say("remove a folder that is not empty", rmdir("hold"));
    say("remove a file as a folder", rmdir("hold/book"));
    say("unlink a folder", unlink("hold"));
    say("unlink what is not there", unlink("absent"));
    say("a second name", link("hold/book", "book"));
    status("a file of two names", stat("book", &seen), &seen);
    yes("both are one", access("book", F_OK) == 0 && access("hold/book", R_OK | W_OK) == 0);
    say("unlink one", unlink("hold/book"));
    status("a file of one name", stat("book", &seen), &seen);
    list("list the walk", ".");
}

static void links(void) {
    struct stat seen;
    char text[32] = "";
    int fd = open("book", O_WRONLY);
    count("write the book", write(fd, "chapter", 7));
    close(fd);
    say("a link", symlink("../book", "hold/link"));
    say("a link again", symlink("book", "hold/link"));
    count("read the link", readlink("hold/link", text, sizeof text));
    printf("it leads to: %s\n", text);
    count("read what is no link", readlink("book", text, sizeof text));
    content("through the link", "hold/link");
    status("the link itself", lstat("hold/link", &seen), &seen);
    status("what it leads to", stat("hold/link", &seen), &seen);
    opened("open it without following", "hold/link", O_RDONLY | O_NOFOLLOW);
    say("a link to nothing", symlink("absent", "nothing"));
    opened("open a link to nothing", "nothing", O_RDONLY);
    say("a link to itself", symlink("self", "self"));
    opened("open a link to itself", "self", O_RDONLY);
    say("a link out", symlink("../../../../../../../../etc/shadow", "out"));
    yes("it leads out", open("out", O_RDONLY) >= 0);
    yes("the way up leads out", open("../../../../../../../../etc/shadow", O_RDONLY) >= 0);
    say("unlink a link", unlink("hold/link"));
    content("what it led to is there", "book");
    list("list links", ".");
}

static int is(const struct timespec *time, long long seconds, long nanoseconds) {
    return time->tv_sec == seconds && time->tv_nsec == nanoseconds;
}

static void times(void) {
    struct stat seen;
    struct timespec set[2] = {{1000000000, 500000000}, {1234567890, 250000000}};
    struct timespec leave[2] = {{0, UTIME_OMIT}, {1111111111, 0}};
    say("set times by path", utimensat(AT_FDCWD, "book", set, 0));
    stat("book", &seen);
    yes("read is as it was set", is(&seen.st_atim, 1000000000, 500000000));
    yes("written is as it was set", is(&seen.st_mtim, 1234567890, 250000000));
    int fd = open("book", O_RDWR);
    say("set times of what is open", futimens(fd, leave));
    fstat(fd, &seen);
    yes("read is as before", is(&seen.st_atim, 1000000000, 500000000));
    yes("written is as it was set now", is(&seen.st_mtim, 1111111111, 0));
    close(fd);
    say("set times of what is not there", utimensat(AT_FDCWD, "absent", set, 0));
}

static long long now(clockid_t clock) {
    struct timespec time = {0, 0};
    return clock_gettime(clock, &time) ? -1 : time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void moments(void) {
    struct timespec grain = {0, 0}, nap = {0, 20000000};
    unsigned char one[16] = {0}, other[16] = {0};
    yes("it is after 2024", now(CLOCK_REALTIME) > 1704067200000000000LL);
    say("grain of the clock", clock_getres(CLOCK_MONOTONIC, &grain));
    yes("grain is below a second", grain.tv_sec == 0 && grain.tv_nsec > 0);
    long long before = now(CLOCK_MONOTONIC);
    say("sleep", nanosleep(&nap, NULL));
    yes("time went on", now(CLOCK_MONOTONIC) - before >= 20000000);
    say("random", getentropy(one, sizeof one));
    say("random again", getentropy(other, sizeof other));
    yes("they differ", memcmp(one, other, sizeof one) != 0);
    say("yield", sched_yield());
}

static void waiting(void) {
    int fd = open("book", O_RDONLY);
    struct pollfd file = {fd, POLLIN, 0}, out = {1, POLLOUT, 0};
    long long before = now(CLOCK_MONOTONIC);
    count("poll nothing", poll(NULL, 0, 20));
    yes("it took its time", now(CLOCK_MONOTONIC) - before >= 20000000);
    count("poll a file", poll(&file, 1, 1000));
    yes("it can be read", (file.revents & POLLIN) != 0);
    count("poll stdout", poll(&out, 1, 1000));
    yes("it can be written", (out.revents & POLLOUT) != 0);
    close(fd);
}

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    words(argc, argv);
    say("go there", chdir(argv[1]));
    writing();
    names();
    links();
    times();
    moments();
    waiting();
    printf("end: %s\n", argv[2]);
    fflush(stdout);
    exit(atoi(argv[2]));
}
