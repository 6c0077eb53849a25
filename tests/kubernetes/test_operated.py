"""An operator's resources on a real API server: rights, the operator's last word, and what goes with its owner.

There is no operator: definitions that take anything stand for Strimzi's, and `kubectl` says and makes what it would.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from meshmark.backends.kubernetes.kinds import KAFKA, KAFKA_NODE_POOL, Kind
from meshmark.errors import ComponentFailed
from tests.kubernetes import crds, verbs
from tests.kubernetes.controlplane import ControlPlane

PLACE = "meshmark-operated"
OPTIONS = ("--only", "plain", "-n", PLACE)


def definition(kind: Kind) -> dict[str, object]:
    """With a status of its own, as Strimzi's have it, so that `up` cannot write that."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{kind.group}"},
        "spec": {
            "group": kind.group,
            "scope": "Namespaced",
            "names": {"kind": kind.name, "plural": kind.plural, "singular": kind.name.lower()},
            "versions": [
                {
                    "name": kind.version,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": anything},
                }
            ],
        },
    }


@pytest.mark.usefixtures("controllers")
def test_strimzis_resources_are_applied_waited_for_and_given_back(
    cluster: ControlPlane, user: Path, tmp_path: Path
) -> None:
    crds.define(cluster, tmp_path, *(definition(kind) for kind in (KAFKA, KAFKA_NODE_POOL)))
    up = ("up", "--backend", "kubernetes", *OPTIONS, "--provider", "strimzi", "--timeout", "2")
    silent = verbs.meshmark(cluster, user, *up)
    assert silent.returncode == ComponentFailed.exit_code, silent.stderr
    assert "operator: its operator has said nothing yet" in silent.stderr

    kafka = json.loads(cluster.kubectl("get", "kafka/kafka", f"--namespace={PLACE}", "--output=json").stdout)
    refused = {"type": "NotReady", "status": "True", "reason": "InvalidResourceException", "message": "no"}
    said = {"status": {"observedGeneration": kafka["metadata"]["generation"], "conditions": [refused]}}
    patch = ("patch", "kafka/kafka", f"--namespace={PLACE}", "--type=merge", "--subresource=status")
    cluster.kubectl(*patch, f"--patch={json.dumps(said)}")
    status = verbs.meshmark(cluster, user, "status", "--backend", "kubernetes", *OPTIONS)
    assert "operator:   NotReady: InvalidResourceException: no" in status.stdout, status.stderr

    owner = {"apiVersion": KAFKA.api_version, "kind": "Kafka", "name": "kafka", "uid": kafka["metadata"]["uid"]}
    owned = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kafka-kafka-brokers", "namespace": PLACE, "ownerReferences": [owner]},
        "spec": {"clusterIP": "None", "ports": [{"port": 9092}]},
    }
    file = tmp_path / "service.json"
    file.write_text(json.dumps(owned), encoding="utf-8")
    cluster.kubectl("apply", f"--filename={file}")
    down = verbs.meshmark(cluster, user, "down", "--backend", "kubernetes", *OPTIONS, "--timeout", "240")
    assert down.returncode == 0, down.stderr
    assert "kafka/kafka is removed" in down.stderr
    assert "(NotFound)" in cluster.kubectl("get", "namespace", PLACE, check=False).stderr
