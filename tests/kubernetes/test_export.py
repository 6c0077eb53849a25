"""A real API server takes what `export` writes, keeps it as it is, acts upon it, and gives all of it back.

What is not there: nodes, so no pod of these runs; and of Istio more than its kinds.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from meshmark.data_plane import DataPlane
from tests.kubernetes import crds
from tests.kubernetes.controlplane import POLL_S, ControlPlane
from tests.planes import WHOLE

MESHES = [plane for plane in DataPlane if plane.mesh in ("ambient", "linkerd")]
PODS = ("pod/broker-1", "pod/broker-2", "pod/broker-3")
CLAIMS = ["data-broker-1", "data-broker-2", "data-broker-3"]
DIFFERENT = 1
DIFF_S = 30.0
WAIT = "--timeout=120s"
"""Shorter than a command may take; a controller of a busy machine needs some of it."""
WITHOUT_ISTIO = pytest.mark.parametrize("data_plane", [DataPlane.PLAIN, DataPlane.KAFKA_TLS])


def export(cluster: ControlPlane, directory: Path, data_plane: DataPlane) -> str:
    """Applies the namespace of an export. Returns the argument that names all of it."""
    of = "meshes" if data_plane in MESHES else "banzai-2019"
    argv = [sys.executable, "-m", "meshmark", "export", "-f", of, "--only", data_plane, "-d", str(directory)]
    subprocess.run(argv, check=True, capture_output=True)
    cluster.kubectl("apply", "--server-side", f"--filename={directory}/namespace.yaml")
    return f"--kustomize={directory}"


def difference(cluster: ControlPlane, everything: str) -> subprocess.CompletedProcess[str]:
    """Of what there is to that; once more where there is one, since a controller may write an object's state between
    the two readings that `kubectl diff` compares."""
    deadline = time.monotonic() + DIFF_S
    while (found := cluster.kubectl("diff", "--server-side", everything, check=False)).returncode == DIFFERENT:
        if time.monotonic() > deadline:
            break
        time.sleep(POLL_S)
    return found


@pytest.mark.parametrize("data_plane", [*WHOLE, *MESHES])
def test_an_export_is_taken_and_then_nothing_differs(
    data_plane: DataPlane, cluster: ControlPlane, tmp_path: Path
) -> None:
    of_mesh = {"istio": ("PeerAuthentication", "DestinationRule"), "ambient": ("PeerAuthentication", "Gateway")}
    if data_plane.mesh in of_mesh:
        crds.install(cluster, *of_mesh[data_plane.mesh])
    everything = export(cluster, tmp_path, data_plane)
    assert cluster.kubectl("diff", "--server-side", everything, check=False).returncode == DIFFERENT
    cluster.kubectl("apply", "--server-side", "--validate=strict", everything)
    again = difference(cluster, everything)
    assert (again.returncode, again.stdout) == (0, ""), again.stderr


def test_a_wrong_word_in_a_policy_is_refused(cluster: ControlPlane, tmp_path: Path) -> None:
    crds.install(cluster, "PeerAuthentication", "DestinationRule")
    export(cluster, tmp_path, DataPlane.ISTIO_MTLS)
    policy = tmp_path / "peer-authentication.yaml"
    policy.write_text(policy.read_text(encoding="utf-8").replace("STRICT", "STRICTER"), encoding="utf-8")
    refused = cluster.kubectl("apply", "--server-side", "--dry-run=server", f"--filename={policy}", check=False)
    assert refused.returncode != 0
    assert "STRICTER" in refused.stderr


@WITHOUT_ISTIO
@pytest.mark.usefixtures("controllers")
def test_an_export_is_acted_upon_and_given_back(data_plane: DataPlane, cluster: ControlPlane, tmp_path: Path) -> None:
    namespace = f"--namespace=meshmark-{data_plane}"
    everything = export(cluster, tmp_path, data_plane)
    cluster.kubectl("apply", "--server-side", everything)
    cluster.kubectl("wait", "--for=create", *PODS, namespace, WAIT)
    cluster.kubectl("wait", "--for=condition=PodScheduled=False", *PODS, namespace, WAIT)
    claims = json.loads(cluster.kubectl("get", "persistentvolumeclaims", namespace, "--output=json").stdout)["items"]
    assert sorted(claim["metadata"]["name"] for claim in claims) == CLAIMS
    cluster.kubectl("delete", everything, WAIT)
    gone = cluster.kubectl("get", "namespace", f"meshmark-{data_plane}", check=False)
    assert "(NotFound)" in gone.stderr
