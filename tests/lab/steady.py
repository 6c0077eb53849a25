"""Run on a client host: sends one record after another for as long as it is asked to, counts acknowledgements, and
reads all back. Speaks in lines.

python steady.py CONFIG_JSON TOPICS_JSON

A line `count` is answered with {"acknowledged": N, "quickest_s": T}, a line `stop` with {"acknowledged": N, "missing":
[...], "errors": [...]} after every record has been acknowledged or given up, and all topics have been read.
"""

import json
import sys
import threading
import time

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

config, topics = json.loads(sys.argv[1]), json.loads(sys.argv[2])
INTERVAL_S = 0.01
acknowledged: dict[int, float] = {}
sent: dict[int, float] = {}
errors: set[str] = set()
over = threading.Event()


def on_delivery(error: KafkaError | None, message: Message) -> None:
    number = int(message.value() or b"-1")
    if error:
        errors.add(str(error))
    else:
        acknowledged[number] = time.monotonic() - sent[number]


def send() -> None:
    producer = Producer({**config, "acks": "all", "linger.ms": 0, "message.timeout.ms": 90_000})
    number = 0
    while not over.wait(INTERVAL_S):
        sent[number] = time.monotonic()
        producer.produce(topics[number % len(topics)], value=b"%d" % number, on_delivery=on_delivery)
        producer.poll(0)
        number += 1
    producer.flush(120)


def missing() -> list[int]:
    left = set(acknowledged)
    consumer = Consumer({**config, "group.id": "steady"})
    known = consumer.list_topics().topics
    consumer.assign([TopicPartition(topic, number, 0) for topic in topics for number in known[topic].partitions])
    silent = 0
    while left and silent < 40:
        message = consumer.poll(0.5)
        if message is None or message.error():
            silent += 1
        else:
            left.discard(int(message.value() or b"-1"))
    consumer.close()
    return sorted(left)


sender = threading.Thread(target=send)
sender.start()
for line in sys.stdin:
    if line.strip() == "count":
        times = list(acknowledged.values())
        told: dict[str, object] = {"acknowledged": len(times), "quickest_s": min(times, default=None)}
    else:
        over.set()
        sender.join()
        told = {"acknowledged": len(acknowledged), "missing": missing(), "errors": sorted(errors)}
    print(json.dumps(told), flush=True)
