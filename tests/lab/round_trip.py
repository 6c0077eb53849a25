"""Run on a client host: sends records to every partition, reads all back, prints what it saw as one line of JSON.

python round_trip.py CONFIG_JSON TOPICS_JSON RECORDS [SIZE]

With SIZE each value has so many bytes, else as many as its number needs.
"""

import json
import sys

from confluent_kafka import Consumer, Producer

config, topics, records = json.loads(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3])
size = int(sys.argv[4]) if len(sys.argv) > 4 else 0
errors: list[str] = []
producer = Producer({**config, "acks": "all", "linger.ms": 5})
for number in range(records):
    producer.produce(
        topics[number % len(topics)],
        key=b"%d" % number,  # or a few batches would go to one partition each
        value=(b"%d" % number).ljust(size),
        on_delivery=lambda error, _: errors.append(str(error)) if error else None,
    )
    producer.poll(0)
producer.flush(60)

seen: set[int] = set()
consumer = Consumer({**config, "group.id": "round-trip", "auto.offset.reset": "earliest"})
consumer.subscribe(topics)
silent = 0
while len(seen) < records and silent < 60:
    message = consumer.poll(0.5)
    if message is None or message.error():
        silent += 1
    else:
        seen.add(int(message.value() or b"-1"))
consumer.close()
print(json.dumps({"errors": errors[:5], "seen": len(seen), "complete": seen == set(range(records))}), flush=True)
