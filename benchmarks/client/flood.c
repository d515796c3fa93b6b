/* Produce without librdkafka: batches that are made beforehand, sent as fast as the broker acknowledges them.
 *
 * librdkafka's own work for a record of 100 bytes is several times a broker's, and shares the machine with it. Here the
 * client only sends: Produce version 7, acks=all, one batch of one partition in a request, partitions in turn, at most
 * IN_FLIGHT requests on one connection, as librdkafka does it. Byte formats: https://kafka.apache.org/protocol.
 */
#include "load.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { IN_FLIGHT = 5, BATCH_BYTES = 1000000, BATCH_RECORDS = 10000, BATCH_HEADER = 61, CRC_AT = 17, ATTRIBUTES_AT = 21 };

static uint8_t *put(uint8_t *at, uint64_t value, int bytes) {
    while (bytes--) *at++ = (uint8_t)(value >> 8 * bytes);
    return at;
}

static uint8_t *put_text(uint8_t *at, const char *text) {
    size_t size = strlen(text);
    return (uint8_t *)memcpy(put(at, size, 2), text, size) + size;
}

static uint8_t *put_varint(uint8_t *at, long value) {
    uint64_t zigzag = (uint64_t)value << 1 ^ (uint64_t)(value >> 63);
    for (; zigzag > 127; zigzag >>= 7) *at++ = (uint8_t)(zigzag | 128);
    *at++ = (uint8_t)zigzag;
    return at;
}

static uint32_t get(const uint8_t *at) { return (uint32_t)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3]; }

static uint32_t crc32c(const uint8_t *data, size_t size) {
    uint32_t crc = ~0u;
    while (size--) {
        crc ^= *data++;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78u : 0);
    }
    return ~crc;
}

