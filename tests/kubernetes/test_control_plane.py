"""The real API server does what the Kubernetes backend builds upon, and nothing of the cluster outlives it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshmark.backends.lab.instance import reclaim, stored_instances
from tests.kubernetes import build
from tests.kubernetes.controlplane import ControlPlane
from tests.lab.ground import ENVIRONMENT, wait_for
from tests.lab.runs import processes

WAIT = "--timeout=120s"
FIRST, SECOND = "--field-manager=first", "--field-manager=second"


@pytest.fixture
def namespace(cluster: ControlPlane, request: pytest.FixtureRequest) -> Iterator[str]:
    name = request.node.name.replace("_", "-")[:63].rstrip("-")
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def settings(namespace: str, **data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "settings", "namespace": namespace},
        "data": data,
    }


def apply(cluster: ControlPlane, body: object, *flags: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return cluster.kubectl("apply", "--server-side", "--filename=-", *flags, stdin=body, check=check)


def read(cluster: ControlPlane, *names: str) -> Any:
    return json.loads(cluster.kubectl("get", *names, "--output=json").stdout)


def may(cluster: ControlPlane, kubeconfig: Path, verb: str, resource: str, namespace: str) -> bool:
    asked = {"verb": verb, "resource": resource, "namespace": namespace}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": asked},
    }
    arguments = ("create", "--filename=-", "--output=json", "--validate=false")
    answer = json.loads(cluster.kubectl(*arguments, kubeconfig=kubeconfig, stdin=review).stdout)
    return bool(answer["status"]["allowed"])


def test_the_server_is_of_the_version_that_was_asked_for(cluster: ControlPlane) -> None:
    said = json.loads(cluster.kubectl("version", "--output=json").stdout)
    assert said["serverVersion"]["gitVersion"] == f"v{build.version()}"


@pytest.mark.usefixtures("controllers")
def test_controllers_complete_a_new_namespace(cluster: ControlPlane, namespace: str) -> None:
    names = ("serviceaccount/default", "configmap/kube-root-ca.crt")
    cluster.kubectl("wait", "--for=create", *names, "--namespace", namespace, WAIT)


@pytest.mark.usefixtures("controllers")
def test_the_scheduler_says_why_a_pod_has_no_node(cluster: ControlPlane, namespace: str) -> None:
    cluster.kubectl("wait", "--for=create", "serviceaccount/default", "--namespace", namespace, WAIT)
    cluster.kubectl("run", "idle", "--image=none.invalid/idle", "--namespace", namespace)
    cluster.kubectl("wait", "--for=condition=PodScheduled=False", "pod/idle", "--namespace", namespace, WAIT)
    conditions = read(cluster, "pod", "idle", "--namespace", namespace)["status"]["conditions"]
    assert [(each["type"], each["reason"]) for each in conditions] == [("PodScheduled", "Unschedulable")]


def test_what_another_manager_owns_is_a_conflict_until_it_is_forced(cluster: ControlPlane, namespace: str) -> None:
    apply(cluster, settings(namespace, size="1", kept="yes"), FIRST)
    refused = apply(cluster, settings(namespace, size="2"), SECOND, check=False)
    assert refused.returncode == 1
    assert 'conflict with "first": .data.size' in refused.stderr
    assert read(cluster, "configmap", "settings", "--namespace", namespace)["data"] == {"size": "1", "kept": "yes"}
    apply(cluster, settings(namespace, size="2"), SECOND, "--force-conflicts")
    assert read(cluster, "configmap", "settings", "--namespace", namespace)["data"] == {"size": "2", "kept": "yes"}


def test_a_dry_run_is_judged_and_not_kept(cluster: ControlPlane, namespace: str) -> None:
    body = settings(namespace, size="1")
    assert "(server dry run)" in apply(cluster, body, "--dry-run=server").stdout
    ours = ("configmap", "--namespace", namespace, "--field-selector=metadata.name=settings")
    assert read(cluster, *ours)["items"] == []
    refused = apply(cluster, body | {"data": {"size": 1}}, "--dry-run=server", check=False)
    assert refused.returncode == 1
    assert "expected string" in refused.stderr


def test_an_account_has_the_rights_of_its_role_and_no_others(cluster: ControlPlane, namespace: str) -> None:
    cluster.kubectl("create", "role", "reader", "--verb=get", "--resource=configmaps", "--namespace", namespace)
    kubeconfig = cluster.account("reader", namespace, within=["role=reader"])
    apply(cluster, settings(namespace, size="1"))
    assert may(cluster, kubeconfig, "get", "configmaps", namespace)
    assert not may(cluster, kubeconfig, "delete", "configmaps", namespace)
    assert not may(cluster, kubeconfig, "get", "configmaps", "default")
    cluster.kubectl("get", "configmap", "settings", kubeconfig=kubeconfig)
    refused = cluster.kubectl("delete", "configmap", "settings", kubeconfig=kubeconfig, check=False)
    assert "(Forbidden)" in refused.stderr
    assert f'"system:serviceaccount:{namespace}:reader" cannot delete resource "configmaps"' in refused.stderr


def test_a_cluster_whose_owner_is_killed_leaves_no_process_and_the_next_start_removes_the_rest(tmp_path: Path) -> None:
    before = set(stored_instances())
    kubeconfig = tmp_path / "admin.kubeconfig"
    argv = [sys.executable, "-m", "tests.kubernetes.up", "--kubeconfig", str(kubeconfig)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=os.environ | ENVIRONMENT) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith(f"Kubernetes {build.version()} at https://127.0.0.1:")
            [left] = set(stored_instances()) - before
            assert len(processes(left.name)) >= len({"etcd", "kube-apiserver"})
        finally:
            process.kill()
    wait_for(lambda: processes(left.name) == [], "a part outlives its owner")
    assert left.is_dir()
    assert [line for line in reclaim() if str(left) in line]
    assert not left.exists()
