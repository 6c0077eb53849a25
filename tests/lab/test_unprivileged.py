"""The ground holds for a user without root: its tests run again as nobody, in a user namespace; and a cluster that is
kept up in one can be used from outside it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import pytest

from tests.lab.ground import ENVIRONMENT, ROOT, alive

NOBODY = 65534
TIMEOUT_S = 600
AS_ROOT = os.geteuid() == 0  # read before the process may have entered a user namespace


@cache
def interpreter() -> str:
    """One that nobody may run; root's own is often below a home that others cannot enter."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, f"/usr/bin/python{version}", f"/usr/local/bin/python{version}"):
        argv = [candidate, "-c", "import pytest, pyroute2, pydantic, meshmark"]
        try:
            subprocess.run(argv, check=True, env=ENVIRONMENT, user=NOBODY, cwd=ROOT, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return candidate
    pytest.skip("no Python with the libraries and this checkout that an unprivileged user may read")


def as_nobody(*argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [interpreter(), "-B", *argv],
        check=False,
        capture_output=True,
        text=True,
        env=ENVIRONMENT | environment,
        cwd=ROOT,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        timeout=TIMEOUT_S,
    )


@pytest.mark.parametrize("tests", ["test_foundation.py", "test_session.py"])
def test_all_of_it_holds_without_root(tests: str) -> None:
    if not AS_ROOT:
        return  # then they are running so already
    result = as_nobody("-m", "pytest", "-q", "-p", "no:cacheprovider", f"tests/lab/{tests}")
    assert result.returncode == 0, result.stdout + result.stderr
    if "passed" not in result.stdout:
        pytest.skip("kernel: no user namespaces for unprivileged users")


UP = """
from contextlib import contextmanager
from meshmark.backends.lab import session
from meshmark.backends.lab.namespace import enter_user_namespace
from tests.lab.test_session import sleepers
@contextmanager
def start(made):
    enter_user_namespace()
    with sleepers(made) as cluster:
        yield cluster
print(session.up(start, {}).keeper_pid)
"""
EXEC = "from meshmark.backends.lab.session import exec_in; exec_in('client-1', ['cat', '/proc/net/fib_trie'])"
STATUS = "from meshmark.backends.lab.session import status; it = status(); print(it and it.state)"
DOWN = "from meshmark.backends.lab.session import down; print(down())"


def test_a_cluster_kept_up_without_root_is_used_from_outside_its_user_namespace() -> None:
    if not AS_ROOT:
        return  # then this process is inside one already
    with tempfile.TemporaryDirectory(prefix="meshmark-test-") as work:
        os.chown(work, NOBODY, NOBODY)
        started = as_nobody("-c", UP, MESHMARK_WORK_DIR=work)
        if "user namespace" in started.stderr:
            pytest.skip(f"kernel: {started.stderr}")
        try:
            assert started.returncode == 0, started.stderr
            assert "up" in as_nobody("-c", STATUS, MESHMARK_WORK_DIR=work).stdout
            entered = as_nobody("-c", EXEC, MESHMARK_WORK_DIR=work)
            assert "10.77.0.101" in entered.stdout, entered.stderr
        finally:
            ended = as_nobody("-c", DOWN, MESHMARK_WORK_DIR=work)
        assert ended.stdout == "True\n", ended.stderr
        assert not alive(int(started.stdout))
        assert list(Path(work, f"meshmark-{NOBODY}").iterdir()) == []
