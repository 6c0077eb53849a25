"""Ambient mode and Linkerd in the place of Istio's sidecars: by which labels and annotations, for which scenario."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from meshmark.backends.kubernetes.asked import MeshKind
from meshmark.cli import app
from meshmark.data_plane import DataPlane
from meshmark.errors import UsageError
from tests.planes import EVERYWHERE
from tests.unit.kubernetes.test_files import read
from tests.unit.kubernetes.test_objects import objects, plan, pod
from tests.unit.kubernetes.test_schemas import judge

Capture = pytest.CaptureFixture[str]
OTHERS = [kind for kind in get_args(MeshKind) if kind != "sidecars"]


def made(mesh: str, **cluster: Any) -> dict[str, Any]:
    """By kind."""
    return objects(plan(DataPlane.ISTIO_MTLS, **cluster), mesh=mesh)


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
    assert said["config.linkerd.io/default-inbound-policy"] == "all-authenticated"
    assert said["config.linkerd.io/proxy-cpu-limit"] == said["config.linkerd.io/proxy-cpu-request"] == "3"
    assert all(isinstance(value, str) for value in said.values())
    assert "PeerAuthentication" not in found


@pytest.mark.parametrize("mesh", OTHERS)
@pytest.mark.parametrize("data_plane", [plane for plane in EVERYWHERE if plane is not DataPlane.ISTIO_MTLS])
def test_a_scenario_without_mtls_of_a_mesh_has_no_other(mesh: str, data_plane: DataPlane) -> None:
    with pytest.raises(UsageError, match="and not istio-mtls"):
        objects(plan(data_plane), mesh=mesh)


@pytest.mark.parametrize(
    ("more", "said"),
    [({"provider": "strimzi"}, "know Istio's sidecars alone"), ({"monitors": {}}, "monitors are of Istio's sidecars")],
)
def test_what_does_not_go_with_it_is_refused(more: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        objects(plan(DataPlane.ISTIO_MTLS), mesh="ambient", **more)


def test_the_verb_writes_them_and_takes_the_last_ones_away(tmp_path: Path, capsys: Capture) -> None:
    export = ["export", "--only", "istio-mtls", "-d", str(tmp_path)]
    assert app.main([*export, "--mesh", "ambient-waypoint"]) == 0
    assert "Istio 1.24 or newer with its ambient profile" in capsys.readouterr().err
    assert (tmp_path / "waypoint.yaml").is_file()
    assert app.main([*export, "--mesh", "linkerd"]) == 0
    assert "needed in the cluster: Linkerd" in capsys.readouterr().err
    listed = read((tmp_path / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    assert {path.name for path in tmp_path.iterdir()} == {"kustomization.yaml", *listed}
    assert app.main([*export, "--mesh", "cilium"]) == 2
    assert "--mesh cilium is not allowed" in capsys.readouterr().err
