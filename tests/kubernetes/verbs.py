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


def meshmark(
    cluster: ControlPlane, user: Path, *arguments: str, timeout_s: float = TIMEOUT_S
) -> subprocess.CompletedProcess[str]:
    """A verb with its options; the context is said here."""
    verb, *options = arguments
    argv = [sys.executable, "-m", "meshmark", verb, "--context", CONTEXT, *options]
    return subprocess.run(
        argv, env=cluster.environment(user), capture_output=True, text=True, check=False, timeout=timeout_s
    )
