/* The load: many WebSockets in one process, each read frame by frame.
 *
 *   load TEXT_BYTES FILL SUBPROTOCOL|- PATH MESSAGE [GREETING AWAITED]...
 *
 * opens WebSockets on PATH. On each it sends the first GREETING, waits for a frame that contains the AWAITED after it,
 * and so on. Then it sends each message as the frame MESSAGE. PATH, GREETING and MESSAGE may contain names: `{room}`,
 * `{socket}` (its number), `{nonce}` (a text that no other process has), `{mark}` (the number of the message, see below)
 * and `{fill}` (FILL, repeated until `{mark}{fill}` has TEXT_BYTES).
 *
 * It obeys the commands that come on its standard input, one a line, and answers each but the first two with a line of
 * JSON:
 *
 *   server PID                    count this process's time as the server's
 *   socket PORT ROOM SPEAKS COOKIE   have a socket to ROOM of the server on PORT; it says something where SPEAKS is 1
 *   open AT_ONCE                  open those that are not open, so many at once
 *   load IN_FLIGHT SECONDS DONE   keep so many messages under way; DONE, when one has arrived: events, acks
 *   pace PER_SECOND SECONDS DONE  say so many messages a second, whatever comes of them
 *   storm PORT SECONDS            wait for sockets to be lost, open each at once again on PORT, behind what it has seen
 *
 * A message carries its number between two marks, and so do its events and its ack: `|0000000042|`. So each is known
 * wherever it comes, in whatever order, and what is lost is seen. A message is lost when nothing of it has come for
 * LOST_S; one that has never come anywhere counts with the time for which it was awaited.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MARK '|'
#define DIGITS 10
#define WARM_UP_S 0.5
#define LOST_S 1.5
#define NEVER_CAME_S 20.0
#define QUIET_S 0.3
#define DRAIN_S 30.0
#define RETRY_S 0.05
#define READ_BYTES (1 << 20)
#define EVENTS_A_TURN 512
#define SLOTS (1 << 17) /* more than are ever under way */

struct buffer {
    char *data;
    size_t size, room;
};

enum state { CLOSED, CONNECTING, SHAKING, GREETING, OPEN };

struct client {
    int fd, port;
    size_t number, greetings_sent;
    enum state state;
    bool speaks, waits_to_write;
    struct room *room;
    char *cookie;
    struct buffer unread, unsent; /* the beginning of a frame; what the kernel did not take */
    uint64_t events;              /* in this run */
    long long seq, head;          /* the newest event that came; where the log ended when it was greeted */
    bool live;
    double lost_at;
    char epoch[64];
};

struct room {
    char name[32];
    struct client **speakers;
    size_t member_count, speaker_count, next_speaker;
    uint64_t said; /* in this run */
};

struct message {
    uint64_t number;
    struct room *room;
    uint32_t outstanding;
    double sent_at, last_came_at;
};

static struct client **clients;
static struct room **rooms;
static struct message *slots;
static size_t client_count, room_count, next_room;
static uint64_t next_number = 1, oldest = 1; /* no message below `oldest` is under way */
static int poller;
static char *input;
static const char *subprotocol, *path, *message_frame;
static char **greetings; /* pairs: a frame, and what the reply to it contains */
static size_t greeting_count;
static char nonce[20], fill[8192];
static pid_t servers[16];
static size_t server_count;

static bool saying, counts_acks, storming;
static uint64_t deliveries, delivered_bytes, done, lost, late, errors;
static uint64_t holes; /* events whose seq did not follow that of the one before */
static double *latencies;
static size_t latency_count, latency_room, shaking, live_count, retries, resets;

static void fail(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, errno ? strerror(errno) : "failed");
    exit(1);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
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

/* Write `template` to `output`, which has `room` bytes, with values in place of its names; return the length. */
static size_t fill_in(char *output, size_t room, const char *template, const struct client *client, uint64_t number) {
    char socket_number[24], mark[32];
    snprintf(socket_number, sizeof socket_number, "%zu", client->number);
    snprintf(mark, sizeof mark, "%c%0*llu%c", MARK, DIGITS, (unsigned long long)number, MARK);
    const char *const values[][2] = {{"{mark}", mark},
                                     {"{fill}", fill},
                                     {"{nonce}", nonce},
                                     {"{room}", client->room->name},
                                     {"{socket}", socket_number}};
    size_t size = 0;
    while (*template) {
        const char *from = template;
        size_t length = 1, name_length = 1;
        for (size_t i = 0; *template == '{' && i < sizeof values / sizeof *values; i++) {
            if (strncmp(template, values[i][0], strlen(values[i][0]))) continue;
            from = values[i][1];
            length = strlen(from);
            name_length = strlen(values[i][0]);
            break;
        }
        if (size + length >= room) fail("a frame that is too long");
        memcpy(output + size, from, length);
        size += length;
        template += name_length;
    }
    output[size] = 0;
    return size;
}

