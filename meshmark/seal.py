"""The hash chain of a run directory: what of it was there at which moment, and what is no longer as it was then.

    {"file":"rounds/001-plain/trials.jsonl","bytes":81234,"sha256":"...","previous":"..."}

`digests.jsonl` gains one such link for each file that is new, or longer than before, when a round or the run ends: the
SHA-256 of the file's first `bytes` bytes, and that of the line before. The SHA-256 of the last line stands for the
whole run. `finished.json` is the last file to be sealed: a chain without it ends early, as after a crash.

Reports are made from the record and can be made again, so they are no part of it: `summary.json` and `report.*` at the
top of the directory are never sealed, nor is `digest.sig`, which is made over the chain (`signature.py`).

Limits: whoever can write the directory can write another chain that fits it. Only a digest that was kept elsewhere
tells the two apart.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydantic import Field, ValidationError

from meshmark.values import Model

NAME = "digests.jsonl"
SIGNATURE = "digest.sig"
LAST_FILE = "finished.json"
START = "0" * 64
"""What the first link has for the line before it."""
_PIECE_BYTES = 1 << 20


class Link(Model):
    """One line of the chain; the hashes are hexadecimal."""

    file: str = Field(description="relative to the run directory, with slashes")
    bytes: int = Field(ge=0)
    sha256: str
    previous: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Break:
    """Something that is not as the chain says."""

    file: str
    recorded: str
    found: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Integrity:
    """A chain, held against the directory. `head` is None where there is no chain; `complete`: it covers the end of
    the run; `unsealed`: files, or what they have beyond their last link, that no link covers; `signed`: there is a
    signature, whatever it holds."""

    head: str | None
    links: int
    files: int
    complete: bool
    breaks: tuple[Break, ...]
    unsealed: tuple[str, ...]
    reports: tuple[str, ...]
    signed: bool


class Chain:
    """The chain of a directory that is being written; it begins empty."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._sealed: dict[str, int] = {}
        self._previous = START

    def seal(self) -> None:
        """A link for whatever has come since the last call; on the disk when it returns, and before it the files.
        Raises OSError."""
        lines = []
        for name in _files(self._directory):
            path = self._directory / name
            size = path.stat().st_size
            if self._sealed.get(name) == size:
                continue
            with path.open("rb") as file:
                os.fsync(file.fileno())
                (digest,) = _digests(file, [size])
            link = Link(file=name, bytes=size, sha256=digest, previous=self._previous)
            line = json.dumps(link.model_dump(), separators=(",", ":")).encode() + b"\n"
            lines.append(line)
            self._previous = hashlib.sha256(line).hexdigest()
            self._sealed[name] = size
        with (self._directory / NAME).open("ab") as chain:
            chain.write(b"".join(lines))
            chain.flush()
            os.fsync(chain.fileno())


def head(directory: Path) -> str | None:
    """The SHA-256 of the last whole line of the chain, its newline included; None without one."""
    lines = _chain(directory)
    return hashlib.sha256(lines[-1]).hexdigest() if lines else None


def check(directory: Path) -> Integrity:
    """Holds every file against every link that it has, and names what no chain can cover: symbolic links, which lead
    to something else tomorrow, and the like. A last line that a crash cut counts as not written."""
    links, breaks = _links(directory)
    present = _files(directory)
    sealed = _by_file(links)
    breaks += _strangers(directory)
    for name, own in sealed.items():
        breaks += _held_against(directory, name, own, there=name in present)
    return Integrity(
        head=head(directory),
        links=len(links),
        files=len(sealed),
        complete=LAST_FILE in sealed,
        breaks=tuple(breaks),
        unsealed=tuple(_unsealed(directory, present, sealed)) if links else (),
        reports=tuple(sorted(path.name for path in directory.iterdir() if _is_report(path.name) and path.is_file())),
        signed=(directory / SIGNATURE).is_file(),
    )


def check_remains(directory: Path, remains: str) -> tuple[Break, ...]:
    """The chain that was laid aside when a run went on after a cut, held against the files where they are now."""
    aside = directory / remains
    links, breaks = _links(aside)
    present = _files(directory)
    for name, own in _by_file(links).items():
        moved = f"{remains}/{name.removeprefix('rounds/')}"
        now = moved if moved in present else name
        breaks += _held_against(directory, now, own, there=now in present)
    return tuple(breaks)


