"""Every command that README and docs show is run, or says why it is not.

A fenced `console` block is a session: lines that begin with `$ ` are commands, the others what they print (not
compared). A block right after a comment `<!-- not run: REASON -->` is only read. The commands of one file run in one
empty directory, one after the other, without a shell.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "bench").glob("*.md")),
]
BLOCK = re.compile(
    r"(?:<!--\s*not run:(?P<reason>(?:(?!-->).)*)-->\s*)?^```(?P<kind>\w*)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
INDENTED = re.compile(r"^ {4}(?:\$ |\./)?(?:meshmark|python -m)\b.*", re.MULTILINE)
SHELL = re.compile(r"[|&;<>$`*?]")
SECONDS = 300


@dataclass(frozen=True, kw_only=True)
class Block:
    commands: tuple[str, ...]
    reason: str | None


def blocks(text: str) -> list[Block]:
    found = []
    for match in BLOCK.finditer(text):
        commands = tuple(line[2:] for line in match["body"].splitlines() if line.startswith("$ "))
        if match["kind"] == "console" or commands:
            reason = match["reason"]
            found.append(Block(commands=commands, reason=reason if reason is None else reason.strip()))
    return found


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_blocks_are_told_apart() -> None:
    run = "```console\n$ one\nprinted\n$ two\n```\n"
    read = "<!-- not run: slow -->\n```console\n$ three\n```\n"
    text = f"a <!-- note -->\n{run}{read}```yaml\na: b\n```\n"
    assert blocks(text) == [
        Block(commands=("one", "two"), reason=None),
        Block(commands=("three",), reason="slow"),
    ]


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_blocks_hold_commands_and_reasons(document: Path) -> None:
    for block in blocks(document.read_text(encoding="utf-8")):
        assert block.commands, "a console block without a line that begins with `$ `"
        assert block.reason != "", "`not run:` without a reason"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_no_command_hides_in_an_indented_block(document: Path) -> None:
    assert INDENTED.findall(BLOCK.sub("", document.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "document", [path for path in DOCUMENTS if any(b.reason is None for b in blocks(path.read_text()))], ids=name
)
def test_commands_run(document: Path, tmp_path: Path) -> None:
    for block in blocks(document.read_text(encoding="utf-8")):
        for command in block.commands if block.reason is None else ():
            assert not SHELL.search(command), f"needs a shell: {command}"
            argv = shlex.split(command)
            if argv[0].startswith("./"):
                argv[0] = str(ROOT / argv[0])
            done = subprocess.run(
                argv, cwd=tmp_path, env={**os.environ, "NO_COLOR": "1"}, capture_output=True, text=True,
                stdin=subprocess.DEVNULL, timeout=SECONDS, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
            assert done.stdout.strip(), f"{command} printed nothing"