/* Opening. */

static void connect_client(struct client *client) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)client->port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (client->fd < 0) fail("socket");
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (connect(client->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS) fail("connect");
    client->state = CONNECTING;
    client->waits_to_write = false;
    client->greetings_sent = 0;
    client->unread.size = client->unsent.size = 0;
    shaking++;
    watch(client, EPOLL_CTL_ADD, EPOLLOUT);
}

static void disconnect(struct client *client) {
    if (client->state != OPEN) shaking--;
    close(client->fd);
    client->state = CLOSED;
}

static void lose(struct client *client) {
    if (!storming) {
        fprintf(stderr, "load: a server has closed a socket\n");
        exit(1);
    }
    if (client->state != OPEN) retries++;
    else client->lost_at = now();
    disconnect(client);
}

static void flush(struct client *client) {
    struct buffer *unsent = &client->unsent;
    ssize_t sent = send(client->fd, unsent->data, unsent->size, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        lose(client);
        return;
    }
    if (sent > 0) memmove(unsent->data, unsent->data + sent, unsent->size -= (size_t)sent);
    bool waits = unsent->size > 0;
    if (waits != client->waits_to_write) {
        client->waits_to_write = waits;
        watch(client, EPOLL_CTL_MOD, EPOLLIN | (waits ? EPOLLOUT : 0));
    }
}

static void ask(struct client *client) {
    char request[4096], own_path[1024], query[160] = "";
    fill_in(own_path, sizeof own_path, path, client, 0);
    if (storming) snprintf(query, sizeof query, "?after=%lld&epoch=%s", client->seq, client->epoch);
    int size = snprintf(request, sizeof request,
                        "GET %s%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\n"
                        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s%s%s%s%s%s\r\n",
                        own_path, query, client->port, *subprotocol ? "Sec-WebSocket-Protocol: " : "",
                        subprotocol, *subprotocol ? "\r\n" : "", *client->cookie ? "Cookie: " : "", client->cookie,
                        *client->cookie ? "\r\n" : "");
    client->state = SHAKING;
    watch(client, EPOLL_CTL_MOD, EPOLLIN);
    append(&client->unsent, request, (size_t)size);
    flush(client);
}

/* Saying. */

static void add_frame(struct client *client, uint8_t opcode, const char *payload, size_t size) {
    /* The mask is zero: the server has the same work with it, and we have none. */
    uint8_t header[8] = {0x80 | opcode, (uint8_t)(0x80 | size)};
    size_t header_bytes = 6;
    if (size > 125) {
        header[1] = 0x80 | 126;
        header[2] = (uint8_t)(size >> 8);
        header[3] = (uint8_t)size;
        memset(header + 4, 0, 4);
        header_bytes = 8;
    }
    append(&client->unsent, header, header_bytes);
    append(&client->unsent, payload, size);
}

/* Say one message in `room`; it is sent with the next flush of the returned speaker. */
static struct client *say(struct room *room, double since) {
    struct client *speaker = room->speakers[room->next_speaker++ % room->speaker_count];
    uint64_t number = next_number++;
    slots[number % SLOTS] = (struct message){
        number, room, counts_acks ? 1 : (uint32_t)room->member_count, since, since};
    room->said++;
    char payload[sizeof fill + 1024];
    size_t size = fill_in(payload, sizeof payload, message_frame, speaker, number);
    add_frame(speaker, 1, payload, size);
    return speaker;
}

static void say_next(struct room *room) {
    struct client *speaker = say(room, now());
    if (!speaker->waits_to_write) flush(speaker);
}

/* Listening. */

static void finish(struct message *message) {
    message->outstanding = 0;
    while (oldest < next_number && !slots[oldest % SLOTS].outstanding) oldest++;
    if (saying) say_next(message->room);
}

static void add_latency(double seconds) {
    if (latency_count == latency_room)
        latencies = grown(latencies, (latency_room = 2 * latency_room + 1024) * sizeof *latencies);
    latencies[latency_count++] = seconds;
}

