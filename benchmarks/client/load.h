/* What the parts of the load client share. */
#include <librdkafka/rdkafka.h>
#include <netinet/in.h>

enum { RING = 1024, STALL_S = 30 };

struct options {
    const char *mode, *bootstrap, *topic;
    long records, size, topics, partitions, replicas, in_sync, warmup, times, gap_ms;
    double seconds;
};

void fail(int status, const char *format, ...);
double now_s(void);
double cpu_s(void);
struct sockaddr_in address_of(const char *server); /* of HOST:PORT, at the beginning of a list of them */
char *ring_of_values(long size);                   /* RING values of so many bytes each */

void flood(rd_kafka_conf_t *conf, const struct options *o);
