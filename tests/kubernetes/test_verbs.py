"""meshmark's own verbs on a real API server, under exactly the rights that the documentation says they need.

There are no nodes, so an `up` applies everything and then tells that no broker became ready.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from meshmark.errors import ComponentFailed, NoRights, NotOurs
from tests.kubernetes import verbs
from tests.kubernetes.controlplane import ControlPlane

UP = ("up", "--backend", "kubernetes", "--timeout", "2")
DOWN = ("down", "--backend", "kubernetes", "--timeout", "240")
OURS = "app.kubernetes.io/managed-by=meshmark"
DIFFERENT = 1
NOT_READY = 1


def meshmark(
    cluster: ControlPlane, user: Path, *verb: str, namespace: str = "meshmark-verbs"
) -> subprocess.CompletedProcess[str]:
    return verbs.meshmark(cluster, user, *verb, "--only", "plain", "-n", namespace)


def test_what_up_applies_a_second_one_leaves_as_it_is(cluster: ControlPlane, user: Path) -> None:
    dry = meshmark(cluster, user, *UP, "--dry-run", "server")
    assert dry.returncode == 0, dry.stderr
    assert "(NotFound)" in cluster.kubectl("get", "namespace", "meshmark-verbs", check=False).stderr
    assert meshmark(cluster, user, "diff").returncode == DIFFERENT
    up = meshmark(cluster, user, *UP)
    assert up.returncode == ComponentFailed.exit_code, up.stderr
    version = ("get", "statefulset/broker", "--namespace=meshmark-verbs", "--output=jsonpath={.metadata.generation}")
    before = cluster.kubectl(*version).stdout
    status = meshmark(cluster, user, "status", "--backend", "kubernetes")
    assert status.returncode == NOT_READY, status.stderr
    assert "state:      not ready" in status.stdout
    assert "statefulset/broker" in status.stdout
    nothing = meshmark(cluster, user, "diff")
    assert (nothing.returncode, nothing.stdout) == (0, ""), nothing.stderr
    assert meshmark(cluster, user, *UP).returncode == ComponentFailed.exit_code
    assert cluster.kubectl(*version).stdout == before == "1"


def test_a_field_that_another_manages_is_a_conflict(cluster: ControlPlane, user: Path) -> None:
    place = "meshmark-conflict"
    meshmark(cluster, user, *UP, namespace=place)
    cluster.kubectl("scale", "statefulset/broker", "--replicas=5", f"--namespace={place}")
    refused = meshmark(cluster, user, *UP, namespace=place)
    assert refused.returncode == NotOurs.exit_code, refused.stderr
    assert "replicas" in refused.stderr
    replicas = ("get", "statefulset/broker", f"--namespace={place}", "--output=jsonpath={.spec.replicas}")
    assert cluster.kubectl(*replicas).stdout == "5"
    meshmark(cluster, user, *UP, "--force-conflicts", namespace=place)
    assert cluster.kubectl(*replicas).stdout == "3"


def test_a_namespace_of_others_is_refused(cluster: ControlPlane, user: Path) -> None:
    cluster.kubectl("create", "namespace", "others")
    refused = meshmark(cluster, user, *UP, namespace="others")
    assert refused.returncode == NotOurs.exit_code, refused.stderr
    assert cluster.kubectl("get", "statefulsets", "--namespace=others", "--output=name").stdout == ""


def test_missing_rights_are_told_and_nothing_is_made(cluster: ControlPlane, user: Path) -> None:
    stranger = cluster.account("stranger", "default")
    refused = meshmark(cluster, stranger, *UP, namespace="meshmark-stranger")
    assert refused.returncode == NoRights.exit_code, refused.stderr
    assert "statefulsets" in refused.stderr
    assert "namespaces" in refused.stderr
    assert "(NotFound)" in cluster.kubectl("get", "namespace", "meshmark-stranger", check=False).stderr


def test_down_leaves_a_namespace_that_it_was_given(cluster: ControlPlane, user: Path) -> None:
    place = "meshmark-given"
    cluster.kubectl("create", "namespace", place)
    cluster.kubectl("label", "namespace", place, OURS)
    assert meshmark(cluster, user, *UP, namespace=place).returncode == ComponentFailed.exit_code
    down = meshmark(cluster, user, *DOWN, namespace=place)
    assert down.returncode == 0, down.stderr
    assert f"namespace/{place} stays" in down.stderr
    kinds = "statefulsets,services,configmaps,serviceaccounts,poddisruptionbudgets"
    assert cluster.kubectl("get", kinds, f"--namespace={place}", f"--selector={OURS}", "--output=name").stdout == ""
    labels = json.loads(cluster.kubectl("get", "namespace", place, "--output=jsonpath={.metadata.labels}").stdout)
    assert labels == {"app.kubernetes.io/managed-by": "meshmark", "kubernetes.io/metadata.name": place}


@pytest.mark.usefixtures("controllers")
def test_down_removes_all_of_it(cluster: ControlPlane, user: Path) -> None:
    meshmark(cluster, user, *UP, namespace="meshmark-down")
    down = meshmark(cluster, user, *DOWN, namespace="meshmark-down")
    assert down.returncode == 0, down.stderr
    assert "(NotFound)" in cluster.kubectl("get", "namespace", "meshmark-down", check=False).stderr
