"""Where a container's control group is found, and that a whole node's is not taken for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshmark.probes.quota import QuotaProbe, group_within

STAT = "nr_periods 40\nnr_throttled 10\nthrottled_time 2500000000\n"


def made(root: Path, group: str, *files: str) -> Path:
    directory = root / "sys" / "fs" / "cgroup" / group
    directory.mkdir(parents=True)
    for name in files:
        (directory / name).write_text(STAT, encoding="ascii")
    return directory


@pytest.mark.parametrize("group", ["cpu", "cpu,cpuacct"])
def test_of_version_1_a_hierarchys_root_is_the_nodes(tmp_path: Path, group: str) -> None:
    own, node = tmp_path / "own", tmp_path / "node"
    assert group_within(own) is None
    assert made(own, group, "cpu.stat") == group_within(own)
    made(node, group, "cpu.stat", "release_agent")
    assert group_within(node) is None


def test_of_version_2_the_root_has_no_events(tmp_path: Path) -> None:
    own, node = tmp_path / "own", tmp_path / "node"
    assert made(own, "", "cpu.stat", "cgroup.events") == group_within(own)
    made(node, "", "cpu.stat")
    assert group_within(node) is None


def test_a_quota_is_read_anew_each_time_and_is_absent_once_the_container_is_gone(tmp_path: Path) -> None:
    group = made(tmp_path, "cpu", "cpu.stat")
    probe = QuotaProbe("broker-1", "kafka", group)
    assert probe.read() == {
        "broker-1/kafka/cpu_periods": 40,
        "broker-1/kafka/cpu_throttled_periods": 10,
        "broker-1/kafka/cpu_throttled_s": 2.5,
    }
    (group / "cpu.stat").unlink()
    assert probe.read() == {}
