/* `net.h` by wasi:sockets 0.2: the functions of `talk.wit` as the component model's canonical ABI
   lowers them (CanonicalABI.md). What does not fit one result is written to `result`: the case of
   a result in its first byte, what it holds at the next offset of its alignment. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "net.h"

#define VERSION "@0.2.12"
#define IMPORT(interface, name) \
    __attribute__((import_module("wasi:" interface VERSION), import_name(name)))

IMPORT("io/poll", "[method]pollable.block") void pollable_block(int pollable);
IMPORT("io/poll", "[resource-drop]pollable") void pollable_drop(int pollable);

IMPORT("io/streams", "[method]input-stream.blocking-read")
void input_read(int stream, int64_t max, uint8_t *result);
IMPORT("io/streams", "[resource-drop]input-stream") void input_drop(int stream);
IMPORT("io/streams", "[method]output-stream.blocking-write-and-flush")
void output_write(int stream, const char *bytes, size_t size, uint8_t *result);
IMPORT("io/streams", "[resource-drop]output-stream") void output_drop(int stream);

IMPORT("sockets/instance-network", "instance-network") int instance_network(void);
IMPORT("sockets/tcp-create-socket", "create-tcp-socket")
void create_socket(int family, uint8_t *result);

/* An ip-socket-address is eleven numbers, of which IPv4 uses the first five: port and address. */
#define ENDPOINT int is_ipv6, int port, int a, int b, int c, int d, int, int, int, int, int, int
IMPORT("sockets/tcp", "[method]tcp-socket.start-bind")
void start_bind(int socket, int network, ENDPOINT, uint8_t *result);
IMPORT("sockets/tcp", "[method]tcp-socket.finish-bind")
void finish_bind(int socket, uint8_t *result);
IMPORT("sockets/tcp", "[method]tcp-socket.start-connect")
void start_connect(int socket, int network, ENDPOINT, uint8_t *result);
IMPORT("sockets/tcp", "[method]tcp-socket.finish-connect")
void finish_connect(int socket, uint8_t *result);
IMPORT("sockets/tcp", "[method]tcp-socket.start-listen")
void start_listen(int socket, uint8_t *result);
IMPORT("sockets/tcp", "[method]tcp-socket.finish-listen")
void finish_listen(int socket, uint8_t *result);
IMPORT("sockets/tcp", "[method]tcp-socket.accept") void socket_accept(int socket, uint8_t *result);
IMPORT("sockets/tcp", "[method]tcp-socket.subscribe") int socket_subscribe(int socket);
IMPORT("sockets/tcp", "[resource-drop]tcp-socket") void socket_drop(int socket);

IMPORT("sockets/ip-name-lookup", "resolve-addresses")
void resolve(int network, const char *name, size_t size, uint8_t *result);
IMPORT("sockets/ip-name-lookup", "[method]resolve-address-stream.resolve-next-address")
void next_address(int stream, uint8_t *result);
IMPORT("sockets/ip-name-lookup", "[method]resolve-address-stream.subscribe")
int addresses_subscribe(int stream);
IMPORT("sockets/ip-name-lookup", "[resource-drop]resolve-address-stream")
void addresses_drop(int stream);

/* Where the engine puts the bytes that are read. */
__attribute__((export_name("cabi_realloc")))
void *cabi_realloc(void *old, size_t old_size, size_t align, size_t size) {
    (void)old_size, (void)align;
    void *memory = realloc(old, size);
    if (!memory)
        abort();
    return memory;
}

const char *net_error = "";

/* wasi:sockets/network.error-code */
static const char *const CODES[] = {
    "unknown", "access-denied", "not-supported", "invalid-argument", "out-of-memory", "timeout",
    "concurrency-conflict", "not-in-progress", "would-block", "invalid-state", "new-socket-limit",
    "address-not-bindable", "address-in-use", "remote-unreachable", "connection-refused",
    "connection-reset", "connection-aborted", "datagram-too-large", "name-unresolvable",
    "temporary-resolver-failure", "permanent-resolver-failure",
};
#define WOULD_BLOCK 8

typedef union {
    uint8_t bytes[32];
    int32_t words[8];
} result_t;

