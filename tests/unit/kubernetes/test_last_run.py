"""What is told of the last tests on a real Kubernetes, whatever became of the note in the cache."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.kubernetes import build, last_run

COMMITTED = json.loads(last_run.COMMITTED.read_text(encoding="utf-8"))


@pytest.fixture
def noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(build, "home", lambda: tmp_path)
    return tmp_path / last_run.COMMITTED.name


def test_the_later_note_is_told(noted: Path) -> None:
    last_run.note(3, skipped=0)
    assert last_run.text().startswith(f"last 3 tests passed with {build.version()} on ")
    noted.write_text(json.dumps({**COMMITTED, "when": "2026-01-01", "passed": 5}), encoding="utf-8")
    assert last_run.text().startswith(f"last {COMMITTED['passed']} tests passed")


def test_those_that_were_skipped_are_told(noted: Path) -> None:
    last_run.note(3, skipped=2)
    assert noted.is_file()
    assert last_run.text().startswith(f"last 3 tests passed (2 skipped) with {build.version()} on ")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b'{"when": "2999-01-01"}'])
def test_a_damaged_note_is_none(content: bytes, noted: Path) -> None:
    noted.write_bytes(content)
    assert last_run.text().startswith(f"last {COMMITTED['passed']} tests passed")


def test_a_cache_that_cannot_be_written_keeps_no_note(noted: Path) -> None:
    noted.mkdir()
    last_run.note(3, skipped=0)
    assert last_run.text().startswith(f"last {COMMITTED['passed']} tests passed")
