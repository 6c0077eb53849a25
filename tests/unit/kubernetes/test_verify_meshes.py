"""`verify` of what ambient mode and Linkerd go by: as meshmark itself writes it nothing is found, and whatever is
missing or other is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from meshmark.analysis.verify.encryption import encryption_findings
from meshmark.analysis.verify.meshes import mesh_findings, own_proofs
from meshmark.backends.kubernetes import manifests, yaml_text
from meshmark.backends.kubernetes.measured import LoadPods, measured
from meshmark.data_plane import DataPlane
from meshmark.plan import Plan
from meshmark.record import Proof
from tests.unit.kubernetes.test_node_proxies import FROM_CLIENTS, THROUGH
from tests.unit.kubernetes.test_objects import asked, plan

OTHERS = [plane for plane in DataPlane if plane.mesh in ("ambient", "linkerd")]


class Round:
    """The part of a round that says where a file of it is."""

    def file(self, name: str) -> str:
        return name


def texts(of: Plan) -> dict[str, str]:
    """As a run keeps them."""
    [scenario] = of.scenarios
    target = asked(of)
    made = measured(manifests(of, scenario, target), scenario, target, LoadPods(image="meshmark:1"))
    found = {}
    for each in made:
        workload = each.body["kind"] == "StatefulSet"
        found[f"{each.body['metadata']['name']}.statefulset.yaml" if workload else each.file] = yaml_text(each.body)
    if scenario.data_plane.mesh == "ambient":
        return {**found, "n1.ztunnel.version": "1.31.0\n"}
    hosts = [*(f"broker-{number}" for number in (1, 2, 3)), "client-1"]
    return {**found, **{f"{host}.linkerd.version": "2.352.0\n" for host in hosts}}


def findings(of: Plan, found: dict[str, str]) -> list[Any]:
    return list(mesh_findings(Round(), of.scenarios[0], found))  # type: ignore[arg-type]


@pytest.mark.parametrize("plane", OTHERS)
def test_what_meshmark_writes_is_what_is_looked_for(plane: DataPlane) -> None:
    assert findings(plan(plane), texts(plan(plane))) == []


@pytest.mark.parametrize(
    ("plane", "file", "word"),
    [
        (DataPlane.AMBIENT, "namespace.yaml", "dataplane-mode: ambient"),
        (DataPlane.AMBIENT, "peer-authentication.yaml", "STRICT"),
        (DataPlane.AMBIENT_WAYPOINT, "namespace.yaml", "use-waypoint: waypoint"),
        (DataPlane.AMBIENT_WAYPOINT, "waypoint.yaml", "kind: Gateway"),
        (DataPlane.LINKERD, "broker.statefulset.yaml", "opaque-ports"),
        (DataPlane.LINKERD, "broker.statefulset.yaml", "require-identity"),
        (DataPlane.LINKERD, "client.statefulset.yaml", "inject: enabled"),
        (DataPlane.LINKERD, "service.yaml", "opaque-ports"),
        (DataPlane.LINKERD_SKIP, "client.statefulset.yaml", "skip-outbound-ports"),
    ],
)
def test_what_is_other_or_missing_is_found(plane: DataPlane, file: str, word: str) -> None:
    of, whole = plan(plane), texts(plan(plane))
    assert word in whole[file]
    [changed] = findings(of, {**whole, file: whole[file].replace(word, "other")})
    assert (changed.file, changed.recorded.startswith("no line")) == (f"config/{file}", True)
    del whole[file]
    assert {(each.file, each.recorded) for each in findings(of, whole)} == {(f"config/{file}", "no such file")}


def test_proxies_that_said_no_version_are_found() -> None:
    of, whole = plan(DataPlane.LINKERD), texts(plan(DataPlane.LINKERD))
    del whole["broker-2.linkerd.version"]
    assert [each.file for each in findings(of, whole)] == ["config/broker-2.linkerd.version"]
    of, whole = plan(DataPlane.AMBIENT), texts(plan(DataPlane.AMBIENT))
    del whole["n1.ztunnel.version"]
    assert [each.recorded for each in findings(of, whole)] == ["no version of any ztunnel"]


def test_other_data_planes_have_no_such_findings() -> None:
    for plane in (DataPlane.PLAIN, DataPlane.ISTIO_MTLS):
        assert findings(plan(plane), {}) == []


def lacking(of: Plan, proofs: list[Proof]) -> list[str]:
    data = SimpleNamespace(finished=None, trials=(1,), proofs=proofs)
    round_ = SimpleNamespace(file=lambda name: name, data=data)
    run = SimpleNamespace(rounds=())
    found = encryption_findings(run, round_, of.scenarios[0])  # type: ignore[arg-type]
    return [each.recorded for each in found]


COUNTED = {
    DataPlane.AMBIENT: ["ztunnel"],
    DataPlane.AMBIENT_WAYPOINT: ["ztunnel", "waypoint"],
    DataPlane.LINKERD: [f"broker-{number}" for number in (1, 2, 3)] + ["client-1"],
    DataPlane.LINKERD_SKIP: [],
}


@pytest.mark.parametrize("plane", OTHERS)
def test_what_only_a_proxys_own_counters_show_is_missed(plane: DataPlane) -> None:
    of = plan(plane)
    answered = [Proof(name="is answered", host=f"broker-{n}", holds=True, detail="") for n in (1, 2, 3)]
    shown = list(own_proofs(of.scenarios[0]))
    assert set(COUNTED[plane]) <= {host for host, _ in shown}
    whole = [*answered, *(Proof(name=words, host=host, holds=True, detail="") for host, words in shown)]
    assert lacking(of, whole) == []
    for host, words in shown:
        without = [proof for proof in whole if (proof.host, proof.name) != (host, words)]
        assert lacking(of, without) == [f"no proof at {host} with the words: {words}"]


def test_the_words_are_those_of_the_proofs_that_a_run_makes() -> None:
    words = dict(own_proofs(plan(DataPlane.AMBIENT_WAYPOINT).scenarios[0]))
    assert words["ztunnel"] in FROM_CLIENTS
    assert words["waypoint"] in THROUGH
