/* The load client: one mode per run, one line of JSON per run.
 *
 *     load MODE bootstrap=HOST:PORT [name=value ...] [-X librdkafka.key=value ...]
 *
 *     produce  topic= records= size= [seconds=]         as fast as acknowledgements allow
 *     flood    topic= partitions= records= size=        the same without librdkafka: see flood.c
 *     latency  topic= records= size= [warmup=]          one record in flight: percentiles of send to acknowledgement
 *     consume  topic= records=                          from the beginning of every partition; timed from the first record
 *                                                       on: librdkafka may sleep 500 ms over whom to ask for offsets
 *     first    topic= size= [seconds=]                  tries until a record is acknowledged in a topic that is there,
 *                                                       and says when that was
 *     create   topic= topics= partitions= [replicas= in_sync= seconds=]
 *                                                       one request; until every partition has a leader
 *     delete   topic= topics=                           the topics that `create` made
 *     list     times=                                   metadata of every topic
 *     ready    partitions= [in_sync= seconds=]          tries until that many partitions have leaders, says when
 *     leader   topic=                                   the broker that leads the first partition
 *     gap      topic= size= gap_ms= seconds=            one record in flight, for so long or until no acknowledgement has
 *                                                       come for `gap_ms` and then one has: the longest time without
 *
 * With `in_sync` a partition counts once that many of its replicas are in sync. `topic` names one topic, or with `topics` above 1 the prefix of TOPIC-0, TOPIC-1, ... Times are of CLOCK_MONOTONIC, which
 * all processes of a machine share. Values are lines of JSON, a ring of RING different ones, so that compression has
 * something real to do. Exit status: 0 done, 1 the broker failed us, 2 wrong usage.
 */
#include "load.h"
#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 10000, ERROR_SIZE = 512, MANY = 5000 };

static long acked, failed;
static rd_kafka_resp_err_t last_error;

void fail(int status, const char *format, ...) {
    va_list words;
    va_start(words, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, words);
    fputc('\n', stderr);
    fflush(NULL);
    _exit(status); /* librdkafka's threads may wait for the broker that failed us */
}

double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

double cpu_s(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

static long number(const char *text) {
    char *end;
    long value = strtol(text, &end, 10);
    if (*end || end == text || value < 0) fail(2, "not a count: %s", text);
    return value;
}

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque) {
    (void)rk, (void)opaque;
    if (message->err) {
        failed++;
        last_error = message->err;
    } else {
        acked++;
    }
}

static int ascending(const void *a, const void *b) {
    double difference = *(const double *)a - *(const double *)b;
    return (difference > 0) - (difference < 0);
}

/* --- values */

char *ring_of_values(long size) {
    static const char *words[] = {"amber", "basin", "cedar", "delta",  "ember",  "fjord", "grove", "harbor",
                                  "inlet", "jetty", "kelp",  "lagoon", "meadow", "north", "oasis", "pier"};
    char *ring = malloc((size_t)RING * size + 256);
    unsigned long state = 88172645463325252UL; /* xorshift: the same values in every run */
    for (long i = 0; i < RING; i++) {
        char *value = ring + i * size, text[256];
        long filled = 0;
        while (filled < size) {
            state ^= state << 13, state ^= state >> 7, state ^= state << 17;
            int n = snprintf(text, sizeof text, "{\"id\":%ld,\"user\":\"u%lu\",\"place\":\"%s %s\",\"amount\":%lu.%02lu}\n", i,
                             state % 100000, words[state >> 20 & 15], words[state >> 40 & 15], state >> 30 & 4095,
                             state >> 8 & 63);
            long part = n < size - filled ? n : size - filled;
            memcpy(value + filled, text, part);
            filled += part;
        }
    }
    return ring;
}

/* --- clients */

static void set(rd_kafka_conf_t *conf, const char *key, const char *value) {
    char error[ERROR_SIZE];
    if (rd_kafka_conf_set(conf, key, value, error, sizeof error) != RD_KAFKA_CONF_OK) fail(2, "%s", error);
}

static rd_kafka_t *client(rd_kafka_type_t type, rd_kafka_conf_t *conf) {
    char error[ERROR_SIZE];
    rd_kafka_t *rk = rd_kafka_new(type, conf, error, sizeof error);
    if (!rk) fail(2, "%s", error);
    return rk;
}

static void send_one(rd_kafka_topic_t *topic, const char *value, long size) {
    while (rd_kafka_produce(topic, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, (void *)value, size, NULL, 0, NULL) == -1) {
        if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            fail(1, "not sent: %s", rd_kafka_err2str(rd_kafka_last_error()));
        usleep(1000);
    }
}

/* Send one record and wait for what becomes of it: connections and metadata are there afterwards. */
static void open_topic(rd_kafka_t *rk, rd_kafka_topic_t *topic, const char *value, long size, double seconds) {
    double end = now_s() + seconds;
    send_one(topic, value, size);
    while (!acked && !failed && now_s() < end) rd_kafka_poll(rk, 5);
    if (!acked) fail(1, "no acknowledgement: %s", rd_kafka_err2str(last_error));
    acked = failed = 0;
}

/* --- modes */

static void produce(rd_kafka_conf_t *conf, const struct options *o) {
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_t *rk = client(RD_KAFKA_PRODUCER, conf);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, o->topic, NULL);
    char *ring = ring_of_values(o->size);
    open_topic(rk, topic, ring, o->size, 60);
    double start = now_s(), cpu = cpu_s(), end = start + o->seconds;
    long sent = 0;
    while (sent < o->records) {
        while (rd_kafka_produce(topic, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, ring + (sent % RING) * o->size, o->size, NULL,
                                0, NULL) == -1) {
            if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL)
                fail(1, "not sent: %s", rd_kafka_err2str(rd_kafka_last_error()));
            rd_kafka_poll(rk, 5);
        }
        if ((++sent & 1023) == 0) {
            rd_kafka_poll(rk, 0);
            if (now_s() > end) break;
        }
    }
    double last = now_s();
    for (long before = 0; acked + failed < sent;) {
        rd_kafka_poll(rk, 100);
        if (acked + failed != before) before = acked + failed, last = now_s();
        if (now_s() - last > STALL_S) fail(1, "%ld of %ld records are not acknowledged", sent - acked - failed, sent);
    }
    double took = now_s() - start;
    if (failed) fail(1, "%ld of %ld records failed: %s", failed, sent, rd_kafka_err2str(last_error));
    printf("{\"records\":%ld,\"bytes\":%ld,\"seconds\":%.6f,\"client_cpu_s\":%.3f}\n", sent, sent * o->size, took,
           cpu_s() - cpu);
}

static void latency(rd_kafka_conf_t *conf, const struct options *o) {
    set(conf, "linger.ms", "0");
    set(conf, "max.in.flight", "1");
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_t *rk = client(RD_KAFKA_PRODUCER, conf);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, o->topic, NULL);
    char *ring = ring_of_values(o->size);
    open_topic(rk, topic, ring, o->size, 60);
    double *took = malloc(o->records * sizeof *took), start = 0, cpu = 0;
    for (long i = -o->warmup; i < o->records; i++) {
        if (i == 0) start = now_s(), cpu = cpu_s();
        double sent = now_s();
        acked = 0;
        send_one(topic, ring + (i & (RING - 1)) * o->size, o->size);
        while (!acked && !failed) rd_kafka_poll(rk, 1000);
        if (failed) fail(1, "%s", rd_kafka_err2str(last_error));
        if (i >= 0) took[i] = now_s() - sent;
    }
    double seconds = now_s() - start;
    cpu = cpu_s() - cpu;
    long n = o->records;
    qsort(took, n, sizeof *took, ascending);
    printf("{\"records\":%ld,\"seconds\":%.6f,\"client_cpu_s\":%.3f,\"p50_ms\":%.4f,\"p99_ms\":%.4f,\"p999_ms\":%.4f,"
           "\"max_ms\":%.4f}\n",
           n, seconds, cpu, took[n / 2] * 1e3, took[n * 99 / 100] * 1e3, took[n * 999 / 1000] * 1e3, took[n - 1] * 1e3);
}

