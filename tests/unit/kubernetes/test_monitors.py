"""Monitors, alert rules and the dashboard as objects: only where they are asked for, and by their own schemas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from meshmark.backends.kubernetes import manifests, target
from meshmark.backends.kubernetes.monitors import DASHBOARD
from meshmark.cli import app
from meshmark.data_plane import DataPlane
from tests.planes import EVERYWHERE, everywhere
from tests.unit.kubernetes.fake_api import FakeApi
from tests.unit.kubernetes.test_cluster import main
from tests.unit.kubernetes.test_files import read
from tests.unit.kubernetes.test_schemas import judge

Capture = pytest.CaptureFixture[str]
ALWAYS = ["prometheusrule/broker", "configmap/meshmark-dashboard"]
KEPT_BYTES = 262_144
"""What all annotations of an object may hold: `kubectl apply` keeps all of it in one."""


def made(data_plane: DataPlane, monitors: dict[str, str] | None) -> dict[str, Any]:
    """By kind and name."""
    plan = everywhere()
    scenario = plan.scenarios[0].model_copy(update={"name": str(data_plane), "data_plane": data_plane})
    asked = target(plan, scenario, kafka_version="4.4.0", namespace="mine", monitors=monitors)
    found = [each.body for each in manifests(plan, scenario, asked)]
    return {f"{body['kind'].lower()}/{body['metadata']['name']}": body for body in found}


@pytest.mark.parametrize("data_plane", [*EVERYWHERE, DataPlane.AMBIENT, DataPlane.LINKERD])
def test_they_are_made_where_they_are_asked_for(data_plane: DataPlane) -> None:
    without, beside = made(data_plane, None), made(data_plane, {})
    scraped = ["podmonitor/broker"] if data_plane.has_sidecar("broker") else []
    assert [name for name in beside if name not in without] == [*scraped, *ALWAYS]
    assert {name: beside[name] for name in without} == without, "what is measured is the same"


@pytest.mark.parametrize("data_plane", [*EVERYWHERE, DataPlane.AMBIENT, DataPlane.LINKERD])
def test_the_operator_knows_every_key(data_plane: DataPlane) -> None:
    for body in made(data_plane, {"release": "prometheus"}).values():
        assert [error.message for error in judge(body).iter_errors(body)] == []


def test_a_mistake_in_them_is_found() -> None:
    found = made(DataPlane.ISTIO, {})
    found["podmonitor/broker"]["spec"]["podMetricsEndpoints"][0]["ports"] = []
    found["prometheusrule/broker"]["spec"]["groups"][0]["rules"][0]["for"] = "soon"
    for name in ("podmonitor/broker", "prometheusrule/broker"):
        assert list(judge(found[name]).iter_errors(found[name])) != []


@pytest.mark.parametrize(
    ("data_plane", "port", "path"),
    [
        (DataPlane.ISTIO_MTLS, "http-envoy-prom", "/stats/prometheus"),
        (DataPlane.LINKERD, "linkerd-admin", "/metrics"),
    ],
)
def test_the_sidecars_of_the_brokers_are_scraped_and_told_apart_by_scenario(
    data_plane: DataPlane, port: str, path: str
) -> None:
    found = made(data_plane, {})
    spec, pod = found["podmonitor/broker"]["spec"], found["statefulset/broker"]["spec"]["template"]["metadata"]
    assert spec["selector"]["matchLabels"].items() <= pod["labels"].items()
    assert set(spec["podTargetLabels"]) <= set(pod["labels"])
    [endpoint] = spec["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["path"]) == (port, path)


def test_rules_are_the_runs_and_those_of_this_namespaces_pods() -> None:
    spec = made(DataPlane.PLAIN, {})["prometheusrule/broker"]["spec"]
    assert [group["name"] for group in spec["groups"]] == ["meshmark-records", "meshmark-alerts", "meshmark-pods"]
    for rule in spec["groups"][-1]["rules"]:
        assert 'namespace="mine"' in rule["expr"]
    assert "NAMESPACE" not in json.dumps(spec)


def test_the_dashboard_is_the_projects_own_and_grafana_finds_it() -> None:
    body = made(DataPlane.PLAIN, {})["configmap/meshmark-dashboard"]
    assert body["metadata"]["labels"]["grafana_dashboard"] == "1"
    [text] = body["data"].values()
    assert json.loads(text) == json.loads(DASHBOARD.read_text(encoding="utf-8"))
    assert len(json.dumps(body)) < KEPT_BYTES


def test_labels_by_which_a_prometheus_chooses_stand_beside_ours() -> None:
    found = made(DataPlane.ISTIO, {"release": "prometheus", "app.kubernetes.io/managed-by": "helm"})
    for name in ("podmonitor/broker", "prometheusrule/broker"):
        labels = found[name]["metadata"]["labels"]
        assert (labels["release"], labels["app.kubernetes.io/managed-by"]) == ("prometheus", "meshmark")


def test_up_applies_them_a_second_one_without_removes_them_and_down_leaves_none(fake: FakeApi) -> None:
    assert main("up", "--monitors", only="istio") == 0
    theirs = {"podmonitor/broker", *ALWAYS}
    assert theirs <= set(fake.writes)
    fake.writes.clear()
    assert main("up", "--monitors", only="istio") == 0
    assert fake.writes == []
    assert main("up", only="istio") == 0
    assert set(fake.writes) == {f"removed {name}" for name in theirs}
    assert main("up", "--monitors", only="istio") == 0
    assert main("down", only="istio") == 0
    assert fake.names() == []


def test_an_export_has_them_and_one_without_takes_them_away(tmp_path: Path, capsys: Capture) -> None:
    export = ["export", "--only", "istio", "-d", str(tmp_path)]
    assert app.main([*export, "--monitors", "--monitor-label", "release=prometheus"]) == 0
    assert "the Prometheus Operator" in capsys.readouterr().err
    files = {"pod-monitor.yaml", "prometheus-rule.yaml", "dashboard.yaml"}
    assert files < set(read((tmp_path / "kustomization.yaml").read_text(encoding="utf-8"))["resources"])
    assert read((tmp_path / "pod-monitor.yaml").read_text(encoding="utf-8"))["metadata"]["labels"]["release"]
    assert app.main(export) == 0
    assert not files & {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--monitors", "--monitor-label", "release"], "--monitor-label release is not allowed"),
        (["--monitors", "--monitor-label", "a b=c"], "a b=c is no label of Kubernetes"),
        (["--monitors", "--monitor-label", "a=b c"], "a=b c is no label of Kubernetes"),
        (["--monitor-label", "a=b"], "--monitor-label is of --monitors, which is not given"),
    ],
)
def test_labels_that_cannot_be_are_refused(options: list[str], said: str, tmp_path: Path, capsys: Capture) -> None:
    assert app.main(["export", "--only", "plain", "-d", str(tmp_path / "out"), *options]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
