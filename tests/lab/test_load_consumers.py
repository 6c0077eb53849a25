"""`meshmark load` with consumers, and with an OpenMessaging Benchmark workload, on a real broker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from meshmark.backends.lab.cluster import LabCluster
from meshmark.data_plane import DataPlane
from meshmark.load.clients.keys import KEYS
from tests.lab.ground import BOUND_S
from tests.lab.load_ground import CLOCK, end_offsets, loaded, prepared, producers, scenario, workload
from tests.lab.test_load_command import FINE, account, command, ended
from tests.murmur import partition

pytestmark = pytest.mark.lab

WORKLOAD = """name: backlog
topics: 2
partitionsPerTopic: 3
messageSize: 512
useRandomizedPayloads: true
randomBytesRatio: 0.5
randomizedPayloadPoolSize: 100
subscriptionsPerTopic: 2
consumerPerSubscription: 1
producersPerTopic: 2
keyDistributor: RANDOM_NANO
producerRate: 2000
consumerBacklogSizeGB: 0.003
testDurationMinutes: 0.05
warmupDurationMinutes: 0
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[LabCluster]:
    with prepared() as backend, backend.cluster(scenario(DataPlane.PLAIN)) as made:
        yield made


def left_behind(cluster: LabCluster) -> tuple[list[str], list[str]]:
    """Topics and consumer groups that a load has made."""

    def ask() -> tuple[list[str], list[str]]:
        admin = AdminClient({"bootstrap.servers": cluster.bootstrap_servers, **cluster.client_config})
        groups = [group.group_id for group in admin.list_consumer_groups().result().valid]
        topics = list(admin.list_topics(timeout=10).topics)
        return [name for name in topics if "load" in name], [name for name in groups if "load" in name]

    return cluster.network.hosts["client-1"].call(ask)


def test_each_group_reads_what_this_load_has_written_and_nothing_older(cluster: LabCluster) -> None:
    layout = cluster.create_topics(workload(), "read")
    loaded(cluster, producers(cluster, layout, workload()), 5_000)
    before = sum(end_offsets(cluster, layout).values())
    options = ("--topic", "read-1", "--topic", "read-2", "--groups", "2", "--consumers", "2", "-o", "json")
    with command(cluster, *options, "--even", "--shape", "steps:200x1,600x1", "--workers", "2") as process:
        code, out, err = ended(process)
    stored = sum(end_offsets(cluster, layout).values()) - before
    cluster.delete_topics(layout)
    assert code in FINE, err
    told = account(out)
    assert told["acknowledged"] == stored == 800
    assert told["consumed"] == 1_600
    assert (told["negative"], told["unstamped"], told["lag"]) == (0, 0, 0)
    assert 0 < told["end_to_end_ms"]["p50"] <= told["end_to_end_ms"]["max"]
    assert left_behind(cluster) == ([], [])


def test_an_openmessaging_workload_builds_its_backlog_and_drains_it(cluster: LabCluster, tmp_path: Path) -> None:
    file = tmp_path / "backlog.yaml"
    file.write_text(WORKLOAD)
    with command(cluster, "-f", str(file), "--replication-factor", "1", "-o", "json") as process:
        code, out, err = ended(process)
    assert code in FINE, err
    told = account(out)
    assert told["consumed"] == 2 * told["acknowledged"]
    assert told["acknowledged"] >= 6_000 * 0.9
    backlog = told["backlog"]
    assert backlog["state"] == "drained"
    assert backlog["built_records"] * 512 >= backlog["asked_bytes"] == round(0.003 * 1024**3)
    # What waited for its readers is in the latencies, all of it.
    assert told["end_to_end_ms"]["p50"] > told["latency_ms"]["p50"]
    assert told["unstamped"] == 0
    assert left_behind(cluster) == ([], [])


def test_records_with_keys_are_where_kafkas_own_client_puts_them(cluster: LabCluster) -> None:
    work = workload(workers=1).model_copy(update={"key_distributor": "KEY_ROUND_ROBIN"})
    layout = cluster.create_topics(work, "keys")
    acknowledged = loaded(cluster, producers(cluster, layout, work), 12_000).totals.acknowledged
    ends = end_offsets(cluster, layout)
    stored = sum(ends.values())

    def read() -> list[tuple[bytes, int]]:
        reader = Consumer(
            {"bootstrap.servers": cluster.bootstrap_servers, "group.id": "keys", **cluster.client_config}
        )
        reader.assign([TopicPartition(*place, 0) for place in ends])
        found: list[tuple[bytes, int]] = []
        end_s = CLOCK.now() + BOUND_S
        while len(found) < stored:
            assert CLOCK.now() < end_s, f"{len(found)} of {stored} records could be read"
            came = reader.consume(min(1_000, stored - len(found)), timeout=1)
            found += [(each.key() or b"", each.partition() or 0) for each in came if not each.error()]
        reader.close()
        return found

    found = cluster.network.hosts["client-1"].call(read)
    cluster.delete_topics(layout)
    assert all(where == partition(key, work.partitions_per_topic) for key, where in found)
    counts = Counter(key for key, _ in found)
    assert len(counts) == KEYS
    if stored == acknowledged:  # none was sent twice
        assert max(counts.values()) - min(counts.values()) <= 1


def test_more_replicas_than_brokers_are_refused_by_kind(cluster: LabCluster, tmp_path: Path) -> None:
    file = tmp_path / "three.yaml"
    file.write_text(WORKLOAD)
    with command(cluster, "-f", str(file)) as process:
        code, _, err = ended(process)
    assert code == 10
    assert "topics cannot be created: INVALID_REPLICATION_FACTOR" in err
    assert "Traceback" not in err