static void consume(rd_kafka_conf_t *conf, const struct options *o) {
    set(conf, "group.id", "load");
    set(conf, "enable.auto.commit", "false");
    set(conf, "queued.min.messages", "1000000");
    rd_kafka_t *rk = client(RD_KAFKA_CONSUMER, conf);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, o->topic, NULL);
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t error = rd_kafka_metadata(rk, 0, topic, &metadata, 20000);
    if (error) fail(1, "metadata: %s", rd_kafka_err2str(error));
    int count = metadata->topics[0].partition_cnt;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(count);
    for (int p = 0; p < count; p++) rd_kafka_topic_partition_list_add(list, o->topic, p)->offset = RD_KAFKA_OFFSET_BEGINNING;
    rd_kafka_poll_set_consumer(rk);
    rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(rk);
    static rd_kafka_message_t *messages[BATCH];
    double start = now_s(), last = start, first = 0, cpu = cpu_s();
    long got = 0, bytes = 0;
    rd_kafka_assign(rk, list);
    while (got < o->records) {
        /* Never more than are missing: the call would wait for them to its timeout. */
        ssize_t n = rd_kafka_consume_batch_queue(queue, 20, messages, o->records - got < BATCH ? o->records - got : BATCH);
        for (ssize_t i = 0; i < n; i++) {
            if (!messages[i]->err) {
                got++, bytes += messages[i]->len;
                if (!first) first = now_s();
            } else {
                last_error = messages[i]->err;
            }
            rd_kafka_message_destroy(messages[i]);
        }
        if (n > 0) last = now_s();
        if (now_s() - last > STALL_S) fail(1, "%ld of %ld records came: %s", got, o->records, rd_kafka_err2str(last_error));
    }
    printf("{\"records\":%ld,\"bytes\":%ld,\"seconds\":%.6f,\"first_s\":%.6f,\"client_cpu_s\":%.3f}\n", got, bytes, now_s() - first,
           first - start, cpu_s() - cpu);
}

static const char *topic_name(const struct options *o, long index, char *buffer, size_t size) {
    if (o->topics == 1)
        snprintf(buffer, size, "%s", o->topic);
    else
        snprintf(buffer, size, "%s-%ld", o->topic, index);
    return buffer;
}

static void check_topic_results(const rd_kafka_topic_result_t **results, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (rd_kafka_topic_result_error(results[i]))
            fail(1, "%s: %s", rd_kafka_topic_result_name(results[i]), rd_kafka_err2str(rd_kafka_topic_result_error(results[i])));
}

static rd_kafka_event_t *admin_answer(rd_kafka_queue_t *queue, double seconds) {
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, (int)(seconds * 1000));
    if (!event) fail(1, "no answer within %.0f s", seconds);
    if (rd_kafka_event_error(event)) fail(1, "%s", rd_kafka_event_error_string(event));
    return event;
}

static rd_kafka_AdminOptions_t *admin_options(rd_kafka_t *rk, rd_kafka_admin_op_t operation, double seconds) {
    char error[ERROR_SIZE];
    rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(rk, operation);
    rd_kafka_AdminOptions_set_request_timeout(options, (int)(seconds * 1000), error, sizeof error);
    rd_kafka_AdminOptions_set_operation_timeout(options, (int)(seconds * 1000), error, sizeof error);
    return options;
}

/* Partitions that have a leader, and enough replicas in sync, of topics whose names begin with the prefix; -1 when there
 * is no answer, or there are not even as many brokers. */
static long with_leader(rd_kafka_t *rk, const char *prefix, long in_sync, int timeout_ms) {
    const struct rd_kafka_metadata *metadata;
    if (rd_kafka_metadata(rk, 1, NULL, &metadata, timeout_ms)) return -1;
    long count = metadata->broker_cnt < in_sync ? -1 : 0;
    for (int t = 0; t < metadata->topic_cnt && count >= 0; t++) {
        if (strncmp(metadata->topics[t].topic, prefix, strlen(prefix))) continue;
        for (int p = 0; p < metadata->topics[t].partition_cnt; p++) {
            const struct rd_kafka_metadata_partition *partition = &metadata->topics[t].partitions[p];
            count += partition->leader >= 0 && partition->isr_cnt >= in_sync && !partition->err;
        }
    }
    rd_kafka_metadata_destroy(metadata);
    return count;
}

static void wait_for_leaders(rd_kafka_t *rk, const struct options *o, long wanted, double end) {
    long found;
    while ((found = with_leader(rk, o->topic, o->in_sync, 20000)) < wanted) {
        if (now_s() > end) fail(1, "%ld of %ld partitions are ready", found, wanted);
        usleep(wanted < MANY ? 2000 : 100000); /* to tell of many is work that keeps a broker from making them */
    }
}

/* Of ten partitions each; Apache Kafka's controller takes no request that makes more than 10,000 records. */
#define TOPICS_PER_REQUEST 500

