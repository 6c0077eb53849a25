"""What control groups are told, v1 and v2, held against files in a directory: no kernel with v2 was to be had."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from meshmark.backends.lab import disk, limits
from meshmark.backends.lab.controls import V1, V2, Setting, Version, enable, tell
from meshmark.backends.lab.cpusets import hold
from meshmark.errors import LabError, MissingRequirement

DEVICE = "7:3"


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (V1.quota(0.286), [("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "28600")]),
        (V1.quota(None), [("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "-1")]),
        (V1.writes(DEVICE, "bytes", 31_250_000), [("blkio.throttle.write_bps_device", "7:3 31250000")]),
        (V1.writes(DEVICE, "operations", 1_339), [("blkio.throttle.write_iops_device", "7:3 1339")]),
        (V1.writes(DEVICE, "operations", None), [("blkio.throttle.write_iops_device", "7:3 0")]),
        (V2.quota(0.286), [("cpu.max", "28600 100000")]),
        (V2.quota(None), [("cpu.max", "max 100000")]),
        (V2.writes(DEVICE, "bytes", 31_250_000), [("io.max", "7:3 wbps=31250000")]),
        (V2.writes(DEVICE, "operations", 1_339), [("io.max", "7:3 wiops=1339")]),
        (V2.writes(DEVICE, "bytes", None), [("io.max", "7:3 wbps=max")]),
    ],
)
def test_each_version_has_its_files_and_words(told: Sequence[Setting], expected: list[tuple[str, str]]) -> None:
    assert [(each.file, each.text) for each in told] == expected


@pytest.mark.parametrize("version", [V1, V2], ids=["v1", "v2"])
def test_a_quota_is_never_below_the_kernel_s_least(version: Version) -> None:
    assert version.quota(0.001)[-1].text.split()[0] == "1000"


@pytest.fixture
def broker(tmp_path: Path) -> Any:
    """A host whose groups are those of v2, as far as files show it."""
    own = tmp_path / "own"
    group = own / "meshmark-1" / "broker-1-kafka"
    group.mkdir(parents=True)
    for above in (own, own / "meshmark-1"):
        (above / "cgroup.subtree_control").touch()
    for file in ("cpu.max", "io.max"):
        (group / file).touch()
    return SimpleNamespace(name="broker-1", group=lambda component: own / "meshmark-1" / f"broker-1-{component}")


def words(path: Path) -> str:
    return path.read_text(encoding="ascii")


def test_with_v2_a_component_s_own_group_has_the_quota_while_it_lasts(
    broker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "make_quota_group", lambda instance: None)
    group = broker.group("kafka")
    with limits.cpu_quota(broker, "kafka", [1], 0.5, tmp_path):
        assert words(group / "cpu.max") == "50000 100000"
        assert words(group.parent / "cgroup.subtree_control") == "+cpu"
        assert words(group.parent.parent / "cgroup.subtree_control") == "+cpu"
    assert words(group / "cpu.max") == "max 100000"


def test_with_v2_a_broker_s_own_group_has_the_limit_of_its_disk_while_it_lasts(
    broker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "blkio_root", lambda: None)
    made = disk.Disk(mount=tmp_path, number="259:9999")  # no device of this machine
    monkeypatch.setattr(disk, "BDI", backing := tmp_path / "bdi")
    (backing / made.number).mkdir(parents=True)
    (backing / made.number / "max_bytes").touch()
    file = broker.group("kafka") / "io.max"
    with disk.write_limit(made, broker, "operations", 1_339.3, tmp_path):
        assert words(file) == "259:9999 wiops=1339"
        assert list(tmp_path.glob("throttled-*")), "what a killed process leaves could not be found"
        with disk.write_limit(made, broker, "bytes", 31.25e6, tmp_path):
            assert words(file) == "259:9999 wbps=31250000"
            assert words(backing / made.number / "strict_limit") == "1"
            assert words(backing / made.number / "max_bytes") == "4000000"
        assert words(backing / made.number / "strict_limit") == "0"
        assert words(file) == "259:9999 wbps=max"
    assert words(file) == "259:9999 wiops=max"
    assert not list(tmp_path.glob("throttled-*"))


def holder(broker: Any, cpusets: Path | None, client_cpus: int = 2) -> Any:
    """That host with CPUs apart for load workers, of eight."""
    cpus = {"client": (6, 7)}
    return SimpleNamespace(
        **vars(broker), client_cpus=client_cpus, cpusets=cpusets, cpus=lambda name: cpus.get(name, tuple(range(6)))
    )


def test_with_v2_a_component_s_own_group_has_its_cpus(broker: Any) -> None:
    group = broker.group("kafka")
    (group / "cpuset.cpus").touch()
    assert hold(holder(broker, None), "kafka") is None, "there is no other group to enter"
    assert words(group / "cpuset.cpus") == "0,1,2,3,4,5"
    assert words(group.parent / "cgroup.subtree_control") == "+cpuset"


def test_without_a_set_of_cpus_affinity_is_all_that_there_is(broker: Any) -> None:
    assert hold(holder(broker, None), "kafka") is None
    assert not (broker.group("kafka") / "cpuset.cpus").exists()


def test_with_v1_load_workers_have_a_group_and_all_others_have_one(broker: Any, tmp_path: Path) -> None:
    (tmp_path / "cpuset.mems").write_text("0-1\n", encoding="ascii")
    host = holder(broker, tmp_path)
    groups = [hold(host, component) for component in ("client", "kafka", "sidecar", "client")]
    assert groups == [tmp_path / name for name in ("client", "cluster", "cluster", "client")]
    told = {group.name: (words(group / "cpuset.mems"), words(group / "cpuset.cpus")) for group in groups if group}
    assert told == {"client": ("0-1", "6,7"), "cluster": ("0-1", "0,1,2,3,4,5")}


def test_where_all_share_all_nothing_is_held(broker: Any, tmp_path: Path) -> None:
    assert hold(holder(broker, tmp_path, client_cpus=0), "client") is None
    assert not (tmp_path / "client").exists()


def test_a_controller_that_is_not_delegated_is_refused(
    broker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "make_quota_group", lambda instance: None)
    monkeypatch.setattr(disk, "blkio_root", lambda: None)
    for file in ("cpu.max", "io.max"):
        (broker.group("kafka") / file).unlink()
    assert not enable(broker.group("kafka"), "cpu")
    with (
        pytest.raises(MissingRequirement, match="CPU cannot be limited"),
        limits.cpu_quota(broker, "kafka", [1], 0.5, tmp_path),
    ):
        pass
    with (
        pytest.raises(MissingRequirement, match="disk cannot be limited"),
        disk.write_limit(disk.Disk(mount=tmp_path, number="259:9999"), broker, "bytes", 1e6, tmp_path),
    ):
        pass


def test_what_the_kernel_does_not_take_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="gone"):
        tell(tmp_path / "gone", V2.quota(1))


def test_without_a_controller_for_writes_disks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "writes_possible", lambda: False)
    with pytest.raises(MissingRequirement, match="`blkio`"):
        limits.require_write_limits()


def test_without_a_bound_on_dirty_memory_disks_are_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "writes_possible", lambda: True)
    monkeypatch.setattr(disk, "BDI", tmp_path)
    (tmp_path / "7:0").mkdir()
    with pytest.raises(MissingRequirement, match="`strict_limit` and `max_bytes`") as refused:
        limits.require_write_limits()
    assert "Linux 6.2" in refused.value.hint
    (tmp_path / "7:0" / "max_bytes").touch()
    limits.require_write_limits()


def test_a_bound_that_the_kernel_does_not_take_is_an_error_and_leaves_no_limit(
    broker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "blkio_root", lambda: None)
    monkeypatch.setattr(disk, "BDI", tmp_path / "bdi")
    (tmp_path / "bdi" / "7:0").mkdir(parents=True)
    (tmp_path / "bdi" / "7:0" / "max_bytes").touch()
    made = disk.Disk(mount=tmp_path, number="259:9999")  # has no backing-device info
    with pytest.raises(LabError, match="dirty memory of device 259:9999"), contextlib.ExitStack() as stack:
        stack.enter_context(disk.write_limit(made, broker, "bytes", 1e6, tmp_path))
    assert words(broker.group("kafka") / "io.max") == "259:9999 wbps=max"
    assert not list(tmp_path.glob("throttled-*"))
