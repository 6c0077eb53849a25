"""The hash chain: what it covers, and what of a directory is no longer as it was sealed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from meshmark import seal
from meshmark.seal import Chain, check


def sealed(directory: Path) -> Path:
    """A directory that was sealed twice: after a round, and at its end."""
    directory.mkdir()
    (directory / "started.json").write_text("{}")
    (directory / "events.jsonl").write_text("one\n")
    (directory / "rounds").mkdir()
    (directory / "rounds" / "trials.jsonl").write_text("first\nsecond\n")
    chain = Chain(directory)
    chain.seal()
    with (directory / "events.jsonl").open("a") as file:
        file.write("two\n")
    (directory / "finished.json").write_text("{}")
    chain.seal()
    return directory


def test_what_was_sealed_is_whole(tmp_path: Path) -> None:
    found = check(sealed(tmp_path / "run"))
    assert (found.breaks, found.unsealed, found.complete) == ((), (), True)
    assert (found.files, found.links) == (4, 5)


def test_a_link_has_a_files_length_its_hash_and_that_of_the_line_before(tmp_path: Path) -> None:
    directory = sealed(tmp_path / "run")
    lines = (directory / seal.NAME).read_bytes().splitlines(keepends=True)
    links = [json.loads(line) for line in lines]
    assert [(link["file"], link["bytes"]) for link in links] == [
        ("events.jsonl", 4),
        ("rounds/trials.jsonl", 13),
        ("started.json", 2),
        ("events.jsonl", 8),
        ("finished.json", 2),
    ]
    assert links[0]["sha256"] == hashlib.sha256(b"one\n").hexdigest()
    assert links[3]["sha256"] == hashlib.sha256(b"one\ntwo\n").hexdigest()
    assert [link["previous"] for link in links[1:]] == [hashlib.sha256(line).hexdigest() for line in lines[:-1]]
    assert seal.head(directory) == hashlib.sha256(lines[-1]).hexdigest()


def test_sealing_again_what_has_not_grown_adds_nothing(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text("one\n")
    chain = Chain(tmp_path)
    chain.seal()
    before = seal.head(tmp_path)
    chain.seal()
    assert seal.head(tmp_path) == before


def test_a_directory_without_a_chain_has_no_digest(tmp_path: Path) -> None:
    (tmp_path / "started.json").write_text("{}")
    found = check(tmp_path)
    assert (found.head, found.complete, found.breaks) == (None, False, ())


def _drop_line(directory: Path) -> None:
    lines = (directory / seal.NAME).read_text().splitlines(keepends=True)
    (directory / seal.NAME).write_text("".join(lines[:1] + lines[2:]))


def _swap_lines(directory: Path) -> None:
    first, second, *rest = (directory / seal.NAME).read_text().splitlines(keepends=True)
    (directory / seal.NAME).write_text("".join([second, first, *rest]))


def _put_in(directory: Path, line: str) -> None:
    path = directory / seal.NAME
    path.write_text(line + path.read_text())


def _link_out(directory: Path) -> None:
    (directory.parent / "outside").write_text("{}")
    text = (directory / seal.NAME).read_text()
    (directory / seal.NAME).write_text(text.replace('"started.json"', '"../outside"'))


def _same_length(path: Path) -> None:
    text = path.read_text()
    path.write_text("X" + text[1:])


@pytest.mark.parametrize(
    ("tamper", "file", "says"),
    [
        (lambda run: _same_length(run / "rounds" / "trials.jsonl"), "rounds/trials.jsonl", "it was changed"),
        (lambda run: _same_length(run / "events.jsonl"), "events.jsonl", "it was changed"),
        (lambda run: (run / "events.jsonl").write_text("one\n"), "events.jsonl", "its end is missing"),
        (lambda run: (run / "started.json").unlink(), "started.json", "no such file"),
        (lambda run: (run / "started.json").rename(run / "was.json"), "started.json", "no such file"),
        (_drop_line, f"{seal.NAME}:2", "taken out or put in"),
        (_swap_lines, f"{seal.NAME}:1", "taken out or put in"),
        (lambda run: _put_in(run, "{}\n"), f"{seal.NAME}:1", "it is none"),
        (lambda run: _put_in(run, "\n"), f"{seal.NAME}:1", "it is none"),
        (lambda run: _put_in(run, "text\r"), f"{seal.NAME}:1", "it is none"),
        (_link_out, "../outside", "no such file"),
    ],
)
def test_what_was_changed_is_named(tmp_path: Path, tamper: Callable[[Path], object], file: str, says: str) -> None:
    directory = sealed(tmp_path / "run")
    tamper(directory)
    found = check(directory)
    assert [each for each in found.breaks if each.file == file and says in each.found], found.breaks


def _link_away(path: Path) -> None:
    """What was there lies elsewhere now, unchanged, and a link leads to it."""
    outside = path.parent.with_name("outside")
    outside.mkdir()
    aside = outside / path.name
    path.rename(aside)
    path.symlink_to(aside)


def _link_in(name: str) -> Callable[[Path], object]:
    def tamper(directory: Path) -> None:
        outside = directory.parent / "outside"
        outside.mkdir()
        (outside / "trials.jsonl").write_text("another\n")
        (directory / name).symlink_to(outside if "." not in name else outside / "trials.jsonl")

    return tamper


@pytest.mark.parametrize(
    ("tamper", "file", "says"),
    [
        (lambda run: _link_away(run / "started.json"), "started.json", "symbolic link"),
        (lambda run: _link_away(run / "rounds"), "rounds", "symbolic link"),
        (_link_in("hardware.json"), "hardware.json", "symbolic link"),
        (_link_in("rounds/more.jsonl"), "rounds/more.jsonl", "symbolic link"),
        (_link_in("rounds/002-plain"), "rounds/002-plain", "symbolic link"),
        (lambda run: (run / "none.json").symlink_to("nowhere"), "none.json", "symbolic link"),
        (lambda run: os.mkfifo(run / "pipe.jsonl"), "pipe.jsonl", "something else"),
    ],
)
def test_a_link_and_whatever_is_no_file_is_named(
    tmp_path: Path, tamper: Callable[[Path], object], file: str, says: str
) -> None:
    directory = sealed(tmp_path / "run")
    tamper(directory)
    assert [each for each in check(directory).breaks if each.file == file and says in each.found]


def test_what_came_after_is_told_and_reports_are_no_part_of_the_record(tmp_path: Path) -> None:
    directory = sealed(tmp_path / "run")
    for name in ("more.json", "rounds/summary.json", "summary.json", "report.html"):
        (directory / name).write_text("{}")
    with (directory / "events.jsonl").open("a") as file:
        file.write("three\n")
    found = check(directory)
    assert found.unsealed == ("events.jsonl, its last 6 bytes", "more.json", "rounds/summary.json")
    assert found.reports == ("report.html", "summary.json")
    assert found.breaks == ()


def test_a_chain_that_ends_early_is_not_complete(tmp_path: Path) -> None:
    directory = sealed(tmp_path / "run")
    lines = (directory / seal.NAME).read_text().splitlines(keepends=True)
    (directory / seal.NAME).write_text("".join(lines[:-1]) + lines[-1][:20])
    found = check(directory)
    assert (found.complete, found.breaks, found.unsealed) == (False, (), ("finished.json",))
