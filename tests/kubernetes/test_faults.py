"""What keeps pods from starting, as real controllers, scheduler and kubelet say it; and that `down` still works."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from meshmark.errors import ComponentFailed, NotOurs
from tests.kubernetes import verbs
from tests.kubernetes.controlplane import ControlPlane
from tests.kubernetes.credentials import CONTEXT

OURS = "app.kubernetes.io/managed-by=meshmark"


def on(cluster: ControlPlane, user: Path, place: str, verb: str, *more: str) -> subprocess.CompletedProcess[str]:
    where = ("--backend", "kubernetes", "--only", "plain", "-n", place)
    return verbs.meshmark(cluster, user, verb, *where, "--timeout", more[0], *more[1:])


def down(cluster: ControlPlane, user: Path, place: str) -> None:
    gone = on(cluster, user, place, "down", "240")
    assert gone.returncode == 0, gone.stderr
    assert cluster.kubectl("get", "pods", f"--namespace={place}", "--output=name").stdout == ""


@pytest.mark.usefixtures("controllers")
def test_a_quota_and_a_node_that_is_not_there_are_told_by_the_objects_own_events(
    cluster: ControlPlane, user: Path
) -> None:
    place = "meshmark-quota"
    cluster.kubectl("create", "namespace", place)
    cluster.kubectl("label", "namespace", place, OURS)
    cluster.kubectl("create", "quota", "small", "--hard=pods=1", f"--namespace={place}")
    up = on(cluster, user, place, "up", "10")
    assert up.returncode == ComponentFailed.exit_code, up.stderr
    assert "| statefulset/broker: FailedCreate: " in up.stderr
    assert "exceeded quota: small" in up.stderr
    assert "| broker-1: not placed on a node: Unschedulable: no nodes available to schedule pods" in up.stderr
    assert "| pod/broker-1: FailedScheduling: no nodes available to schedule pods" in up.stderr
    down(cluster, user, place)


def test_an_image_that_cannot_be_had_is_told_by_the_pods_own_events(one_node: ControlPlane, node_user: Path) -> None:
    place = "meshmark-image"
    small = ("--share-nodes", "--cpus", "1", "--memory", "768Mi", "--heap", "256Mi")
    up = on(one_node, node_user, place, "up", "40", *small, "--image", "example.invalid/kafka:1")
    assert up.returncode == ComponentFailed.exit_code, up.stderr
    assert "| broker-1: kafka waits: " in up.stderr
    assert '| pod/broker-1: Failed: Failed to pull image "example.invalid/kafka:1"' in up.stderr
    down(one_node, node_user, place)


@pytest.mark.usefixtures("controllers")
def test_a_namespace_that_was_made_anew_is_not_removed_for_the_old_one(cluster: ControlPlane, user: Path) -> None:
    place = "meshmark-anew"
    cluster.kubectl("create", "namespace", place)
    code = (
        "from meshmark.backends.kubernetes.contexts import connect, contexts\n"
        f"connect(contexts(), {CONTEXT!r}).remove_namespace({place!r}, 'another')"
    )
    done = verbs.python(cluster, user, code)
    assert f"{NotOurs.__name__}: removing namespace/{place}: it was removed and made anew" in done.stderr
    assert cluster.kubectl("get", "namespace", place, "--output=jsonpath={.status.phase}").stdout == "Active"
