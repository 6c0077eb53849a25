"""meshmark.sh and requirements/venv.sh: the way from a checkout to a running command, and what stops it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import meshmark
from tests.docs.checkouts import ROOT, checkout, program, run
from tests.docs.conftest import Fresh

NOBODY = 65534


def test_sets_up_once_and_again_only_when_the_lock_changed(fresh: Fresh) -> None:
    script = fresh.directory / "meshmark.sh"
    assert [code for code, _, _ in fresh.outcomes] == [0, 0], fresh.outcomes
    assert all(meshmark.__version__ in output for _, output, _ in fresh.outcomes)
    assert sorted("setting up" in errors for _, _, errors in fresh.outcomes) == [False, True], "one waits"
    assert run(script, "version")[2] == ""

    lock = script.parent / "requirements" / "run.txt"
    lock.write_text(lock.read_text(encoding="utf-8") + "# changed\n", encoding="utf-8")
    code, output, errors = run(script, "version")
    assert (code, "setting up" in errors) == (0, True)
    assert meshmark.__version__ in output


def test_a_failed_set_up_says_where_it_stopped_and_is_tried_again(tmp_path: Path) -> None:
    script = checkout(tmp_path / "checkout") / "meshmark.sh"
    lock = script.parent / "requirements" / "run.txt"
    lock.write_text("rich==15.0.0 --hash=sha256:" + "0" * 64 + "\n", encoding="utf-8")
    for _ in range(2):
        code, output, errors = run(script, "version")
        assert (code, output) == (1, "")
        assert "DO NOT MATCH THE HASHES" in errors
        assert "the whole log:" in errors


def test_an_old_python_is_refused(tmp_path: Path) -> None:
    old = program(tmp_path / "python3.9", 'case "$2" in *print*) echo 3.9.2;; *) exit 1;; esac')
    code, output, errors = run(ROOT / "meshmark.sh", "version", MESHMARK_PYTHON=old, MESHMARK_VENV=str(tmp_path / "v"))
    assert (code, output) == (1, "")
    assert "no Python 3.11 or newer" in errors
    assert "is 3.9.2" in errors
    assert "MESHMARK_PYTHON" in errors


def test_a_directory_that_is_no_environment_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept", encoding="utf-8")
    code, _, errors = run(ROOT / "meshmark.sh", "version", MESHMARK_VENV=str(tmp_path))
    assert code == 1
    assert "is not a virtual environment" in errors
    assert (tmp_path / "precious").read_text(encoding="utf-8") == "kept"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_who_cannot_write_is_told_of_the_setting(tmp_path: Path) -> None:
    script = checkout(tmp_path / "checkout") / "meshmark.sh"
    [root] = (path for path in tmp_path.parents if path.name.startswith("pytest-of-"))
    for path in (*tmp_path.parents, tmp_path):
        if path.is_relative_to(root):
            path.chmod(0o755)
    code, _, errors = run(script, "version", user=NOBODY)
    assert code == 1
    assert "cannot be written by nobody" in errors
    assert "MESHMARK_VENV" in errors
