"""Where replicas and their leaders go."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from meshmark.kafka.admin import create_topics, delete_topics, layout, leaders


def test_the_documents_topics_are_led_three_times_by_each_broker() -> None:
    topics = layout(topics=3, partitions=3, replication_factor=3, nodes=[1, 2, 3], prefix="t")
    assert topics == {
        "t-1": [[1, 2, 3], [2, 3, 1], [3, 1, 2]],
        "t-2": [[2, 3, 1], [3, 1, 2], [1, 2, 3]],
        "t-3": [[3, 1, 2], [1, 2, 3], [2, 3, 1]],
    }


@pytest.mark.parametrize("topics", [1, 2, 7])
@pytest.mark.parametrize("partitions", [1, 3, 10])
@pytest.mark.parametrize("brokers", [1, 3, 4])
def test_no_broker_leads_more_than_one_partition_per_topic_above_another(
    topics: int, partitions: int, brokers: int
) -> None:
    nodes = list(range(1, brokers + 1))
    made = layout(topics, partitions, min(2, brokers), nodes, "t")
    for topic, assignment in made.items():
        led = Counter(node for (name, _), node in leaders(made).items() if name == topic)
        assert max(led.values()) - min(led[node] for node in nodes) <= 1
        assert all(len(set(replicas)) == len(replicas) for replicas in assignment)


def test_leaders_are_those_that_may_lead_and_copies_go_everywhere() -> None:
    topics = layout(topics=1, partitions=4, replication_factor=3, nodes=[1, 2, 3, 4], prefix="t", leading=[1, 2])
    assert topics == {"t-1": [[1, 2, 3], [2, 3, 4], [1, 2, 3], [2, 3, 4]]}


def client(code: int, known: dict[str, object]) -> Any:
    """Kafka has answered every request with this error, and knows these topics."""

    def answer(*_: object, **__: object) -> dict[str, Future[None]]:
        future: Future[None] = Future()
        future.set_exception(KafkaException(KafkaError(code)))
        return {"t-1": future}

    listed = SimpleNamespace(topics=known)
    return SimpleNamespace(create_topics=answer, delete_topics=answer, list_topics=lambda timeout: listed)


def test_a_request_that_was_sent_again_finds_its_work_done() -> None:
    """Brokers under load answer late, and the client asks again."""
    delete_topics(client(KafkaError.UNKNOWN_TOPIC_OR_PART, {}), ["t-1"], 1.0)
    there = SimpleNamespace(partitions={0: SimpleNamespace(leader=1, isrs=[2, 1])})
    create_topics(client(KafkaError.TOPIC_ALREADY_EXISTS, {"t-1": there}), {"t-1": [[1, 2]]}, {}, 1.0)


def test_any_other_answer_is_an_error() -> None:
    with pytest.raises(KafkaException, match="TOPIC_ALREADY_EXISTS"):
        delete_topics(client(KafkaError.TOPIC_ALREADY_EXISTS, {}), ["t-1"], 1.0)
    with pytest.raises(KafkaException, match="UNKNOWN_TOPIC_OR_PART"):
        create_topics(client(KafkaError.UNKNOWN_TOPIC_OR_PART, {}), {"t-1": [[1]]}, {}, 1.0)
