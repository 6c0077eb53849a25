"""A stretched scenario on two real API servers: each gets its part, and gives it back when the other is gone.

There are no nodes and no istiod: its kinds are there, and what it puts into a namespace the test puts there.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshmark.backends.kubernetes.sites import ROOT as ROOT_NAME
from meshmark.backends.kubernetes.sites import ROOT_KEY
from meshmark.errors import ClusterUnreachable, ComponentFailed
from tests.kubernetes import crds
from tests.kubernetes.controlplane import ControlPlane, control_plane
from tests.kubernetes.credentials import merged
from tests.kubernetes.verbs import TIMEOUT_S, documented_user
from tests.lab.ground import ROOT

EXAMPLE = str(ROOT / "examples" / "stretched-24ms.yaml")
SPACE = "meshmark-stretched"
OURS = "--selector=app.kubernetes.io/managed-by=meshmark"
KINDS = "statefulsets,services,configmaps,serviceaccounts,poddisruptionbudgets,destinationrules,peerauthentications"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nsame\n-----END CERTIFICATE-----\n"
SAME = [
    "configmap/broker-config",
    "destinationrule.networking.istio.io/broker-1",
    "destinationrule.networking.istio.io/broker-2",
    "destinationrule.networking.istio.io/broker-3",
    "destinationrule.networking.istio.io/kafka",
    "peerauthentication.security.istio.io/default",
    "poddisruptionbudget.policy/broker",
    "service/broker-1",
    "service/broker-2",
    "service/broker-3",
    "service/kafka",
    "serviceaccount/broker",
    "statefulset.apps/broker",
]
"""Of each cluster, by name."""


@pytest.fixture(scope="module")
def two(cluster: ControlPlane) -> Iterator[tuple[ControlPlane, ControlPlane]]:
    with control_plane() as other:
        for each in (cluster, other):
            crds.install(each, "PeerAuthentication", "DestinationRule")
        yield cluster, other


@pytest.fixture(scope="module")
def kubeconfig(two: tuple[ControlPlane, ControlPlane], user: Path) -> Path:
    """Of the documented user in both, in the contexts `one` and `two`; the server of `gone` is nobody."""
    made = merged(two[0].directory / "two.kubeconfig", {"one": user, "two": documented_user(two[1])})
    content = json.loads(made.read_text(encoding="utf-8"))
    nobody = {**content["clusters"][0]["cluster"], "server": "https://127.0.0.1:1"}
    content["clusters"].append({"name": "gone", "cluster": nobody})
    content["contexts"].append({"name": "gone", "context": {"cluster": "gone", "user": "one"}})
    made.write_text(json.dumps(content), encoding="utf-8")
    return made


def meshmark(cluster: ControlPlane, kubeconfig: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "meshmark", *arguments, "-f", EXAMPLE, "-n", SPACE]
    return subprocess.run(
        argv, env=cluster.environment(kubeconfig), capture_output=True, text=True, check=False, timeout=TIMEOUT_S
    )


def found(cluster: ControlPlane) -> list[str]:
    return sorted(cluster.kubectl("get", KINDS, f"--namespace={SPACE}", OURS, "--output=name").stdout.split())


def test_each_api_server_takes_its_part_and_gives_it_back_without_the_other(
    two: tuple[ControlPlane, ControlPlane], kubeconfig: Path
) -> None:
    root = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": ROOT_NAME}, "data": {ROOT_KEY: CERTIFICATE}}
    for each in two:
        each.kubectl("create", "namespace", SPACE)
        each.kubectl("label", "namespace", SPACE, "app.kubernetes.io/managed-by=meshmark")
        each.kubectl("apply", "--server-side", f"--namespace={SPACE}", "--filename=-", stdin=root)
    both = ("--context", "one", "--context", "two")
    up = meshmark(two[0], kubeconfig, "up", "--backend", "kubernetes", *both, "--timeout", "1")
    assert up.returncode == ComponentFailed.exit_code, up.stderr
    assert "are not ready after 1 s" in up.stderr
    assert [found(each) for each in two] == [SAME, SAME]
    first = ("get", "statefulset/broker", f"--namespace={SPACE}", "--output=jsonpath={.spec.ordinals.start}")
    assert [each.kubectl(*first).stdout for each in two] == ["1", "3"]
    nothing = meshmark(two[0], kubeconfig, "diff", *both)
    assert (nothing.returncode, nothing.stdout) == (0, ""), nothing.stderr
    halves = ("--context", "gone", "--context", "two")
    down = meshmark(two[0], kubeconfig, "down", "--backend", "kubernetes", *halves, "--timeout", "240")
    assert down.returncode == ClusterUnreachable.exit_code, down.stderr
    assert "the cluster is down of two" in down.stdout
    assert [found(each) for each in two] == [SAME, []]
    two[0].kubectl("delete", "namespace", SPACE, "--wait=false")