static void create(rd_kafka_conf_t *conf, const struct options *o) {
    rd_kafka_t *rk = client(RD_KAFKA_PRODUCER, conf);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_NewTopic_t **topics = malloc(o->topics * sizeof *topics);
    char error[ERROR_SIZE], name[256];
    for (long i = 0; i < o->topics; i++) {
        topics[i] = rd_kafka_NewTopic_new(topic_name(o, i, name, sizeof name), (int)o->partitions, (int)o->replicas, error, sizeof error);
        if (!topics[i]) fail(2, "%s", error);
    }
    if (with_leader(rk, o->topic, 0, 20000) < 0) fail(1, "the broker does not answer");
    double start = now_s();
    for (long i = 0; i < o->topics; i += TOPICS_PER_REQUEST) {
        long left = o->topics - i, batch = left < TOPICS_PER_REQUEST ? left : TOPICS_PER_REQUEST;
        rd_kafka_CreateTopics(rk, topics + i, batch, admin_options(rk, RD_KAFKA_ADMIN_OP_CREATETOPICS, o->seconds), queue);
        rd_kafka_event_t *event = admin_answer(queue, o->seconds);
        size_t count;
        const rd_kafka_topic_result_t **results = rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count);
        check_topic_results(results, count);
    }
    double answered = now_s();
    wait_for_leaders(rk, o, o->topics * o->partitions, start + o->seconds);
    printf("{\"answered_s\":%.6f,\"ready_s\":%.6f}\n", answered - start, now_s() - start);
}

static void delete_topics(rd_kafka_conf_t *conf, const struct options *o) {
    rd_kafka_t *rk = client(RD_KAFKA_PRODUCER, conf);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_DeleteTopic_t **topics = malloc(o->topics * sizeof *topics);
    char name[256];
    for (long i = 0; i < o->topics; i++) topics[i] = rd_kafka_DeleteTopic_new(topic_name(o, i, name, sizeof name));
    double start = now_s();
    rd_kafka_DeleteTopics(rk, topics, o->topics, admin_options(rk, RD_KAFKA_ADMIN_OP_DELETETOPICS, o->seconds), queue);
    rd_kafka_event_t *event = admin_answer(queue, o->seconds);
    size_t count;
    const rd_kafka_topic_result_t **results = rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(event), &count);
    check_topic_results(results, count);
    printf("{\"answered_s\":%.6f}\n", now_s() - start);
}

static void list(rd_kafka_conf_t *conf, const struct options *o) {
    rd_kafka_t *rk = client(RD_KAFKA_PRODUCER, conf);
    double *took = malloc(o->times * sizeof *took);
    long found = with_leader(rk, o->topic, 0, 20000); /* opens the connection */
    for (long i = 0; i < o->times; i++) {
        double start = now_s();
        if ((found = with_leader(rk, o->topic, 0, 20000)) < 0) fail(1, "the broker does not answer");
        took[i] = now_s() - start;
    }
    qsort(took, o->times, sizeof *took, ascending);
    printf("{\"partitions\":%ld,\"p50_ms\":%.4f,\"max_ms\":%.4f}\n", found, took[o->times / 2] * 1e3, took[o->times - 1] * 1e3);
}

static void leader(rd_kafka_conf_t *conf, const struct options *o) {
    rd_kafka_t *rk = client(RD_KAFKA_PRODUCER, conf);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, o->topic, NULL);
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t error = rd_kafka_metadata(rk, 0, topic, &metadata, 20000);
    if (error) fail(1, "metadata: %s", rd_kafka_err2str(error));
    if (metadata->topic_cnt != 1 || metadata->topics[0].partition_cnt < 1) fail(1, "there is no such topic");
    printf("{\"leader\":%d}\n", (int)metadata->topics[0].partitions[0].leader);
}

static void gap(rd_kafka_conf_t *conf, const struct options *o) {
    set(conf, "linger.ms", "0");
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_t *rk = client(RD_KAFKA_PRODUCER, conf);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, o->topic, NULL);
    char *ring = ring_of_values(o->size);
    open_topic(rk, topic, ring, o->size, 60);
    double longest = 0, last = now_s(), end = last + o->seconds;
    long sent = 0;
    while (last < end && longest * 1e3 < o->gap_ms) {
        acked = 0;
        send_one(topic, ring + (sent++ & (RING - 1)) * o->size, o->size);
        while (!acked && !failed) rd_kafka_poll(rk, 1000);
        if (failed) fail(1, "%s", rd_kafka_err2str(last_error));
        double now = now_s();
        longest = now - last > longest ? now - last : longest;
        last = now;
    }
    printf("{\"records\":%ld,\"gap_s\":%.6f}\n", sent, longest);
}

