"""Limits without a lab: who refuses them, and with which advice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from meshmark.backends.lab import disk
from meshmark.backends.lab.cgroups import QUOTA_LINK, make_quota_group, remove_group
from meshmark.cluster import limitable
from meshmark.errors import MissingRequirement
from meshmark.probes import procfs
from meshmark.record import Limit


class WithLimits:
    probe_port = 9

    def volume(self, host: str) -> Path:
        return Path(host)

    def cpu_s(self, host: str, component: str) -> float:
        return 0.0

    @contextmanager
    def limit(self, limit: Limit) -> Iterator[None]:
        yield


def test_a_testbed_that_can_be_limited_is_its_own_power() -> None:
    bed = WithLimits()
    assert limitable(bed) is bed  # type: ignore[arg-type]


def test_one_that_cannot_is_refused_with_what_can() -> None:
    with pytest.raises(MissingRequirement, match="cannot be limited") as refused:
        limitable(object())  # type: ignore[arg-type]
    assert "lab" in refused.value.hint


def test_images_without_root_are_refused_with_what_to_use_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "outside_uid", lambda: 1000)
    with pytest.raises(MissingRequirement, match="needs root") as refused:
        disk.require_images()
    assert "storage `disk`" in refused.value.hint


def test_images_without_their_tool_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "outside_uid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(MissingRequirement, match=r"mkfs\.ext4"):
        disk.require_images()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nr_periods 20\nnr_throttled 5\nthrottled_time 1500000000\n", 1.5),
        ("usage_usec 9\nnr_periods 20\nnr_throttled 5\nthrottled_usec 1500000\n", 1.5),
    ],
    ids=["v1", "v2"],
)
def test_throttling_of_both_kinds_of_groups(text: str, expected: float) -> None:
    assert procfs.throttling(text) == {
        "cpu_periods": 20.0,
        "cpu_throttled_periods": 5.0,
        "cpu_throttled_s": pytest.approx(expected),
    }


def test_a_group_without_a_quota_tells_no_throttling() -> None:
    assert procfs.throttling("usage_usec 9\nuser_usec 5\nsystem_usec 4\n") == {}


def test_a_link_to_a_group_of_another_name_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "precious"
    other.mkdir()
    owner = tmp_path / "run-1"
    owner.mkdir()
    (owner / QUOTA_LINK).symlink_to(other)
    remove_group(owner)
    assert other.is_dir()
    assert not (owner / QUOTA_LINK).is_symlink()


def test_the_group_for_quotas_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, kept = tmp_path / "run-1", tmp_path / "meshmark-run-1"
    owner.mkdir()
    (owner / QUOTA_LINK).symlink_to(kept)
    assert make_quota_group(owner) == kept
