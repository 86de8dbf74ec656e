/* TCP and names, as much of them as the guests of the tests need. `posix.c` does it for Linux,
   `wasi.c` by wasi:sockets 0.2 for a component. */
#include <stddef.h>

/* The most that net_read gives and net_write takes at once, in bytes. */
#define NET_CHUNK 4096

/* A connection. */
struct net {
    int socket, input, output;
};

/* What went wrong last, in words; the same on both. */
extern const char *net_error;

/* Listens on all IPv4 addresses. The listener, or -1. */
int net_listen(unsigned short port);

/* Waits for the next connection. 0, or -1. */
int net_accept(int listener, struct net *connection);

/* Connects to an IPv4 address. 0, or -1. */
int net_connect(const unsigned char address[4], unsigned short port, struct net *connection);

/* Waits for bytes: their number, 0 at the end, or -1. */
int net_read(struct net *connection, char *bytes);

/* Writes all. 0, or -1. */
int net_write(struct net *connection, const char *bytes, size_t size);

void net_close(struct net *connection);

/* The IPv4 addresses of a name, at most `max`: their number, or -1. */
int net_resolve(const char *name, unsigned char (*addresses)[4], int max);
