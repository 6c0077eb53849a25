"""Checkouts at places of their own, and commands that are run in them as a user runs them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def start(script: Path, *arguments: str, user: int | None = None, **settings: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [script, *arguments], env={**os.environ, **settings}, user=user, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run(script: Path, *arguments: str, user: int | None = None, **settings: str) -> tuple[int, str, str]:
    process = start(script, *arguments, user=user, **settings)
    output, errors = process.communicate(timeout=300)
    return process.returncode, output, errors


def checkout(directory: Path) -> Path:
    """What set-up reads and users copy from, at a place of its own."""
    directory.mkdir(parents=True)
    shutil.copy(ROOT / "meshmark.sh", directory)
    shutil.copy(ROOT / "pyproject.toml", directory)
    shutil.copy(ROOT / "README.md", directory)
    shutil.copy(ROOT / "LICENSE", directory)
    shutil.copytree(ROOT / "requirements", directory / "requirements")
    shutil.copytree(ROOT / "examples", directory / "examples")
    shutil.copytree(ROOT / "meshmark", directory / "meshmark", ignore=shutil.ignore_patterns("__pycache__"))
    return directory


def program(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)
