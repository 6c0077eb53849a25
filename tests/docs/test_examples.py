"""What the documents show and nothing runs is at least read: examples of the command line by the commands' own
parsers, plans by meshmark, Prometheus' configuration by Prometheus' own tool."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from ruamel.yaml import YAML
from typer.exceptions import TyperException

from meshmark import planfile
from meshmark.cli.app import app
from tests.docs.test_commands import BLOCK, DOCUMENTS, ROOT, name

REFERENCE = ROOT / "docs" / "reference" / "cli.md"
EXAMPLE = re.compile(r"^ {4}meshmark (?P<words>\S.*?)(?: {2,}.*| [|>].*)?$", re.MULTILINE)
"""Up to what is said of it, or to where a shell takes over."""
WHOLE = {"apiVersion": "meshmark/v1", "kind": "Plan", "name": "shown", "scenarios": ["plain"]}
"""What a document leaves out where it shows a part of a plan."""


def examples(text: str) -> list[str]:
    return [match["words"] for match in EXAMPLE.finditer(text)]


def parse(words: list[str]) -> None:
    """As far as the command itself, which is not begun. Raises TyperException where it would be a usage error."""
    command: Any = typer.main.get_command(app)
    path = "meshmark"
    while inner := getattr(command, "commands", None):
        path, command = f"{path} {words[0]}", inner[words[0]]
        words = words[1:]
    command.make_context(path, words)


def yamls() -> Iterator[tuple[Path, str]]:
    for document in DOCUMENTS:
        for match in BLOCK.finditer(document.read_text(encoding="utf-8")):
            if match["kind"] == "yaml":
                yield document, match["body"]


def configures_prometheus(text: str) -> bool:
    return "scrape_configs:" in text


def test_examples_are_told_from_what_is_said_of_them() -> None:
    text = "    meshmark run --quick\n    meshmark up  a cluster\n    meshmark report DIR -o json | jq '.x'\n"
    assert examples(text) == ["run --quick", "up", "report DIR -o json"]


def test_an_example_with_a_mistake_is_found() -> None:
    with pytest.raises(TyperException):
        parse(["run", "--quickly"])


def test_every_example_of_the_reference_is_one_that_its_command_takes() -> None:
    found = examples(REFERENCE.read_text(encoding="utf-8"))
    assert len(found) > 30
    for words in found:
        parse(shlex.split(words))


@pytest.mark.parametrize(
    ("document", "text"),
    [
        pytest.param(path, text, id=f"{name(path)}-{number}")
        for number, (path, text) in enumerate(yamls())
        if not configures_prometheus(text)
    ],
)
def test_every_plan_that_is_shown_is_one(document: Path, text: str) -> None:
    """A part of one too, with the rest of a plan around it."""
    shown = YAML(typ="safe").load(text) or {}
    missing = "".join(f"{key}: {value}\n" for key, value in WHOLE.items() if key not in shown)
    planfile.loads(text + missing, name(document))


@pytest.mark.promtool
def test_the_configuration_of_prometheus_that_is_shown_is_one(tmp_path: Path) -> None:
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    (text,) = [text for _, text in yamls() if configures_prometheus(text)]
    (tmp_path / "meshmark").symlink_to(ROOT / "meshmark")
    (tmp_path / "prometheus.yml").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [tool, "check", "config", "prometheus.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 rule files found" in done.stdout