static void count_arrival(struct client *client, uint64_t number, size_t frame_bytes, bool is_event, double time) {
    client->events += is_event;
    if (is_event == counts_acks) return;
    deliveries++;
    delivered_bytes += frame_bytes;
    struct message *message = &slots[number % SLOTS];
    if (message->number != number || !message->outstanding) {
        late++;
        return;
    }
    message->last_came_at = time;
    if (--message->outstanding) return;
    done++;
    add_latency(now() - message->sent_at);
    finish(message);
}

static void see_live(struct client *client) {
    if (storming && !client->live && client->head >= 0 && client->seq >= client->head) {
        client->live = true;
        live_count++;
        client->lost_at = now() - client->lost_at; /* how long it took */
    }
}

static bool starts(const char *payload, size_t size, const char *with) {
    size_t length = strlen(with);
    return size >= length && !memcmp(payload, with, length);
}

static void greet(struct client *client, const char *payload, size_t size) {
    const char *head = memmem(payload, size, "\"head\":", 7), *epoch = memmem(payload, size, "\"epoch\":\"", 9);
    if (!head || !epoch) fail("a welcome without head and epoch");
    client->head = atoll(head + 7);
    snprintf(client->epoch, sizeof client->epoch, "%.*s", (int)strcspn(epoch + 9, "\""), epoch + 9);
    if (client->seq < 0) client->seq = client->head;
    see_live(client);
}

/* Send the next greeting; after the last one the socket is open. */
static void greet_server(struct client *client) {
    if (client->greetings_sent == greeting_count) {
        client->state = OPEN;
        shaking--;
        return;
    }
    char payload[1024];
    const char *greeting = greetings[2 * client->greetings_sent++];
    add_frame(client, 1, payload, fill_in(payload, sizeof payload, greeting, client, 0));
    flush(client);
}

static bool is_error(const char *payload, size_t size) {
    return starts(payload, size, "{\"type\":\"error\"") ||
           (starts(payload, size, "<") && memmem(payload, size, "type='error'", 12));
}

static void take_text(struct client *client, const char *payload, size_t size, size_t frame_bytes, double time) {
    if (client->state == GREETING) {
        const char *awaited = greetings[2 * client->greetings_sent - 1];
        if (memmem(payload, size, awaited, strlen(awaited))) greet_server(client);
        else if (is_error(payload, size) || starts(payload, size, "<failure")) {
            fprintf(stderr, "load: a greeting was refused: %.*s\n", (int)size, payload);
            exit(1);
        }
        return;
    }
    if (starts(payload, size, "{\"type\":\"welcome\"")) {
        greet(client, payload, size);
        return;
    }
    if (starts(payload, size, "{\"type\":\"reset\"")) {
        resets++;
        client->seq = client->head;
        see_live(client);
        return;
    }
    if (starts(payload, size, "{\"seq\":")) {
        long long seq = atoll(payload + 7);
        holes += client->seq >= 0 && seq != client->seq + 1;
        client->seq = seq;
        see_live(client);
    }
    if (is_error(payload, size)) {
        errors++;
        return;
    }
    const char *mark = memchr(payload, MARK, size);
    if (!mark || mark + DIGITS + 1 >= payload + size) return;
    uint64_t number = 0;
    for (int digit = 1; digit <= DIGITS; digit++) number = number * 10 + (uint64_t)(mark[digit] - '0');
    count_arrival(client, number, frame_bytes, !starts(payload, size, "{\"type\":\"ack\""), time);
}

/* Take the whole frames at the front of `data` (RFC 6455 §5.2) and return how many bytes they are. */
static size_t take_frames(struct client *client, const char *data, size_t size) {
    const uint8_t *bytes = (const uint8_t *)data;
    size_t at = 0;
    double time = now();
    while (size - at >= 2) {
        size_t header = 2, length = bytes[at + 1] & 0x7f;
        if (length == 126) {
            header = 4;
            if (size - at < header) break;
            length = (size_t)bytes[at + 2] << 8 | bytes[at + 3];
        } else if (length == 127) {
            header = 10;
            if (size - at < header) break;
            length = 0;
            for (size_t i = 2; i < 10; i++) length = length << 8 | bytes[at + i];
        }
        if (size - at < header + length) break;
        const char *payload = data + at + header;
        switch (bytes[at] & 0x0f) {
            case 1: take_text(client, payload, length, header + length, time); break;
            case 9:
                add_frame(client, 10, payload, length);
                flush(client);
                break;
            case 8:
                if (storming) break;
                fprintf(stderr, "load: a socket was closed with %d\n", length < 2 ? 0 : (uint8_t)payload[0] << 8 | (uint8_t)payload[1]);
                exit(1);
            default: break;
        }
        if (client->state == CLOSED) return size;
        at += header + length;
    }
    return at;
}

