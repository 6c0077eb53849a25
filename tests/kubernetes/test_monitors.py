"""`--monitors` on a real API server that knows the Prometheus Operator's kinds, by the operator's own definitions."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshmark.backends.kubernetes.kinds import MONITORING
from meshmark.errors import ComponentFailed, ObjectRefused
from tests.kubernetes import crds
from tests.kubernetes.controlplane import ControlPlane
from tests.kubernetes.test_verbs import UP, meshmark

KINDS = "podmonitors,prometheusrules,configmaps"
OURS = "--selector=app.kubernetes.io/managed-by=meshmark"
MONITORS = [
    "configmap/broker-config",
    "configmap/meshmark-dashboard",
    f"prometheusrule.{MONITORING}/broker",
]


@pytest.fixture
def operator(cluster: ControlPlane) -> Iterator[None]:
    """The kinds, for one test."""
    crds.install(cluster, "PodMonitor", "PrometheusRule")
    yield
    names = [f"{plural}.{MONITORING}" for plural in ("podmonitors", "prometheusrules")]
    cluster.kubectl("delete", "customresourcedefinitions", *names)


def found(cluster: ControlPlane, namespace: str) -> list[str]:
    return sorted(cluster.kubectl("get", KINDS, f"--namespace={namespace}", OURS, "--output=name").stdout.split())


def test_a_cluster_without_the_operator_is_told_and_nothing_is_made(cluster: ControlPlane, user: Path) -> None:
    place = "meshmark-unmonitored"
    refused = meshmark(cluster, user, *UP, "--monitors", namespace=place)
    assert refused.returncode == ObjectRefused.exit_code, refused.stderr
    assert "no kind PrometheusRule (monitoring.coreos.com)" in refused.stderr
    assert "(NotFound)" in cluster.kubectl("get", "namespace", place, check=False).stderr


@pytest.mark.usefixtures("operator")
def test_monitors_come_with_up_stay_as_they_are_and_go_without(cluster: ControlPlane, user: Path) -> None:
    place = "meshmark-monitored"
    cluster.kubectl("create", "namespace", place)
    cluster.kubectl("label", "namespace", place, "app.kubernetes.io/managed-by=meshmark")
    options = ("--monitors", "--monitor-label", "release=prometheus")
    up = meshmark(cluster, user, *UP, *options, namespace=place)
    assert up.returncode == ComponentFailed.exit_code, up.stderr
    assert found(cluster, place) == MONITORS
    nothing = meshmark(cluster, user, "diff", *options, namespace=place)
    assert (nothing.returncode, nothing.stdout) == (0, ""), nothing.stderr
    assert meshmark(cluster, user, *UP, namespace=place).returncode == ComponentFailed.exit_code
    assert found(cluster, place) == MONITORS[:1]
    meshmark(cluster, user, *UP, *options, namespace=place)
    assert found(cluster, place) == MONITORS
    assert meshmark(cluster, user, "down", "--backend", "kubernetes", namespace=place).returncode == 0
    assert found(cluster, place) == []


@pytest.mark.usefixtures("operator")
def test_the_operators_definitions_take_the_export_of_a_mesh_and_refuse_a_wrong_key(
    cluster: ControlPlane, tmp_path: Path
) -> None:
    argv = [sys.executable, "-m", "meshmark", "export", "--only", "istio-mtls", "-d", str(tmp_path), "--monitors"]
    subprocess.run(argv, check=True, capture_output=True)
    apply = ("apply", "--server-side", "--validate=strict", "--dry-run=server")
    cluster.kubectl("apply", "--server-side", f"--filename={tmp_path}/namespace.yaml")
    for name in ("pod-monitor.yaml", "prometheus-rule.yaml", "dashboard.yaml"):
        cluster.kubectl(*apply, f"--filename={tmp_path}/{name}")
    for name, right, wrong in (
        ("pod-monitor.yaml", "podMetricsEndpoints:", "podMetricsEndpoint:"),
        ("prometheus-rule.yaml", "alert:", "alerts:"),
    ):
        text = (tmp_path / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text.replace(right, wrong), encoding="utf-8")
        refused = cluster.kubectl(*apply, f"--filename={tmp_path}/{name}", check=False)
        assert refused.returncode != 0
        assert wrong.rstrip(":") in refused.stderr
