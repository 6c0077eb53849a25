"""What tests of the lab's ground share: plain commands on hosts, who is alive, a process of our own in Python."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from meshmark.backends.lab.link import Host
from meshmark.backends.lab.process import LabProcess, running

ROOT = Path(__file__).parents[2]
POLL_S = 0.02
BOUND_S = 60.0
ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
"""In which an interpreter finds meshmark, its libraries and these tests."""


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + BOUND_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(POLL_S)


def alive(pid: int) -> bool:
    """A zombie is not: all that is left of it is its parent's to collect."""
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0]
            != "Z"
        )
    except (FileNotFoundError, ProcessLookupError):
        return False


def run_on(
    host: Host,
    *argv: str,
    component: str = "kafka",
    lines: bool = True,
    grace_s: float = 5.0,
    env: Mapping[str, str] | None = None,
) -> AbstractContextManager[LabProcess]:
    log = host.directory / "test.log"
    return running(host, argv, name="test", component=component, log=log, lines=lines, grace_s=grace_s, env=env)


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", code)


def script(code: str, *arguments: str) -> subprocess.Popen[str]:
    """A process of its own that runs Python code with meshmark at hand, on this process's machine."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | ENVIRONMENT,
        text=True,
    )
