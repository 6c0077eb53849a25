"""Where replicas and their leaders go."""

from __future__ import annotations

from collections import Counter

import pytest

from meshmark.kafka.admin import layout, leaders


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