/* 0 for success; -1 with the error, which is the byte at `at`. */
static int outcome(const result_t *result, int at) {
    if (!result->bytes[0])
        return 0;
    net_error = CODES[result->bytes[at]];
    return -1;
}

static int would_block(const result_t *result, int at) {
    return result->bytes[0] && result->bytes[at] == WOULD_BLOCK;
}

static void wait_for(int pollable) {
    pollable_block(pollable);
    pollable_drop(pollable);
}

static int network(void) {
    static int handle = -1;
    if (handle < 0)
        handle = instance_network();
    return handle;
}

static int new_socket(void) {
    result_t result;
    create_socket(0, result.bytes);
    return outcome(&result, 4) < 0 ? -1 : result.words[1];
}

int net_listen(unsigned short port) {
    result_t result;
    int socket = new_socket();
    if (socket < 0)
        return -1;
    start_bind(socket, network(), 0, port, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, result.bytes);
    if (outcome(&result, 1) < 0)
        return -1;
    while (finish_bind(socket, result.bytes), would_block(&result, 1))
        wait_for(socket_subscribe(socket));
    if (outcome(&result, 1) < 0)
        return -1;
    start_listen(socket, result.bytes);
    if (outcome(&result, 1) < 0)
        return -1;
    while (finish_listen(socket, result.bytes), would_block(&result, 1))
        wait_for(socket_subscribe(socket));
    return outcome(&result, 1) < 0 ? -1 : socket;
}

int net_accept(int listener, struct net *connection) {
    result_t result;
    while (socket_accept(listener, result.bytes), would_block(&result, 4))
        wait_for(socket_subscribe(listener));
    if (outcome(&result, 4) < 0)
        return -1;
    *connection = (struct net){result.words[1], result.words[2], result.words[3]};
    return 0;
}

int net_connect(const unsigned char address[4], unsigned short port, struct net *connection) {
    result_t result;
    int socket = new_socket();
    if (socket < 0)
        return -1;
    start_connect(socket, network(), 0, port, address[0], address[1], address[2], address[3],
                  0, 0, 0, 0, 0, 0, result.bytes);
    if (outcome(&result, 1) < 0)
        return -1;
    while (finish_connect(socket, result.bytes), would_block(&result, 4))
        wait_for(socket_subscribe(socket));
    if (outcome(&result, 4) < 0)
        return -1;
    *connection = (struct net){socket, result.words[1], result.words[2]};
    return 0;
}

/* stream-error: last-operation-failed, or closed, which is the end. */
static int stream_outcome(const result_t *result) {
    if (!result->bytes[0] || result->bytes[4] == 1)
        return 0;
    net_error = "last-operation-failed";
    return -1;
}

int net_read(struct net *connection, char *bytes) {
    result_t result;
    input_read(connection->input, NET_CHUNK, result.bytes);
    if (result.bytes[0])
        return stream_outcome(&result);
    char *read = (char *)result.words[1];
    int size = result.words[2];
    memcpy(bytes, read, size);
    free(read);
    return size;
}

int net_write(struct net *connection, const char *bytes, size_t size) {
    while (size > 0) {
        result_t result;
        size_t now = size < NET_CHUNK ? size : NET_CHUNK;
        output_write(connection->output, bytes, now, result.bytes);
        if (result.bytes[0]) {
            net_error = "closed";
            return -1;
        }
        bytes += now;
        size -= now;
    }
    return 0;
}

void net_close(struct net *connection) {
    input_drop(connection->input);
    output_drop(connection->output);
    socket_drop(connection->socket);
}

int net_resolve(const char *name, unsigned char (*addresses)[4], int max) {
    result_t result;
    int count = 0;
    resolve(network(), name, strlen(name), result.bytes);
    if (outcome(&result, 4) < 0)
        return -1;
    int stream = result.words[1];
    for (;;) {
        while (next_address(stream, result.bytes), would_block(&result, 2))
            wait_for(addresses_subscribe(stream));
        if (outcome(&result, 2) < 0)
            count = -1;
        if (count < 0 || !result.bytes[2] || count == max)
            break;
        int is_ipv4 = result.bytes[4] == 0;
        if (is_ipv4)
            memcpy(addresses[count++], result.bytes + 6, 4);
    }
    addresses_drop(stream);
    return count;
}
