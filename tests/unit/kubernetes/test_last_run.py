"""What is told of the last tests on a real Kubernetes, whatever became of the note in the cache."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.kubernetes import build
from tests.kubernetes.last_run import ALL, WHOLE_PATH

COMMITTED = json.loads(ALL.committed.read_text(encoding="utf-8"))
OF_COMMITTED = f"at commit {COMMITTED['commit'][:12]}"


@pytest.fixture(autouse=True)
def noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(build, "home", lambda: tmp_path)
    return ALL.noted


def test_the_later_note_is_told(noted: Path) -> None:
    ALL.note(passed=3, skipped=0)
    assert ALL.text().endswith(f" with Kubernetes {build.version()} (3 passed)")
    noted.write_text(json.dumps({**COMMITTED, "when": "2026-01-01", "passed": 5}), encoding="utf-8")
    assert OF_COMMITTED in ALL.text()


def test_those_that_were_skipped_are_told() -> None:
    ALL.note(passed=3, skipped=2)
    assert ALL.text().endswith("(3 passed, 2 skipped)")


def test_the_whole_path_has_a_note_of_its_own() -> None:
    before = ALL.text()
    WHOLE_PATH.note()
    assert json.loads(WHOLE_PATH.noted.read_text(encoding="utf-8"))["commit"][:12] in WHOLE_PATH.text()
    assert WHOLE_PATH.text().endswith(f" with Kubernetes {build.version()}")
    assert ALL.text() == before


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b'{"when": "2999-01-01"}'])
def test_a_damaged_note_is_none(content: bytes, noted: Path) -> None:
    noted.write_bytes(content)
    assert OF_COMMITTED in ALL.text()


def test_a_cache_that_cannot_be_written_keeps_no_note(noted: Path) -> None:
    noted.mkdir()
    ALL.note(passed=3, skipped=0)
    assert OF_COMMITTED in ALL.text()
