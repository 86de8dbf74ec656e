/* Talks over TCP.
   talk serve PORT [COUNT]      answers COUNT connections (without it, all) with their own line, and
                                those of HTTP with 200, or 500 for what begins with /broken
   talk ask NAME PORT WORD      connects, says a word, prints the answer
   talk names NAME...           prints the addresses of names */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net.h"

#define ADDRESSES 8

/* Reads up to the end of a line, which is left out. Its length, or -1. */
static int read_line(struct net *connection, char *line) {
    char chunk[NET_CHUNK];
    int length = 0, got;
    while ((got = net_read(connection, chunk)) > 0) {
        for (int i = 0; i < got; i++) {
            if (chunk[i] == '\n' || length == NET_CHUNK - 1) {
                line[length] = 0;
                return length;
            }
            line[length++] = chunk[i];
        }
    }
    line[length] = 0;
    return got < 0 ? -1 : length;
}

static int failed(const char *what) {
    printf("%s: %s\n", what, net_error);
    return 1;
}

/* The answer to a line. */
static int answer_to(const char *line, char *answer, size_t size) {
    if (strncmp(line, "GET ", 4))
        return snprintf(answer, size, "aye, %s\n", line);
    const char *status = strncmp(line, "GET /broken", 11) ? "200 OK" : "500 Broken";
    return snprintf(answer, size, "HTTP/1.0 %s\r\nContent-Length: 4\r\n\r\naye\n", status);
}

static int serve(unsigned short port, long count) {
    int listener = net_listen(port);
    if (listener < 0)
        return failed("listen");
    printf("listening\n");
    fflush(stdout);
    for (long served = 0; count == 0 || served < count; served++) {
        struct net connection;
        char line[NET_CHUNK], answer[NET_CHUNK + 64];
        if (net_accept(listener, &connection) < 0)
            return failed("accept");
        if (read_line(&connection, line) > 0) {
            int length = answer_to(line, answer, sizeof answer);
            if (net_write(&connection, answer, length) == 0) {
                printf("heard %s\n", line);
                fflush(stdout);
            }
        }
        net_close(&connection);
    }
    return 0;
}

static int ask(const char *name, unsigned short port, const char *word) {
    unsigned char addresses[ADDRESSES][4];
    char line[NET_CHUNK];
    struct net connection;
    if (net_resolve(name, addresses, ADDRESSES) < 1)
        return failed(name);
    if (net_connect(addresses[0], port, &connection) < 0)
        return failed("connect");
    snprintf(line, sizeof line, "%s\n", word);
    if (net_write(&connection, line, strlen(line)) < 0)
        return failed("write");
    if (read_line(&connection, line) < 0)
        return failed("read");
    printf("%s\n", line);
    net_close(&connection);
    return 0;
}

static int names(char **name) {
    int missing = 0;
    for (; *name; name++) {
        unsigned char addresses[ADDRESSES][4];
        int count = net_resolve(*name, addresses, ADDRESSES);
        if (count < 0) {
            missing = failed(*name);
            continue;
        }
        printf("%s:", *name);
        for (int i = 0; i < count; i++)
            printf(" %d.%d.%d.%d", addresses[i][0], addresses[i][1], addresses[i][2], addresses[i][3]);
        printf("\n");
    }
    return missing;
}

int main(int argc, char **argv) {
    const char *what = argc > 2 ? argv[1] : "";
    if (!strcmp(what, "serve"))
        return serve(atoi(argv[2]), argc > 3 ? atol(argv[3]) : 0);
    if (!strcmp(what, "ask") && argc == 5)
        return ask(argv[2], atoi(argv[3]), argv[4]);
    if (!strcmp(what, "names"))
        return names(argv + 2);
    fprintf(stderr, "usage: talk serve PORT [COUNT] | ask NAME PORT WORD | names NAME...\n");
    return 2;
}