struct sockaddr_in address_of(const char *server) {
    char host[256];
    int port;
    if (sscanf(server, "%255[^:]:%d", host, &port) != 2) fail(2, "not HOST:PORT: %s", server);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) fail(2, "not an IPv4 address: %s", host);
    return address;
}

/* Until every bootstrap server listens: librdkafka begins with any of them, and where that one refuses, with the next one
 * a second later. */
static void wait_for_listeners(const struct options *o) {
    double end = now_s() + o->seconds;
    for (const char *server = o->bootstrap; server; server = strchr(server, ','), server += server != NULL) {
        struct sockaddr_in address = address_of(server);
        for (int refused = 1; refused;) {
            int fd = socket(AF_INET, SOCK_STREAM, 0);
            refused = connect(fd, (struct sockaddr *)&address, sizeof address);
            close(fd);
            if (refused && now_s() > end) fail(1, "nothing listens on %s", server);
            if (refused) usleep(2000);
        }
    }
}

static void ready(rd_kafka_conf_t *conf, const struct options *o) {
    wait_for_listeners(o);
    wait_for_leaders(client(RD_KAFKA_PRODUCER, conf), o, o->partitions, now_s() + o->seconds);
    printf("{\"at_s\":%.6f}\n", now_s());
}

static void first(rd_kafka_conf_t *conf, const struct options *o) {
    set(conf, "linger.ms", "0");
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    char *value = ring_of_values(o->size);
    wait_for_listeners(o);
    rd_kafka_t *rk = client(RD_KAFKA_PRODUCER, conf);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, o->topic, NULL);
    /* Left to itself, librdkafka looks for a topic's leader once a second. */
    wait_for_leaders(rk, o, 1, now_s() + o->seconds);
    open_topic(rk, topic, value, o->size, o->seconds);
    printf("{\"at_s\":%.6f}\n", now_s());
}

/* --- command line */

static void read_option(struct options *o, char *word) {
    char *value = strchr(word, '=');
    if (!value) fail(2, "not name=value: %s", word);
    *value++ = 0;
    if (!strcmp(word, "bootstrap")) o->bootstrap = value;
    else if (!strcmp(word, "topic")) o->topic = value;
    else if (!strcmp(word, "records")) o->records = number(value);
    else if (!strcmp(word, "size")) o->size = number(value);
    else if (!strcmp(word, "topics")) o->topics = number(value);
    else if (!strcmp(word, "partitions")) o->partitions = number(value);
    else if (!strcmp(word, "replicas")) o->replicas = number(value);
    else if (!strcmp(word, "in_sync")) o->in_sync = number(value);
    else if (!strcmp(word, "warmup")) o->warmup = number(value);
    else if (!strcmp(word, "times")) o->times = number(value);
    else if (!strcmp(word, "seconds")) o->seconds = number(value);
    else if (!strcmp(word, "gap_ms")) o->gap_ms = number(value);
    else fail(2, "unknown option: %s", word);
}

int main(int count, char **words) {
    static const struct {
        const char *name;
        void (*run)(rd_kafka_conf_t *, const struct options *);
    } modes[] = {{"produce", produce}, {"flood", flood},          {"latency", latency}, {"consume", consume},
                 {"first", first},     {"create", create},        {"list", list},       {"delete", delete_topics},
                 {"ready", ready},     {"leader", leader},        {"gap", gap}};
    struct options o = {.topic = "", .topics = 1, .replicas = 1, .records = 1, .size = 100, .times = 1, .seconds = 60, .gap_ms = 1000};
    if (count < 2) fail(2, "usage: load MODE bootstrap=HOST:PORT [name=value ...] [-X key=value ...]");
    o.mode = words[1];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "queue.buffering.max.messages", "500000");
    set(conf, "log_level", "0"); /* refused connections are what `first` and `ready` expect */
    for (int i = 2; i < count; i++) {
        if (strcmp(words[i], "-X")) {
            read_option(&o, words[i]);
            continue;
        }
        char *value = ++i < count ? strchr(words[i], '=') : NULL;
        if (!value) fail(2, "-X wants key=value");
        *value = 0;
        set(conf, words[i], value + 1);
    }
    if (!o.bootstrap) fail(2, "bootstrap= is missing");
    set(conf, "bootstrap.servers", o.bootstrap);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        if (strcmp(o.mode, modes[i].name)) continue;
        modes[i].run(conf, &o);
        fflush(stdout);
        _exit(0); /* nothing is left to be flushed, and tearing down would be timed by nobody */
    }
    fail(2, "unknown mode: %s", o.mode);
}
