"""Whether controllers of cgroup v2 can be had, against directories that refuse as a kernel does."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from meshmark.backends.lab import cgroups, delegation
from meshmark.backends.lab.controls import WITNESSES, Controller, Setting
from meshmark.backends.lab.delegation import GIVEN, LEAF, come_back, obtainable
from meshmark.probes import procfs

OWN_PID = str(os.getpid())


class Kernel:
    """Of one group and those below it: members, and controllers given."""

    def __init__(self, own: Path, *, members: set[str], has: tuple[Controller, ...] = ("cpu", "io")) -> None:
        self.own, self.has = own, has
        self.members = {own: members}
        self.given: set[str] = set()
        self.type = "domain"
        own.mkdir()
        (own / GIVEN).touch()

    def tell(self, group: Path, settings: Sequence[Setting]) -> None:
        for each in settings:
            (self._give if each.file == GIVEN else self._move)(group, each.text)

    def _give(self, group: Path, text: str) -> None:
        sign, controller = text[0], text[1:]
        if controller not in self.has:
            raise OSError(errno.ENOENT, "no such controller")
        if sign == "+" and self.members[group]:
            raise OSError(errno.EBUSY, "there are processes inside")
        (self.given.add if sign == "+" else self.given.discard)(controller)
        (group / GIVEN).write_text(" ".join(self.given), encoding="ascii")
        for below in (entry for entry in group.iterdir() if entry.is_dir()):
            (below / "cgroup.type").write_text(f"{self.type}\n", encoding="ascii")
            for name, witness in WITNESSES.items():
                (below / witness).touch() if name in self.given else (below / witness).unlink(missing_ok=True)

    def _move(self, group: Path, pid: str) -> None:
        if group == self.own and self.given:
            raise OSError(errno.EBUSY, "it gives controllers")
        for members in self.members.values():
            members.discard(pid)
        self.members.setdefault(group, set()).add(pid)


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Kernel]:
    def made(*members: str) -> Kernel:
        found = Kernel(tmp_path / "own", members=set(members))
        monkeypatch.setattr(delegation, "tell", found.tell)
        monkeypatch.setattr(Path, "rmdir", lambda path: shutil.rmtree(path))  # files of a group do not hold it
        return found

    return made


def test_a_group_without_processes_gives_controllers_at_once(kernel: Callable[..., Kernel]) -> None:
    there = kernel()
    assert obtainable(there.own, "cpu")
    assert [entry.name for entry in there.own.iterdir()] == [GIVEN], "nothing that was tried with is left"


def test_meshmark_alone_in_its_group_goes_into_a_leaf_and_comes_back(kernel: Callable[..., Kernel]) -> None:
    there = kernel(OWN_PID)
    assert obtainable(there.own, "cpu")
    assert obtainable(there.own, "io")
    assert there.members == {there.own: set(), there.own / LEAF: {OWN_PID}}
    come_back(there.own)
    assert there.members[there.own] == {OWN_PID}
    assert there.given == set()
    assert not (there.own / LEAF).exists()


def test_beside_others_nothing_can_be_had_and_meshmark_stays_where_it_is(kernel: Callable[..., Kernel]) -> None:
    there = kernel(OWN_PID, "1")
    assert not obtainable(there.own, "cpu")
    assert there.members[there.own] == {OWN_PID, "1"}
    assert [entry.name for entry in there.own.iterdir()] == [GIVEN]


def test_a_controller_that_is_not_there_cannot_be_had(kernel: Callable[..., Kernel]) -> None:
    assert not obtainable(kernel().own, "cpuset")


def test_below_a_threaded_group_no_group_takes_processes(kernel: Callable[..., Kernel]) -> None:
    there = kernel()
    there.type = "domain invalid"
    assert not obtainable(there.own, "cpu")


def test_in_its_leaf_meshmark_s_own_group_is_the_one_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scope" / LEAF).mkdir(parents=True)
    mounts = [procfs.Mount(0, 0, "/", str(tmp_path), "cgroup2", "cgroup2")]
    monkeypatch.setattr(cgroups, "_mounts", lambda: mounts)
    monkeypatch.setattr(cgroups, "_memberships", lambda: [f"0::/scope/{LEAF}"])
    assert cgroups._own_group() == tmp_path / "scope"
    monkeypatch.setattr(cgroups, "_memberships", lambda: ["0::/"])
    assert cgroups._own_group() == tmp_path


def test_whether_quotas_are_possible_is_found_by_trying(
    kernel: Callable[..., Kernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = kernel(OWN_PID, "1")
    (there.own / "cgroup.controllers").write_text("cpu io", encoding="ascii")
    monkeypatch.setattr(cgroups, "_own_quota_group", lambda: None)
    monkeypatch.setattr(cgroups, "_own_group", lambda: there.own)
    assert not cgroups.quotas_possible()
    there.members[there.own].discard("1")
    assert cgroups.quotas_possible()
    cgroups.leave_leaf()
    assert there.members[there.own] == {OWN_PID}
