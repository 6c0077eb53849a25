"""Instances without a lab: whose directory it may be, what is stale, what a log's tail is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from meshmark import errors
from meshmark.backends.lab import instance as lab_instance
from meshmark.backends.lab.instance import (
    WORK_DIR_VARIABLE,
    _new_directory,
    lock_is_free,
    reclaim,
    stored_instances,
    unlocked_instance,
    work_directory,
)
from meshmark.backends.lab.link import addresses
from meshmark.backends.lab.namespace import outside_uid
from meshmark.backends.lab.process import INSTANCE_VARIABLE, LAUNCHER, tail
from meshmark.backends.lab.session import _error, status
from meshmark.errors import ComponentFailed, LabError


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "memory").mkdir()
    monkeypatch.setattr(lab_instance, "MEMORY_DIR", tmp_path / "memory")
    monkeypatch.setenv(WORK_DIR_VARIABLE, str(tmp_path))
    return tmp_path / f"meshmark-{os.getuid()}"


def stale(work: Path, name: str) -> Path:
    """What a killed owner leaves: a lock file that nobody holds."""
    path = work_directory() / name
    path.mkdir()
    (path / "lock").touch()
    (path / "hosts").mkdir()
    (path / "hosts" / "a.log").write_text("text", encoding="utf-8")
    return path


def test_the_uid_outside_a_user_namespace_is_the_own_where_there_is_none() -> None:
    if Path("/proc/self/uid_map").read_text(encoding="ascii").split()[:2] == ["0", "0"]:
        assert outside_uid() == os.geteuid()
    else:
        assert outside_uid() != 0


def test_the_working_directory_is_private(work: Path) -> None:
    assert work_directory().stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("kind", ["open to others", "a link", "a file"])
def test_a_working_directory_that_others_could_use_is_refused(work: Path, kind: str) -> None:
    if kind == "open to others":
        work.mkdir(mode=0o755)
    elif kind == "a link":
        (work.parent / "elsewhere").mkdir(mode=0o700)
        work.symlink_to(work.parent / "elsewhere")
    else:
        work.touch()
    with pytest.raises(LabError, match=str(work)):
        work_directory()


def test_a_living_instance_is_left_alone_and_gone_afterwards_is_its_lock() -> None:
    with _new_directory("run") as made:
        assert stored_instances() == [made.path]
        assert not lock_is_free(made.path)
        assert reclaim() == []
        assert made.path.exists()
    assert lock_is_free(made.path)


def test_instances_without_the_machines_lock_live_side_by_side() -> None:
    with unlocked_instance("kubernetes") as one, unlocked_instance("kubernetes") as other:
        assert stored_instances() == sorted([one.path, other.path])
        assert one.reclaimed == other.reclaimed == ()
    assert stored_instances() == []


def test_a_stale_instance_is_removed_and_named_by_the_next(work: Path) -> None:
    left = stale(work, "run-1")
    with _new_directory("run") as made:
        assert not left.exists()
        assert len(made.reclaimed) == 1
        assert str(left) in made.reclaimed[0]
        assert stored_instances() == [made.path]


def test_a_removal_that_was_cut_short_is_finished(work: Path) -> None:
    left = stale(work, "run-1")
    (left / "lock").unlink()
    assert len(reclaim()) == 1
    assert stored_instances() == []


def killed_owner(elsewhere: Path) -> Path:
    """The directory of an owner that worked elsewhere and was killed."""
    code = f"""import os, pathlib
from meshmark.backends.lab import instance
instance.MEMORY_DIR = pathlib.Path({str(lab_instance.MEMORY_DIR)!r})
with instance._new_directory("run") as made:
    print(made.path, flush=True)
    os.kill(os.getpid(), 9)
"""
    environment = {**os.environ, WORK_DIR_VARIABLE: str(elsewhere)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    return Path(done.stdout.strip())


def test_what_was_left_in_another_working_directory_is_removed_and_named(tmp_path: Path) -> None:
    left = killed_owner(tmp_path / "elsewhere")
    assert left.is_dir()
    assert stored_instances() == []
    assert reclaim() == [f"stale instance {left}"]
    assert not left.exists()
    assert list(lab_instance.MEMORY_DIR.iterdir()) == []


def test_an_instance_that_lives_in_another_working_directory_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _new_directory("run") as made:
        monkeypatch.setenv(WORK_DIR_VARIABLE, str(tmp_path / "elsewhere"))
        assert reclaim() == []
        assert made.path.exists()


def test_without_a_place_in_memory_an_instance_is_found_by_its_working_directory(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab_instance, "MEMORY_DIR", Path("/proc/none"))
    left = stale(work, "run-1")
    with _new_directory("run") as made:
        assert str(left) in made.reclaimed[0]


def test_reclaiming_follows_no_link_out_of_the_instance(work: Path) -> None:
    outside = work.parent / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    left = stale(work, "run-1")
    (left / "link").symlink_to(outside)
    reclaim()
    assert not left.exists()
    assert (outside / "kept").exists()


def test_processes_that_bear_a_stale_instances_name_are_ended(work: Path) -> None:
    def sleeper(name: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["sleep", "60"], env=os.environ | {INSTANCE_VARIABLE: name})

    stale(work, "run-1")
    ours, other = sleeper("run-1"), sleeper("run-12")
    try:
        assert "1 of its processes" in reclaim()[0]
        assert ours.wait(10) == -9
        assert other.poll() is None
    finally:
        for process in (ours, other):
            process.kill()
            process.wait()


def test_without_a_session_there_is_no_status(work: Path) -> None:
    stale(work, "run-1")
    assert status() is None


def test_every_host_has_an_address_of_its_own() -> None:
    given = addresses(9, 9)
    assert len(set(given.values())) == len(given) == 18
    assert given["broker-1"] != given["client-1"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", ()), ("a\n", ("a",)), ("a\nb", ("a", "b")), ("a\nb\nc\n", ("b", "c"))],
)
def test_the_tail_of_a_log(tmp_path: Path, text: str, expected: tuple[str, ...]) -> None:
    log = tmp_path / "log"
    log.write_text(text, encoding="utf-8")
    assert tail(log, 2) == expected


def test_a_log_that_is_absent_has_no_tail(tmp_path: Path) -> None:
    assert tail(tmp_path / "absent", 2) == ()


def test_nothing_is_launched_for_a_parent_that_has_died(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    argv = [
        sys.executable,
        "-I",
        "-S",
        str(LAUNCHER),
        "0",
        "1" if os.getpid() != 1 else "2",
        "-",
        "touch",
        str(witness),
    ]
    assert subprocess.run(argv, check=False).returncode == 127
    assert not witness.exists()


@pytest.mark.parametrize("kind", ["LabError", "Busy", "NoSpace", "MissingRequirement", "DownloadError"])
def test_a_keepers_error_keeps_its_class_and_its_advice(kind: str) -> None:
    error = _error({"kind": kind, "message": "text", "hint": "advice", "component": "", "log_tail": []})
    assert type(error) is getattr(errors, kind)
    assert (error.message, error.hint) == ("text", "advice")


def test_a_keepers_component_failure_keeps_the_log() -> None:
    error = _error({"kind": "ComponentFailed", "message": "m", "hint": "", "component": "kafka", "log_tail": ["a"]})
    assert isinstance(error, ComponentFailed)
    assert (error.component, error.log_tail) == ("kafka", ("a",))
