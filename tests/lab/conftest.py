"""A network namespace of its own for the whole test process: nothing but loopback, and its own machine lock, so that
tests neither wait for nor disturb a meshmark that uses this machine. Without root, a user namespace before that.

A session that is terminated cleans up like one that is interrupted; what a killed one left, the next one removes."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import pytest

from meshmark.backends.lab.instance import MEMORY_DIR, WORK_DIR_VARIABLE, reclaim
from tests.own_network import enter_own_network

MEMORY_BYTES = 4e9
"""More than the logs of two brokers, and what their file systems are made of."""


@pytest.fixture(scope="session", autouse=True)
def _machine() -> Iterator[None]:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # From in there nothing can be reached. If it fails, the tests that need Kafka will say so. In a process of its
    # own, since only one without further threads may enter a user namespace.
    subprocess.run([sys.executable, "-m", "meshmark", "fetch"], check=False, capture_output=True)
    # Not below tmp_path: paths of unix sockets end at 107 bytes.
    with tempfile.TemporaryDirectory(prefix="meshmark-test-") as work, pytest.MonkeyPatch.context() as patch:
        patch.setenv(WORK_DIR_VARIABLE, work)
        reclaim()
        enter_own_network()
        # In the user namespace pytest takes this user for root, and root's temporary directory for its own.
        patch.setenv("PYTEST_DEBUG_TEMPROOT", work)
        yield


@pytest.fixture(scope="module")
def in_memory(_machine: None) -> Iterator[None]:
    """Brokers' file systems are images in memory, where there is room for them: a test of a disk that is limited is
    not to be one of the machine's own, which may be slower than the limit for a while."""
    if not MEMORY_DIR.is_dir() or shutil.disk_usage(MEMORY_DIR).free < MEMORY_BYTES:
        yield
        return
    with (
        tempfile.TemporaryDirectory(prefix="meshmark-test-", dir=MEMORY_DIR) as work,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv(WORK_DIR_VARIABLE, work)
        yield
