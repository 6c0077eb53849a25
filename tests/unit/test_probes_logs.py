"""A broker's log as bytes accepted: what grows counts once, what is deleted stays counted. Real files; no broker."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshmark.probes.host import KafkaLogProbe, partition_of

LEADERS = {("orders", 0): "broker-1", ("orders", 1): "broker-2"}


def segment(log: Path, partition: str, size: int, number: int = 0) -> Path:
    path = log / partition / f"{number:020d}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return path


def read(probe: KafkaLogProbe) -> tuple[float, float]:
    values = probe.read()
    return values["broker-1/kafka/log_bytes"], values["broker-1/kafka/leader_log_bytes"]


@pytest.fixture
def probe(tmp_path: Path) -> KafkaLogProbe:
    return KafkaLogProbe("broker-1", [tmp_path], lambda: LEADERS)


def test_all_partitions_count_and_the_led_ones_apart(tmp_path: Path, probe: KafkaLogProbe) -> None:
    segment(tmp_path, "orders-0", 100)
    segment(tmp_path, "orders-1", 30)
    segment(tmp_path, "unknown-to-the-plan-0", 5)
    assert read(probe) == (135, 100)
    segment(tmp_path, "orders-0", 150)
    segment(tmp_path, "orders-0", 40, number=150)
    assert read(probe) == (225, 190)


def test_only_segments_count(tmp_path: Path, probe: KafkaLogProbe) -> None:
    segment(tmp_path, "orders-0", 100)
    for name in ("00000000000000000000.index", "00000000000000000000.log.deleted", "x.log", "leader-epoch-checkpoint"):
        (tmp_path / "orders-0" / name).write_bytes(b"y" * 7)
    (tmp_path / "meta.properties").write_bytes(b"z")
    assert read(probe) == (100, 100)


@pytest.mark.parametrize("name", ["__consumer_offsets-3", "__cluster_metadata-0", "orders-0.4f2a-delete"])
def test_internal_topics_and_partitions_that_go_do_not_count(tmp_path: Path, probe: KafkaLogProbe, name: str) -> None:
    segment(tmp_path, name, 100)
    assert read(probe) == (0, 0)


def test_counters_never_go_backwards(tmp_path: Path, probe: KafkaLogProbe) -> None:
    """Retention removes a segment, a topic is deleted and made again under the same name."""
    first = segment(tmp_path, "orders-0", 100)
    assert read(probe) == (100, 100)
    first.unlink()
    assert read(probe) == (100, 100)
    kept = segment(tmp_path, "orders-0", 50, number=1)
    assert read(probe) == (150, 150)
    kept.parent.rename(tmp_path / "orders-0.4f2a-delete")
    assert read(probe) == (150, 150)
    segment(tmp_path, "orders-0", 20)
    assert read(probe) == (170, 170)


def test_a_broker_whose_log_is_not_there_has_no_values(tmp_path: Path) -> None:
    probe = KafkaLogProbe("broker-1", [tmp_path / "later"], lambda: LEADERS)
    assert probe.read() == {}
    segment(tmp_path / "later", "orders-0", 10)
    assert read(probe) == (10, 10)


@pytest.mark.parametrize(
    ("directory", "partition"),
    [
        ("orders-0", ("orders", 0)),
        ("trial-1-12", ("trial-1", 12)),
        ("a.b_c-3", ("a.b_c", 3)),
        ("__consumer_offsets-0", None),
        ("orders-0.4f2a-delete", None),
        ("orders-0.4f2a-future", None),
        ("orders", None),
        ("-1", None),
        ("orders-x", None),
        ("lost+found", None),
    ],
)
def test_names_of_directories(directory: str, partition: tuple[str, int] | None) -> None:
    assert partition_of(directory) == partition
