/* `net.h` by the system calls of Linux. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net.h"

const char *net_error = "";

static int failed(void) {
    switch (errno) {
    case ECONNREFUSED: net_error = "connection-refused"; break;
    case EADDRINUSE: net_error = "address-in-use"; break;
    case EACCES: case EPERM: net_error = "access-denied"; break;
    case ENETUNREACH: case EHOSTUNREACH: net_error = "remote-unreachable"; break;
    default: net_error = strerror(errno);
    }
    return -1;
}

static struct sockaddr_in endpoint(const unsigned char address[4], unsigned short port) {
    struct sockaddr_in endpoint = {.sin_family = AF_INET, .sin_port = htons(port)};
    memcpy(&endpoint.sin_addr, address, 4);
    return endpoint;
}

int net_listen(unsigned short port) {
    struct sockaddr_in any = endpoint((const unsigned char[4]){0}, port);
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        bind(fd, (struct sockaddr *)&any, sizeof any) < 0 || listen(fd, 16) < 0)
        return failed();
    return fd;
}

int net_accept(int listener, struct net *connection) {
    connection->socket = accept(listener, NULL, NULL);
    return connection->socket < 0 ? failed() : 0;
}

int net_connect(const unsigned char address[4], unsigned short port, struct net *connection) {
    struct sockaddr_in there = endpoint(address, port);
    connection->socket = socket(AF_INET, SOCK_STREAM, 0);
    if (connection->socket < 0 ||
        connect(connection->socket, (struct sockaddr *)&there, sizeof there) < 0)
        return failed();
    return 0;
}

int net_read(struct net *connection, char *bytes) {
    int got = recv(connection->socket, bytes, NET_CHUNK, 0);
    return got < 0 ? failed() : got;
}

int net_write(struct net *connection, const char *bytes, size_t size) {
    while (size > 0) {
        ssize_t sent = send(connection->socket, bytes, size, MSG_NOSIGNAL);
        if (sent < 0)
            return failed();
        bytes += sent;
        size -= sent;
    }
    return 0;
}

void net_close(struct net *connection) {
    close(connection->socket);
}

int net_resolve(const char *name, unsigned char (*addresses)[4], int max) {
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;
    int count = 0;
    if (getaddrinfo(name, NULL, &hints, &found) != 0) {
        net_error = "name-unresolvable";
        return -1;
    }
    for (struct addrinfo *one = found; one && count < max; one = one->ai_next, count++)
        memcpy(addresses[count], &((struct sockaddr_in *)one->ai_addr)->sin_addr, 4);
    freeaddrinfo(found);
    return count;
}
