/*
 * A producer on librdkafka that does what the producer of its own rdkafka_performance does: one rd_kafka_produce() and
 * one rd_kafka_poll() a record, which stays in the program's memory; partitions are the library's choice; delivery
 * reports one by one, through a callback. With more than one connection (clients of the library) each is given records
 * until its queue is full, in turn.
 *
 *     rdkafka_producer TOPIC RECORDS SIZE CONNECTIONS [KEY=VALUE]...
 *
 * Its last line is "N records acknowledged". It declares what it needs of the library, so that it is compiled against
 * the very one that the confluent_kafka package brings, which comes without headers.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct rd_kafka_s rd_kafka_t;
typedef struct rd_kafka_conf_s rd_kafka_conf_t;
typedef struct rd_kafka_topic_s rd_kafka_topic_t;
typedef struct {
    int err; /* what follows is not read */
} rd_kafka_message_t;

rd_kafka_conf_t *rd_kafka_conf_new(void);
int rd_kafka_conf_set(rd_kafka_conf_t *, const char *, const char *, char *, size_t);
void rd_kafka_conf_set_dr_msg_cb(rd_kafka_conf_t *, void (*)(rd_kafka_t *, const rd_kafka_message_t *, void *));
rd_kafka_t *rd_kafka_new(int type, rd_kafka_conf_t *, char *, size_t);
void rd_kafka_destroy(rd_kafka_t *);
rd_kafka_topic_t *rd_kafka_topic_new(rd_kafka_t *, const char *, void *);
void rd_kafka_topic_destroy(rd_kafka_topic_t *);
int rd_kafka_produce(rd_kafka_topic_t *, int32_t, int, void *, size_t, const void *, size_t, void *);
int rd_kafka_poll(rd_kafka_t *, int);
int rd_kafka_last_error(void);

enum { PRODUCER = 0, PARTITION_UA = -1, QUEUE_FULL = -184, ROWS = 1024 };

static long acknowledged, failed;

static void reported(rd_kafka_t *client, const rd_kafka_message_t *message, void *opaque) {
    (void)client, (void)opaque;
    if (message->err)
        failed++;
    else
        acknowledged++;
}

static void leave(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static rd_kafka_t *connect_with(int settings, char **setting) {
    char text[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_dr_msg_cb(conf, reported);
    for (int i = 0; i < settings; i++) {
        char *value = strchr(setting[i], '=');
        if (!value)
            leave("a setting is KEY=VALUE");
        *value = '\0';
        if (rd_kafka_conf_set(conf, setting[i], value + 1, text, sizeof text))
            leave(text);
        *value = '=';
    }
    rd_kafka_t *client = rd_kafka_new(PRODUCER, conf, text, sizeof text);
    if (!client)
        leave(text);
    return client;
}

int main(int count, char **word) {
    if (count < 5)
        leave("usage: rdkafka_producer TOPIC RECORDS SIZE CONNECTIONS [KEY=VALUE]...");
    long records = atol(word[2]), sent = 0;
    size_t size = (size_t)atol(word[3]);
    int connections = atoi(word[4]);
    char *pool = malloc(ROWS * size);
    rd_kafka_t **client = calloc((size_t)connections, sizeof *client);
    rd_kafka_topic_t **topic = calloc((size_t)connections, sizeof *topic);
    if (connections < 1 || !pool || !client || !topic)
        leave("no connections, or no memory");
    for (size_t i = 0; i < ROWS * size; i++)
        pool[i] = (char)rand();
    for (int i = 0; i < connections; i++) {
        client[i] = connect_with(count - 5, word + 5);
        topic[i] = rd_kafka_topic_new(client[i], word[1], NULL);
    }
    for (int turn = 0; sent < records; turn = (turn + 1) % connections) {
        while (sent < records) {
            char *payload = pool + (size_t)(sent % ROWS) * size;
            if (rd_kafka_produce(topic[turn], PARTITION_UA, 0, payload, size, NULL, 0, NULL) == 0) {
                sent++;
                rd_kafka_poll(client[turn], 0);
            } else if (rd_kafka_last_error() == QUEUE_FULL) {
                rd_kafka_poll(client[turn], connections == 1 ? 5 : 1);
                break;
            } else {
                leave("a record was refused");
            }
        }
    }
    while (acknowledged + failed < records)
        for (int i = 0; i < connections; i++)
            rd_kafka_poll(client[i], 5);
    for (int i = 0; i < connections; i++) {
        rd_kafka_topic_destroy(topic[i]);
        rd_kafka_destroy(client[i]);
    }
    printf("%ld records acknowledged\n", acknowledged);
    return failed ? 1 : 0;
}
