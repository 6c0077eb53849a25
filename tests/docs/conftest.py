"""A checkout that is set up: what whoever clones meshmark has after the first command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.docs.checkouts import checkout, start


@dataclass(frozen=True)
class Fresh:
    """`outcomes`: exit code, standard output and standard error of the commands that found no environment."""

    directory: Path
    outcomes: tuple[tuple[int, str, str], ...]


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Fresh:
    """In a repository that has it as `meshmark`; set up by two commands at once."""
    directory = checkout(tmp_path_factory.mktemp("fresh") / "a repository" / "meshmark")
    both = [start(directory / "meshmark.sh", "version") for _ in range(2)]
    told = [process.communicate(timeout=300) for process in both]
    return Fresh(directory, tuple((each.returncode, *texts) for each, texts in zip(both, told, strict=True)))