static void receive(struct client *client) {
    size_t size = client->unread.size;
    memcpy(input, client->unread.data ? client->unread.data : "", size);
    ssize_t came = recv(client->fd, input + size, READ_BYTES - size, 0);
    if (came <= 0) {
        if (came < 0 && errno == EAGAIN) return;
        lose(client);
        return;
    }
    size += (size_t)came;
    size_t at = 0;
    if (client->state == SHAKING) {
        char *end = memmem(input, size, "\r\n\r\n", 4);
        if (end) {
            if (!starts(input, size, "HTTP/1.1 101 ")) {
                if (storming) {
                    lose(client);
                    return;
                }
                fprintf(stderr, "load: refused: %.*s\n", (int)(end - input), input);
                exit(1);
            }
            client->state = GREETING;
            greet_server(client);
            if (client->state == CLOSED) return;
            at = (size_t)(end - input) + 4;
        }
    }
    if (client->state >= GREETING) at += take_frames(client, input + at, size - at);
    if (client->state == CLOSED) return;
    client->unread.size = 0;
    if (at < size) append(&client->unread, input + at, size - at);
}

/* One turn of the loop; returns whether anything came. */
static bool turn(double wait_s) {
    struct epoll_event events[EVENTS_A_TURN];
    int count = epoll_wait(poller, events, EVENTS_A_TURN, wait_s <= 0 ? 0 : (int)(wait_s * 1000) + 1);
    for (int i = 0; i < count; i++) {
        struct client *client = events[i].data.ptr;
        uint32_t what = events[i].events;
        if (client->state == CLOSED) continue;
        if (client->state == CONNECTING) {
            int error = 0;
            getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &(socklen_t){sizeof error});
            if (error) {
                errno = error;
                if (!storming) fail("connect");
                lose(client);
            } else ask(client);
            continue;
        }
        if (what & EPOLLOUT) flush(client);
        if (client->state != CLOSED && what & ~(uint32_t)EPOLLOUT) receive(client);
    }
    return count > 0;
}

static void open_clients(size_t at_once) {
    double started = now();
    size_t next = 0, opened = 0;
    while (true) {
        while (next < client_count && shaking < at_once) {
            if (clients[next]->state == CLOSED) {
                connect_client(clients[next]);
                opened++;
            }
            next++;
        }
        if (next == client_count && !shaking) break;
        turn(1.0);
    }
    double seconds = now() - started;
    while (turn(QUIET_S)) {}
    printf("{\"opened\": %zu, \"seconds\": %.4f}\n", opened, seconds);
}

/* Measuring. */

