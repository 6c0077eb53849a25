"""The ground holds for a user without root, in a user namespace: its tests run again as nobody."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.lab.ground import ENVIRONMENT, ROOT

NOBODY = 65534
TIMEOUT_S = 180
AS_ROOT = os.geteuid() == 0  # read before the process may have entered a user namespace


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


@pytest.mark.parametrize("tests", ["test_foundation.py", "test_session.py"])
def test_all_of_it_holds_without_root(tests: str) -> None:
    if not AS_ROOT:
        return  # then they are running so already
    argv = [interpreter(), "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", f"tests/lab/{tests}"]
    result = subprocess.run(
        argv,
        check=False,
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        cwd=ROOT,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        timeout=TIMEOUT_S,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    if "passed" not in result.stdout:
        pytest.skip("kernel: no user namespaces for unprivileged users")
