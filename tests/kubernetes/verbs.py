"""meshmark's own command on a test cluster, as the user that the documentation describes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.kubernetes.controlplane import ControlPlane
from tests.kubernetes.credentials import CONTEXT
from tests.lab.ground import ROOT

TIMEOUT_S = 300
"""Longer than any of them is told to wait."""
RIGHTS = ROOT / "meshmark" / "resources" / "kubernetes" / "rights.yaml"


def documented_user(cluster: ControlPlane) -> Path:
    """A kubeconfig with the documented rights and no others."""
    cluster.kubectl("apply", f"--filename={RIGHTS}")
    return cluster.account("meshmark", "default", everywhere=["meshmark-namespaces", "meshmark-objects"])


def operators_user(cluster: ControlPlane) -> Path:
    """The same for runs on an operator's brokers, once those of the other are applied."""
    roles = ("meshmark-namespaces", "meshmark-objects", "meshmark-operators")
    return cluster.account("meshmark-operators", "default", everywhere=roles)


def meshmark(
    cluster: ControlPlane, user: Path, *arguments: str, timeout_s: float = TIMEOUT_S
) -> subprocess.CompletedProcess[str]:
    """A verb with its options; the context is said here."""
    verb, *options = arguments
    return _ran(cluster, user, "-m", "meshmark", verb, "--context", CONTEXT, *options, timeout_s=timeout_s)


def python(cluster: ControlPlane, user: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Code that uses meshmark's own parts."""
    return _ran(cluster, user, "-c", code)


def _ran(
    cluster: ControlPlane, user: Path, *words: str, timeout_s: float = TIMEOUT_S
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        env=cluster.environment(user),
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )
