/* The limit: what the kernel lets a chat server do on one core. For the load of `load.c` alone.
 *
 *   limit PORT joined|plain
 *   limit PORT durable FILE
 *
 * Signs nobody in and checks nothing. `joined`: what is due for a room in one turn of the loop is joined and written once
 * to each of its sockets. `plain`: one send for each delivery. `durable`: like `joined`, but what came in this turn is
 * appended to FILE and on disk before any of it is sent. The handshake's answer lacks the key that a browser would ask
 * for (RFC 6455 §4.2.2).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_BYTES 65536
#define EVENTS_A_TURN 512

struct buffer {
    char *data;
    size_t size, room;
};

struct room;

struct client {
    int fd;
    struct room *room; /* NULL until the handshake is over */
    size_t index;  /* among the room's members */
    struct buffer unread, unsent;
};

struct room {
    char path[64];
    struct client **members;
    size_t member_count;
    struct buffer due;
};

static struct room **rooms, **rooms_due;
static size_t room_count, due_count;
static int poller;
static bool joins;
static int file = -1;
static struct buffer unstored;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void *grown(void *memory, size_t size) {
    if (!(memory = realloc(memory, size))) fail("memory");
    return memory;
}

static void append(struct buffer *buffer, const void *data, size_t size) {
    if (buffer->size + size > buffer->room) buffer->data = grown(buffer->data, buffer->room = 2 * (buffer->size + size));
    memcpy(buffer->data + buffer->size, data, size);
    buffer->size += size;
}

static void watch(struct client *client, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = client};
    if (epoll_ctl(poller, operation, client->fd, &event)) fail("epoll_ctl");
}

/* Send what the kernel takes and keep the rest. A connection that is gone shows when it is read. */
static void transmit(struct client *client, const char *data, size_t size) {
    ssize_t sent = 0;
    if (!client->unsent.size) {
        sent = send(client->fd, data, size, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno != EAGAIN) return;
            sent = 0;
        }
        if ((size_t)sent == size) return;
        watch(client, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    }
    append(&client->unsent, data + sent, size - (size_t)sent);
}

static void transmit_rest(struct client *client) {
    struct buffer *unsent = &client->unsent;
    ssize_t sent = send(client->fd, unsent->data, unsent->size, MSG_NOSIGNAL);
    if (sent <= 0) return;
    memmove(unsent->data, unsent->data + sent, unsent->size -= (size_t)sent);
    if (!unsent->size) watch(client, EPOLL_CTL_MOD, EPOLLIN);
}

static void write_due(struct room *room) {
    for (size_t i = 0; i < room->member_count; i++)
        transmit(room->members[i], room->due.data, room->due.size);
    room->due.size = 0;
}

static void store(void) {
    for (size_t stored = 0; stored < unstored.size;) {
        ssize_t size = write(file, unstored.data + stored, unstored.size - stored);
        if (size < 0) fail("write");
        stored += (size_t)size;
    }
    if (unstored.size && fdatasync(file)) fail("fdatasync");
    unstored.size = 0;
}

static void deliver(struct room *room, const char *text, size_t text_size) {
    char payload[65536];
    int size = snprintf(payload, sizeof payload,
                        "{\"type\":\"chat_message\",\"message\":\"%.*s\",\"user\":\"student100\","
                        "\"datetime\":\"2026-01-01T00:00:00.000000+00:00\"}",
                        (int)text_size, text);
    uint8_t header[4] = {0x81, (uint8_t)size};
    size_t header_bytes = 2;
    if (size > 125) {
        header[1] = 126;
        header[2] = (uint8_t)(size >> 8);
        header[3] = (uint8_t)size;
        header_bytes = 4;
    }
    if (file >= 0) append(&unstored, payload, (size_t)size);
    if (!room->due.size) rooms_due[due_count++] = room;
    append(&room->due, header, header_bytes);
    append(&room->due, payload, (size_t)size);
    if (!joins) {
        write_due(room);
        due_count--;
    }
}

static struct room *room_at(const char *path, size_t size) {
    for (size_t i = 0; i < room_count; i++)
        if (strlen(rooms[i]->path) == size && !memcmp(rooms[i]->path, path, size)) return rooms[i];
    struct room *room = grown(NULL, sizeof *room);
    *room = (struct room){.member_count = 0};
    snprintf(room->path, sizeof room->path, "%.*s", (int)size, path);
    rooms = grown(rooms, (room_count + 1) * sizeof *rooms);
    rooms_due = grown(rooms_due, (room_count + 1) * sizeof *rooms_due);
    return rooms[room_count++] = room;
}

