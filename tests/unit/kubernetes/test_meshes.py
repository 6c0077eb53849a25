"""Ambient mode and Linkerd as data planes: by which labels and annotations, and what of them others may change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from meshmark.backends.kubernetes.meshes import amiss, service_amiss
from meshmark.cli import app
from meshmark.data_plane import DataPlane
from meshmark.errors import UsageError
from tests.unit.kubernetes.test_files import read
from tests.unit.kubernetes.test_objects import objects, plan, pod
from tests.unit.kubernetes.test_schemas import judge

Capture = pytest.CaptureFixture[str]
OTHERS = [plane for plane in DataPlane if plane.mesh in ("ambient", "linkerd")]


def made(plane: str, **cluster: Any) -> dict[str, Any]:
    """By kind."""
    return objects(plan(DataPlane(plane), **cluster))


@pytest.mark.parametrize("mesh", OTHERS)
def test_every_object_is_one_of_the_api_and_names_the_mesh(mesh: str) -> None:
    for body in made(mesh).values():
        assert [error.message for error in judge(body).iter_errors(body)] == []
        assert body["metadata"]["labels"]["meshmark/data-plane"] == mesh


@pytest.mark.parametrize("mesh", OTHERS)
def test_nobody_has_a_sidecar_of_istios_and_brokers_are_as_with_one(mesh: str) -> None:
    here, there = made(mesh), objects(plan(DataPlane.ISTIO_MTLS))
    assert pod(here)["metadata"]["labels"]["sidecar.istio.io/inject"] == "false"
    assert here["Namespace"]["metadata"]["labels"]["istio-injection"] == "disabled"
    assert not any(key.endswith("istio.io/config") for key in pod(here)["metadata"]["annotations"])
    assert "DestinationRule" not in here
    assert pod(here)["spec"] == pod(there)["spec"]
    assert here["ConfigMap"]["data"] == there["ConfigMap"]["data"]


def test_ambient_is_a_label_of_the_namespace_and_strict() -> None:
    found = made("ambient")
    assert found["Namespace"]["metadata"]["labels"]["istio.io/dataplane-mode"] == "ambient"
    assert "istio.io/use-waypoint" not in found["Namespace"]["metadata"]["labels"]
    assert found["PeerAuthentication"]["spec"] == {"mtls": {"mode": "STRICT"}}
    assert "Gateway" not in found


def test_a_waypoint_is_there_for_workloads_too_and_is_used() -> None:
    found = made("ambient-waypoint")
    gateway = found["Gateway"]
    assert found["Namespace"]["metadata"]["labels"]["istio.io/use-waypoint"] == gateway["metadata"]["name"]
    assert gateway["metadata"]["labels"]["istio.io/waypoint-for"] == "all"
    assert found["PeerAuthentication"]["spec"] == {"mtls": {"mode": "STRICT"}}


@pytest.mark.parametrize(
    ("mesh", "opaque", "skipped"), [("linkerd", "9092", "9093"), ("linkerd-skip", None, "9092,9093")]
)
def test_linkerd_carries_kafkas_port_unread_or_not_at_all(mesh: str, opaque: str | None, skipped: str) -> None:
    found = made(mesh, sidecar_concurrency=3)
    said = pod(found)["metadata"]["annotations"]
    assert said["linkerd.io/inject"] == "enabled"
    assert said["config.linkerd.io/skip-inbound-ports"] == said["config.linkerd.io/skip-outbound-ports"] == skipped
    service = found["Service"]["metadata"].get("annotations", {})
    assert said.get("config.linkerd.io/opaque-ports") == service.get("config.linkerd.io/opaque-ports") == opaque
    assert said["config.linkerd.io/proxy-cpu-limit"] == said["config.linkerd.io/proxy-cpu-request"] == "3"
    assert all(isinstance(value, str) for value in said.values())
    assert "PeerAuthentication" not in found


def refused_by_linkerd(annotations: dict[str, str], port: int) -> bool:
    """Is it, to who has no identity? The proxy's own port of metrics (4191) is one like any other."""
    alone = annotations.get("config.linkerd.io/proxy-require-identity-inbound-ports", "").split(",")
    default = annotations["config.linkerd.io/default-inbound-policy"]
    return default == "all-authenticated" or str(port) in alone


@pytest.mark.parametrize(("mesh", "refused"), [("linkerd", [9092]), ("linkerd-skip", [])])
def test_linkerd_refuses_strangers_at_kafkas_port_and_shows_its_metrics_to_all(mesh: str, refused: list[int]) -> None:
    said = pod(made(mesh))["metadata"]["annotations"]
    assert [port for port in (4191, 9092, 9093) if refused_by_linkerd(said, port)] == refused


@pytest.mark.parametrize("plane", OTHERS)
@pytest.mark.parametrize("provider", ["strimzi", "koperator"])
def test_operators_know_istios_sidecars_alone(provider: str, plane: DataPlane) -> None:
    with pytest.raises(UsageError, match=f"the data plane {plane} cannot be had: objects for {provider} know"):
        objects(plan(plane, operator=provider))


def test_what_linkerd_is_not_told_is_found_in_pods_and_services() -> None:
    opaque = {"config.linkerd.io/opaque-ports": "25,9092"}
    assert amiss(DataPlane.LINKERD, opaque) == ""
    assert amiss(DataPlane.LINKERD, {}) == "has no port 9092 in config.linkerd.io/opaque-ports"
    assert amiss(DataPlane.LINKERD_SKIP, opaque) == "has no port 9092 in config.linkerd.io/skip-inbound-ports"
    assert amiss(DataPlane.AMBIENT, {}) == amiss(DataPlane.ISTIO_MTLS, {}) == ""
    for plane in DataPlane:
        if "kubernetes" in plane.backends:
            assert service_amiss(plane, objects(plan(plane))["Service"]) == ""


def test_a_service_whose_port_a_proxy_would_look_into_is_found() -> None:
    service = made("linkerd")["Service"]
    [kafka, controller] = service["spec"]["ports"]
    bare = {**service, "metadata": {"name": "kafka"}}
    assert service_amiss(DataPlane.LINKERD, bare).startswith("has no port 9092 in config.linkerd.io/opaque-ports")
    assert service_amiss(DataPlane.LINKERD_SKIP, bare) == ""
    sniffed = {**service, "spec": {"ports": [{"port": 9092}, controller]}}
    for plane in (DataPlane.ISTIO_MTLS, DataPlane.AMBIENT, DataPlane.LINKERD):
        assert "would look for HTTP in it" in service_amiss(plane, sniffed)
    assert service_amiss(DataPlane.PLAIN, sniffed) == ""
    assert service_amiss(DataPlane.PLAIN, {**service, "spec": {}}) == "has no port 9092"
    assert kafka["appProtocol"] == "tcp"


def test_the_verb_writes_them_and_takes_the_last_ones_away(tmp_path: Path, capsys: Capture) -> None:
    export = ["export", "-f", "meshes", "-d", str(tmp_path), "--only"]
    assert app.main([*export, "ambient-waypoint"]) == 0
    assert "Istio 1.24 or newer with its ambient profile" in capsys.readouterr().err
    assert (tmp_path / "waypoint.yaml").is_file()
    assert app.main([*export, "linkerd"]) == 0
    assert "needed in the cluster: Linkerd" in capsys.readouterr().err
    listed = read((tmp_path / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    assert {path.name for path in tmp_path.iterdir()} == {"kustomization.yaml", *listed}
    assert app.main([*export, "cilium"]) == 2
