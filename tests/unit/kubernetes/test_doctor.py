"""`doctor --backend kubernetes` against a fake API server: what a cluster lacks, and how it gets there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from meshmark.backends.kubernetes import survey
from meshmark.backends.kubernetes.kinds import POD
from meshmark.cli import app, doctor_kubernetes
from meshmark.planfile import builtin
from tests.unit.kubernetes.fake_api import FakeApi

Capture = pytest.CaptureFixture[str]


def pods(fake: FakeApi, *, ready: bool = True) -> None:
    """One of each program, in namespaces of their own."""
    for part in survey.PARTS:
        for program, labels in part.pods.items():
            status = {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]}
            fake.put(POD, program.replace(" ", "-"), "elsewhere", labels=dict(labels), spec={}, status=status)


def doctor(*more: str) -> int:
    return app.main(["doctor", "--backend", "kubernetes", "--context", "fake", *more])


def told(capsys: Capture) -> dict[str, Any]:
    return {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}


@pytest.fixture
def whole(fake: FakeApi) -> FakeApi:
    fake.more = ("policy.linkerd.io/v1beta3", "gateway.networking.k8s.io/v1")
    pods(fake)
    return fake


def test_a_cluster_with_everything_passes_every_check(whole: FakeApi, capsys: Capture) -> None:
    assert doctor("-o", "json") == 0
    found = told(capsys)
    assert {check["status"] for check in found.values()} == {"ok"}
    assert found["ambient mode"]["found"] == "ztunnel: 1 of 1 pods ready; istio-cni: 1 of 1 pods ready"
    assert whole.writes == []


def test_a_mesh_that_no_scenario_needs_is_no_reason_to_stop(fake: FakeApi, capsys: Capture) -> None:
    pods(fake)
    assert doctor("-o", "json") == 0
    found = told(capsys)
    assert (found["Linkerd"]["status"], found["Linkerd"]["needed"]) == ("warning", False)
    assert found["Linkerd"]["found"] == "not installed: no policy.linkerd.io"


def test_a_plan_needs_the_meshes_of_its_data_planes_and_their_rights(fake: FakeApi, capsys: Capture) -> None:
    fake.denied.add(("list", "pods"))
    assert doctor("meshes", "-o", "json") == 1
    found = told(capsys)
    assert [name for name in ("Istio", "ambient mode", "waypoints", "Linkerd") if not found[name]["needed"]] == []
    assert found["rights of run"]["found"].endswith("list pods, list pods in the namespace istio-system")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"absent": ("security.istio.io",)}, "not installed: no security.istio.io/v1"),
        ({"objects": {}}, "istiod does not run"),
    ],
)
def test_a_mesh_that_a_scenario_needs_stops(
    change: dict[str, Any], said: str, whole: FakeApi, capsys: Capture
) -> None:
    for name, value in change.items():
        setattr(whole, name, value)
    assert doctor() == 1
    shown = capsys.readouterr().out
    assert f"× Istio                {said}" in shown
    assert "missing: Istio" in shown


def test_a_program_whose_pods_are_not_ready_is_told(fake: FakeApi, capsys: Capture) -> None:
    pods(fake, ready=False)
    assert doctor("-o", "json") == 1
    assert told(capsys)["Istio"]["found"] == "istiod: 0 of 1 pods ready"


def test_what_this_user_may_not_see_is_not_called_absent(whole: FakeApi, capsys: Capture) -> None:
    whole.denied.add(("list", "pods"))
    assert doctor("-o", "json") == 1, "the right is needed, elsewhere"
    found = told(capsys)
    assert (found["Istio"]["status"], found["Istio"]["found"]) == (
        "warning",
        "whether istiod runs, this user may not see",
    )
    assert found["rights of run"]["found"].endswith("missing in the namespace meshmark-plain: list pods")


def test_a_cluster_that_is_too_old_is_told(whole: FakeApi, capsys: Capture) -> None:
    whole.version = "v1.26.9"
    assert doctor("-o", "json", "-n", "mine") == 1
    found = told(capsys)
    assert (found["Kubernetes"]["status"], found["Kubernetes"]["found"]) == ("missing", "v1.26.9")
    assert found["rights of run"]["found"] == "all are there, in the namespace mine"


def test_how_to_install_is_said_for_the_tool_that_is_there() -> None:
    lacking = survey.Survey(
        version="v1.37.0",
        namespace="mine",
        lacking=(),
        parts=tuple(survey.Found(part=part, absent=("x",), pods={}) for part in survey.PARTS),
    )

    def hints(*tools: str) -> dict[str, str]:
        found = doctor_kubernetes.checks(
            lacking, builtin("banzai-2019"), "mine", lambda name: name if name in tools else None
        )
        return {check.name: check.hint for check in found}

    assert hints("istioctl", "helm")["Istio"] == (
        "Install it: `meshmark install istio --context mine` runs: istioctl --context mine install -y"
    )
    assert hints("helm")["ambient mode"].count("helm --kube-context mine upgrade --install") == 4
    assert hints()["Linkerd"].startswith("linkerd installs it; none is on PATH. With linkerd: linkerd --context mine")
    assert "ambient-waypoint alone" in hints()["waypoints"]
    assert all(hints().values())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--context", "fake"], "say nothing to the backend lab"),
        (["--backend", "simulated"], "the backend simulated is not looked at"),
        (["--backend", "kubernetes", "--context", "fake", "-n", "kube-system"], "kube-system is not ours alone"),
    ],
)
def test_what_cannot_be_meant_is_refused(options: list[str], said: str, fake: FakeApi, capsys: Capture) -> None:
    assert app.main(["doctor", *options]) == 2
    assert said in capsys.readouterr().err
    assert fake.used == set()