static double process_seconds(pid_t process) {
    clockid_t clock;
    struct timespec time;
    if (clock_getcpuclockid(process, &clock) || clock_gettime(clock, &time)) return 0;
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static double server_seconds(void) {
    double sum = 0;
    for (size_t i = 0; i < server_count; i++) sum += process_seconds(servers[i]);
    return sum;
}

static int compare(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double percentile(double share) {
    return latency_count ? latencies[(size_t)(share * (double)(latency_count - 1))] : 0;
}

/* Give up what is lost. */
static void expire(void) {
    double time = now();
    for (uint64_t number = oldest, end = next_number; number < end; number++) {
        struct message *message = &slots[number % SLOTS];
        if (!message->outstanding) continue;
        bool came = message->last_came_at > message->sent_at;
        if (time - message->last_came_at > (came ? LOST_S : NEVER_CAME_S)) {
            lost += message->outstanding;
            if (!came) add_latency(time - message->sent_at);
            finish(message);
        }
    }
}

static void start_run(bool acks) {
    counts_acks = acks;
    done = deliveries = delivered_bytes = lost = late = errors = holes = latency_count = 0;
    for (size_t i = 0; i < client_count; i++) clients[i]->events = 0;
    for (size_t i = 0; i < room_count; i++) rooms[i]->said = 0;
}

static struct room *room_in_turn(void) {
    struct room *room;
    do room = rooms[next_room++ % room_count];
    while (!room->speaker_count);
    return room;
}

/* Turn until `end`, saying `per_second` messages a second (0: none but in answer to those that arrived). */
static void turn_until(double end, double per_second, double *next_due) {
    double next_look = now() + 0.25;
    for (double time = now(); time < end; time = now()) {
        double wait_s = end - time;
        if (per_second > 0) {
            for (; *next_due <= time; *next_due += 1 / per_second) {
                struct client *speaker = say(room_in_turn(), *next_due);
                if (!speaker->waits_to_write) flush(speaker);
            }
            if (*next_due - time < wait_s) wait_s = *next_due - time;
        }
        turn(wait_s < 0.25 ? wait_s : 0.25);
        if (time > next_look) {
            expire();
            next_look = time + 0.25;
        }
    }
}

static void measure(double seconds, size_t in_flight, double per_second, bool acks) {
    start_run(acks);
    saying = in_flight > 0;
    double next_due = now();
    for (size_t i = 0; i < in_flight; i++) {
        struct client *speaker = say(room_in_turn(), now());
        if (!speaker->waits_to_write) flush(speaker);
    }
    turn_until(now() + WARM_UP_S, per_second, &next_due);

    uint64_t early_deliveries = deliveries, early_bytes = delivered_bytes, early_done = done, early_lost = lost;
    latency_count = 0;
    double server_s = server_seconds(), own_s = process_seconds(getpid()), started = now();
    turn_until(started + seconds, per_second, &next_due);
    double elapsed = now() - started;
    server_s = server_seconds() - server_s;
    own_s = process_seconds(getpid()) - own_s;
    uint64_t run_deliveries = deliveries - early_deliveries, run_bytes = delivered_bytes - early_bytes;
    uint64_t run_done = done - early_done, run_lost = lost - early_lost;

    saying = false;
    for (double end = now() + DRAIN_S; oldest < next_number && now() < end;) {
        turn(0.25);
        expire();
    }
    turn_until(now() + QUIET_S, 0, NULL);
    /* Only now, so that a message that came late counts too. */
    qsort(latencies, latency_count, sizeof *latencies, compare);
    double p50 = percentile(0.5), p99 = percentile(0.99), most = percentile(1);
    size_t messages = latency_count;
    size_t unequal = 0; /* sockets to which not each message of the run came once */
    for (size_t i = 0; i < client_count; i++) unequal += clients[i]->events != clients[i]->room->said;
    printf("{\"seconds\": %.6f, \"deliveries\": %llu, \"bytes\": %llu, \"messages\": %llu, \"latencies\": %zu, "
           "\"p50_s\": %.6f, \"p99_s\": %.6f, \"max_s\": %.6f, \"server_s\": %.6f, \"generator_s\": %.6f, "
           "\"all_messages\": %llu, \"lost\": %llu, \"late\": %llu, \"errors\": %llu, \"holes\": %llu, \"unequal\": %zu}\n",
           elapsed, (unsigned long long)run_deliveries, (unsigned long long)run_bytes, (unsigned long long)run_done,
           messages, p50, p99, most, server_s, own_s, (unsigned long long)done, (unsigned long long)run_lost, (unsigned long long)late,
           (unsigned long long)errors, (unsigned long long)holes, unequal);
}

static void storm(int port, double seconds) {
    storming = true;
    live_count = retries = resets = 0;
    holes = 0;
    for (size_t i = 0; i < client_count; i++) {
        clients[i]->live = false;
        clients[i]->head = -1;
        clients[i]->port = port;
    }
    printf("{\"waiting\": %zu}\n", client_count);
    fflush(stdout);
    double end = now() + seconds, next_try = 0;
    while (live_count < client_count && now() < end) {
        turn(RETRY_S);
        if (now() < next_try) continue;
        next_try = now() + RETRY_S / 5;
        for (size_t i = 0; i < client_count; i++)
            if (clients[i]->state == CLOSED) connect_client(clients[i]);
    }
    latency_count = 0;
    for (size_t i = 0; i < client_count; i++) {
        if (!clients[i]->live) continue;
        add_latency(clients[i]->lost_at);
    }
    qsort(latencies, latency_count, sizeof *latencies, compare);
    storming = false;
    printf("{\"live\": %zu, \"p50_s\": %.4f, \"p99_s\": %.4f, \"max_s\": %.4f, \"retries\": %zu, \"resets\": %zu, \"holes\": %llu}\n",
           live_count, percentile(0.5), percentile(0.99), percentile(1), retries, resets, (unsigned long long)holes);
}

/* Commands. */

static struct room *room_named(const char *name) {
    for (size_t i = 0; i < room_count; i++)
        if (!strcmp(rooms[i]->name, name)) return rooms[i];
    struct room *room = grown(NULL, sizeof *room);
    *room = (struct room){.member_count = 0};
    snprintf(room->name, sizeof room->name, "%s", name);
    rooms = grown(rooms, (room_count + 1) * sizeof *rooms);
    return rooms[room_count++] = room;
}

static void add_client(int port, const char *room_name, bool speaks, const char *cookie) {
    struct room *room = room_named(room_name);
    struct client *client = grown(NULL, sizeof *client);
    *client = (struct client){.fd = -1, .port = port, .number = client_count, .room = room, .speaks = speaks, .seq = -1, .head = -1};
    client->cookie = strdup(strcmp(cookie, "-") ? cookie : "");
    clients = grown(clients, (client_count + 1) * sizeof *clients);
    clients[client_count++] = client;
    room->member_count++;
    if (!speaks) return;
    room->speakers = grown(room->speakers, (room->speaker_count + 1) * sizeof *room->speakers);
    room->speakers[room->speaker_count++] = client;
}

static void obey(const char *line) {
    int port, speaks, process;
    size_t count;
    double seconds, per_second;
    char name[32], cookie[2048], until[16];
    if (sscanf(line, "server %d", &process) == 1) {
        if (server_count == sizeof servers / sizeof *servers) fail("too many servers");
        servers[server_count++] = process;
    } else if (sscanf(line, "socket %d %31s %d %2047[^\n]", &port, name, &speaks, cookie) == 4) add_client(port, name, speaks, cookie);
    else if (sscanf(line, "open %zu", &count) == 1) open_clients(count);
    else if (sscanf(line, "load %zu %lf %15s", &count, &seconds, until) == 3) measure(seconds, count, 0, !strcmp(until, "acks"));
    else if (sscanf(line, "pace %lf %lf %15s", &per_second, &seconds, until) == 3) measure(seconds, 0, per_second, !strcmp(until, "acks"));
    else if (sscanf(line, "storm %d %lf", &port, &seconds) == 2) storm(port, seconds);
    else {
        fprintf(stderr, "load: what is %s\n", line);
        exit(1);
    }
    fflush(stdout);
}

int main(int count, char **arguments) {
    if (count < 6 || count % 2 || !*arguments[2]) {
        fprintf(stderr, "usage: load TEXT_BYTES FILL SUBPROTOCOL|- PATH MESSAGE [GREETING AWAITED]...\n");
        return 2;
    }
    size_t text_bytes = strtoul(arguments[1], NULL, 10);
    if (text_bytes < DIGITS + 2 || text_bytes >= sizeof fill) fail("TEXT_BYTES");
    for (size_t i = 0; i < text_bytes - DIGITS - 2; i++) fill[i] = arguments[2][i % strlen(arguments[2])];
    subprotocol = strcmp(arguments[3], "-") ? arguments[3] : "";
    path = arguments[4];
    message_frame = arguments[5];
    greetings = arguments + 6;
    greeting_count = (size_t)(count - 6) / 2;
    snprintf(nonce, sizeof nonce, "%llx", (unsigned long long)(now() * 1e6));
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    slots = grown(NULL, SLOTS * sizeof *slots);
    memset(slots, 0, SLOTS * sizeof *slots);
    input = grown(NULL, READ_BYTES);
    poller = epoll_create1(0);

    /* While no command comes the sockets are looked after: they are pinged. */
    struct buffer line = {0};
    struct pollfd waits[2] = {{.fd = 0, .events = POLLIN}, {.fd = poller, .events = POLLIN}};
    char bytes[65536];
    while (true) {
        if (poll(waits, 2, -1) < 0) fail("poll");
        if (waits[1].revents) turn(0);
        if (!waits[0].revents) continue;
        ssize_t size = read(0, bytes, sizeof bytes);
        if (size <= 0) return 0;
        for (ssize_t i = 0; i < size; i++) {
            if (bytes[i] != '\n') {
                append(&line, &bytes[i], 1);
                continue;
            }
            append(&line, "", 1);
            obey(line.data);
            line.size = 0;
        }
    }
}