static bool shake_hands(struct client *client, const char *request, size_t size) {
    const char *end = memchr(request + 4, ' ', size - 4);
    if (memcmp(request, "GET ", 4) || !end) return false;
    client->room = room_at(request + 4, (size_t)(end - request) - 4);
    client->index = client->room->member_count++;
    client->room->members = grown(client->room->members, client->room->member_count * sizeof *client->room->members);
    client->room->members[client->index] = client;
    const char *answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    transmit(client, answer, strlen(answer));
    return true;
}

static void drop(struct client *client) {
    if (client->room) {
        struct client *last = client->room->members[--client->room->member_count];
        client->room->members[last->index = client->index] = last;
    }
    close(client->fd);
    free(client->unread.data);
    free(client->unsent.data);
    free(client);
}

/* Take the whole frames at the front of `data` (RFC 6455 §5.2) and return how many bytes they are. */
static size_t take_frames(struct client *client, uint8_t *data, size_t size) {
    size_t at = 0;
    while (size - at >= 8) {
        size_t header = 6, length = data[at + 1] & 0x7f;
        if (length == 126) {
            header = 8;
            length = (size_t)data[at + 2] << 8 | data[at + 3];
        }
        if (size - at < header + length) break;
        uint8_t *mask = data + at + header - 4;
        char *payload = (char *)data + at + header;
        for (size_t i = 0; i < length; i++) payload[i] = (char)(payload[i] ^ mask[i % 4]);
        const char *text = memmem(payload, length, "\"message\":\"", 11);
        if ((data[at] & 0x0f) == 1 && text) {
            text += 11;
            const char *end = memchr(text, '"', length - (size_t)(text - payload));
            if (end) deliver(client->room, text, (size_t)(end - text));
        }
        at += header + length;
    }
    return at;
}

/* Returns whether the connection is still there. */
static bool receive(struct client *client) {
    static char input[2 * READ_BYTES];
    size_t size = client->unread.size, at = 0;
    if (size) memcpy(input, client->unread.data, size);
    ssize_t came = recv(client->fd, input + size, READ_BYTES, 0);
    if (came <= 0) return came < 0 && errno == EAGAIN;
    size += (size_t)came;
    if (client->room) at = take_frames(client, (uint8_t *)input, size);
    else if (size > 4 && memmem(input, size, "\r\n\r\n", 4)) {
        if (!shake_hands(client, input, size)) return false;
        at = size;
    }
    client->unread.size = 0;
    if (at < size) append(&client->unread, input + at, size - at);
    return size - at < READ_BYTES;
}

static void accept_all(int listener) {
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        struct client *client = grown(NULL, sizeof *client);
        *client = (struct client){.fd = fd};
        watch(client, EPOLL_CTL_ADD, EPOLLIN);
    }
}

int main(int count, char **arguments) {
    bool is_durable = count == 4 && !strcmp(arguments[2], "durable");
    if (count != 3 && !is_durable) {
        fprintf(stderr, "usage: limit PORT joined|plain\n       limit PORT durable FILE\n");
        return 2;
    }
    joins = is_durable || !strcmp(arguments[2], "joined");
    if (is_durable && (file = open(arguments[3], O_WRONLY | O_CREAT | O_APPEND, 0600)) < 0) fail(arguments[3]);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(arguments[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) fail("listen");
    poller = epoll_create1(0);
    struct epoll_event events[EVENTS_A_TURN], listening = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, listener, &listening)) fail("epoll_ctl");
    while (true) {
        int ready = epoll_wait(poller, events, EVENTS_A_TURN, -1);
        for (int i = 0; i < ready; i++) {
            struct client *client = events[i].data.ptr;
            if (!client) {
                accept_all(listener);
                continue;
            }
            if (events[i].events & EPOLLOUT) transmit_rest(client);
            if (events[i].events & ~(uint32_t)EPOLLOUT && !receive(client)) drop(client);
        }
        store();
        for (size_t i = 0; i < due_count; i++) write_due(rooms_due[i]);
        due_count = 0;
    }
}
