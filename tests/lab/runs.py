"""The `meshmark` command run as a user runs it, with a plan that is over in seconds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from meshmark.backends.lab.instance import stored_instances
from meshmark.backends.lab.process import INSTANCE_VARIABLE

PLAN = """name: small
repeats: 1
logBudgetBytes: 2000000000
environment: {diskSeconds: 0, networkSeconds: 0}
cluster: {heapBytes: 268435456}
workload: {workers: 2}
method: {warmupSeconds: 1, warmupMaxSeconds: 2, windowSeconds: 1.5, trials: 1}
scenarios: [plain, istio-mtls]
"""
MESHMARK = (sys.executable, "-m", "meshmark")
TIMEOUT_S = 180


def meshmark(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as a user runs it."""
    return subprocess.run([*MESHMARK, *arguments], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


def processes(instance: str) -> list[int]:
    """Those that belong to an instance."""
    mark = f"{INSTANCE_VARIABLE}={instance}".encode()
    found = []
    for path in Path("/proc").iterdir():
        with suppress(OSError):  # it ended, or is not ours
            if path.name.isdigit() and mark in (path / "environ").read_bytes().split(b"\0"):
                found.append(int(path.name))
    return found


@contextmanager
def warming_up(plan: Path, out: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A run whose first cluster serves and is under load, and the name of its instance."""
    command = [*MESHMARK, "run", str(plan), "--only", "istio-mtls", "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        told = []
        for line in run.stderr:
            told.append(line)
            if line.strip() == "warming up":
                break
        else:
            pytest.fail("".join(told))
        (instance,) = (path.name for path in stored_instances())
        assert len(processes(instance)) > 6, "3 brokers and 4 sidecars were expected"
        yield run, instance