/* A record batch of magic 2; its size and its number of records are returned where it is pointed to. */
static uint8_t *build_batch(const struct options *o, size_t *size, long *records) {
    long most = BATCH_BYTES / (o->size + 16);
    long count = most < 1 ? 1 : most < BATCH_RECORDS ? most : BATCH_RECORDS;
    char *ring = ring_of_values(o->size);
    uint8_t *batch = malloc((size_t)count * (o->size + 32) + BATCH_HEADER), *at = batch + BATCH_HEADER, body[32];
    for (long i = 0; i < count; i++) {
        uint8_t *end = body;
        *end++ = 0;                       /* attributes */
        end = put_varint(end, 0);         /* timestamp delta */
        end = put_varint(end, i);         /* offset delta */
        end = put_varint(end, -1);        /* no key */
        end = put_varint(end, o->size);
        at = put_varint(at, end - body + o->size + 1);
        memcpy(at, body, end - body), at += end - body;
        memcpy(at, ring + i % RING * o->size, o->size), at += o->size;
        *at++ = 0; /* no headers */
    }
    *size = at - batch, *records = count;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t now_ms = (uint64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    at = put(batch, 0, 8);                /* base offset */
    at = put(at, *size - 12, 4);
    at = put(at, -1, 4);                  /* partition leader epoch */
    at = put(at, 2, 1);                   /* magic */
    at = put(at, 0, 4);                   /* checksum, below */
    at = put(at, 0, 2);                   /* attributes */
    at = put(at, count - 1, 4);           /* last offset delta */
    at = put(put(at, now_ms, 8), now_ms, 8);
    at = put(put(put(at, -1, 8), -1, 2), -1, 4); /* producer id, epoch, sequence: none */
    put(at, count, 4);
    put(batch + CRC_AT, crc32c(batch + ATTRIBUTES_AT, *size - ATTRIBUTES_AT), 4);
    return batch;
}

/* Everything of a request before its batch. */
static size_t build_head(uint8_t *head, const struct options *o, long number, size_t batch_size) {
    uint8_t *at = put(head, 0, 4);
    at = put(put(put(at, 0, 2), 7, 2), number, 4); /* Produce, version 7, correlation id */
    at = put_text(at, "flood");
    at = put(at, -1, 2);                  /* no transaction */
    at = put(put(at, -1, 2), 30000, 4);   /* acks, timeout in ms */
    at = put_text(put(at, 1, 4), o->topic);
    at = put(put(at, 1, 4), number % o->partitions, 4);
    at = put(at, batch_size, 4);
    put(head, at - head - 4 + batch_size, 4);
    return at - head;
}

static int open_connection(const struct options *o) {
    struct sockaddr_in address = address_of(o->bootstrap);
    int fd = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) fail(1, "%s: %s", o->bootstrap, strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

/* A request on its way: a head of its own, and the batch that all have in common. */
struct request {
    uint8_t head[512];
    const uint8_t *batch;
    size_t head_size, batch_size, gone;
};

/* Begins with request `number` unless one is on its way, and sends what the socket takes; whether it is all sent. */
static int send_more(int fd, struct request *r, const struct options *o, long number) {
    if (!r->gone) r->head_size = build_head(r->head, o, number, r->batch_size);
    size_t of_head = r->gone < r->head_size ? r->gone : r->head_size, of_batch = r->gone - of_head;
    struct iovec parts[2] = {{r->head + of_head, r->head_size - of_head},
                             {(void *)(r->batch + of_batch), r->batch_size - of_batch}};
    ssize_t n = writev(fd, parts, 2);
    if (n < 0 && errno != EAGAIN) fail(1, "not sent: %s", strerror(errno));
    r->gone += n > 0 ? n : 0;
    if (r->gone < r->head_size + r->batch_size) return 0;
    r->gone = 0;
    return 1;
}

/* How many answers have come whole, and the last error among them; what has come of the next one is kept. */
static long read_answers(int fd, const struct options *o, int *error) {
    static uint8_t buffer[65536];
    static size_t filled;
    ssize_t n = read(fd, buffer + filled, sizeof buffer - filled);
    if (n == 0 || (n < 0 && errno != EAGAIN)) fail(1, "the broker closed the connection");
    filled += n > 0 ? n : 0;
    size_t at = 0, error_at = 4 + 4 + 4 + 2 + strlen(o->topic) + 4 + 4;
    long answers = 0;
    for (*error = 0; filled - at >= 4 && filled - at - 4 >= get(buffer + at); at += 4 + get(buffer + at), answers++) {
        int code = (int16_t)(buffer[at + error_at] << 8 | buffer[at + error_at + 1]);
        if (code) *error = code;
    }
    memmove(buffer, buffer + at, filled -= at);
    return answers;
}

/* One request to each partition, until it is appended: a new one has a leader before the leader knows of it. */
static void open_partitions(int fd, struct request *r, const struct options *o) {
    double end = now_s() + STALL_S;
    for (long partition = 0; partition < o->partitions;) {
        int error;
        struct pollfd ready = {.fd = fd, .events = POLLOUT};
        while (poll(&ready, 1, -1), !send_more(fd, r, o, partition)) continue;
        ready.events = POLLIN;
        while (poll(&ready, 1, -1), !read_answers(fd, o, &error)) continue;
        if (!error) partition++;
        else if (now_s() > end) fail(1, "not appended: %s", rd_kafka_err2str(error));
        else usleep(10000);
    }
}

void flood(rd_kafka_conf_t *conf, const struct options *o) {
    (void)conf;
    if (strlen(o->topic) > 249 || o->partitions < 1) fail(2, "flood wants topic= and partitions=");
    struct request request = {0};
    long per_batch;
    request.batch = build_batch(o, &request.batch_size, &per_batch);
    int fd = open_connection(o);
    open_partitions(fd, &request, o);
    long wanted = (o->records + per_batch - 1) / per_batch, sent = 0, answered = 0;
    double start = now_s(), cpu = cpu_s(), last = start;
    while (answered < wanted) {
        int may_send = sent < wanted && sent - answered < IN_FLIGHT, error;
        struct pollfd ready = {.fd = fd, .events = may_send ? POLLIN | POLLOUT : POLLIN};
        poll(&ready, 1, 1000);
        if (ready.revents & POLLOUT) sent += send_more(fd, &request, o, sent);
        if (ready.revents & (POLLIN | POLLERR | POLLHUP)) {
            long came = read_answers(fd, o, &error);
            if (error) fail(1, "not appended: %s", rd_kafka_err2str(error));
            if (came) answered += came, last = now_s();
        }
        if (now_s() - last > STALL_S) fail(1, "%ld of %ld requests are not answered", wanted - answered, wanted);
    }
    printf("{\"records\":%ld,\"bytes\":%ld,\"seconds\":%.6f,\"client_cpu_s\":%.3f}\n", wanted * per_batch,
           wanted * per_batch * o->size, now_s() - start, cpu_s() - cpu);
}