def _by_file(links: Sequence[Link]) -> dict[str, list[Link]]:
    sealed: dict[str, list[Link]] = {}
    for link in links:
        sealed.setdefault(link.file, []).append(link)
    return sealed


def _links(directory: Path) -> tuple[list[Link], list[Break]]:
    """Of the chain in a folder, and where it is broken."""
    links: list[Link] = []
    breaks: list[Break] = []
    previous = START
    for number, line in enumerate(_chain(directory), start=1):
        place = f"{NAME}:{number}"
        try:
            link = Link.model_validate_json(line)
        except ValidationError:
            breaks.append(Break(file=place, recorded="a line of the chain", found="it is none"))
        else:
            links.append(link)
            if link.previous != previous:
                breaks.append(
                    Break(
                        file=place,
                        recorded=f"the line before has SHA-256 {link.previous}",
                        found=f"it has {previous}: a line was changed, taken out or put in",
                    )
                )
        previous = hashlib.sha256(line).hexdigest()
    return links, breaks


def _held_against(directory: Path, name: str, links: Sequence[Link], *, there: bool) -> Iterator[Break]:
    """`there`: it is a file of the record, which a name that leads out of the directory never is."""
    if not there:
        yield Break(file=name, recorded=f"{links[-1].bytes} bytes", found="there is no such file")
        return
    sizes = [link.bytes for link in links]
    if sizes != sorted(set(sizes)):
        yield Break(file=name, recorded=f"sealed at {sizes} bytes, in this order", found="a file only grows")
        return
    with (directory / name).open("rb") as file:
        digests = _digests(file, sizes)
        size = file.seek(0, os.SEEK_END)
    if size < sizes[-1]:
        yield Break(file=name, recorded=f"{sizes[-1]} bytes", found=f"it has {size}: its end is missing")
    for link, digest in zip(links, digests, strict=False):
        if digest != link.sha256:
            yield Break(
                file=name,
                recorded=f"its first {link.bytes} bytes have SHA-256 {link.sha256}",
                found=f"they have {digest}: it was changed",
            )
            return


def _unsealed(directory: Path, present: Sequence[str], sealed: dict[str, list[Link]]) -> Iterator[str]:
    for name in present:
        if name not in sealed:
            yield name
        elif (more := (directory / name).stat().st_size - sealed[name][-1].bytes) > 0:
            yield f"{name}, its last {more} bytes"


def _files(directory: Path) -> list[str]:
    """Every file of the record; what ends a run last."""
    found = [name for name, mode in _names(directory) if stat.S_ISREG(mode)]
    return sorted(found, key=lambda name: (name == LAST_FILE, name))


def _strangers(directory: Path) -> Iterator[Break]:
    """Whoever reads the record would follow them."""
    for name, mode in sorted(_names(directory)):
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            is_link = stat.S_ISLNK(mode)
            found = "it is a symbolic link" if is_link else "it is something else: a device, a pipe or a socket"
            yield Break(file=name, recorded="files and directories of the run's own", found=found)


def _names(directory: Path) -> Iterator[tuple[str, int]]:
    """Of all that lies in the directory and is no report, with its mode; links are not followed."""
    for folder, folders, files in os.walk(directory):
        for path in (Path(folder) / each for each in (*folders, *files)):
            name = path.relative_to(directory).as_posix()
            if name not in (NAME, SIGNATURE) and not _is_report(name):
                yield name, path.lstat().st_mode


def _is_report(name: str) -> bool:
    return name == "summary.json" or (name.startswith("report.") and "/" not in name)


def _chain(directory: Path) -> list[bytes]:
    path = directory / NAME
    if not path.is_file():
        return []
    return [line + b"\n" for line in path.read_bytes().split(b"\n")[:-1]]


def _digests(file: BinaryIO, sizes: Sequence[int]) -> list[str]:
    """SHA-256 of the first so many bytes, for each of these growing sizes; fewer where the file is shorter."""
    hashed, at = hashlib.sha256(), 0
    found: list[str] = []
    for size in sizes:
        while at < size:
            piece = file.read(min(_PIECE_BYTES, size - at))
            if not piece:
                return found
            hashed.update(piece)
            at += len(piece)
        found.append(hashed.hexdigest())
    return found
