"""Brokers that an operator makes, in plans, records and reports: who encrypts which hop, and what is like for like."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from meshmark import planfile, store
from meshmark.analysis import likeness
from meshmark.analysis.summary import summarize
from meshmark.analysis.verify import verify
from meshmark.data_plane import BROKER_BROKER, CLIENT_BROKER, DataPlane
from meshmark.errors import UsageError
from meshmark.plan import ClusterSpec, Plan, Scenario
from meshmark.planfile import provided
from meshmark.report.table import table
from tests.mutants.record import change, forge, lines, put, round_of, write_lines
from tests.unit.test_conductor import plan_of, run
from tests.unit.test_verify import files

PLANES = (DataPlane.PLAIN, DataPlane.KAFKA_TLS, DataPlane.ISTIO, DataPlane.ISTIO_MTLS)
KAFKA_ALONE = {"broker-broker": "kafka", "controller": "kafka"}


def scenario(data_plane: DataPlane, operator: str, *, replication_in_mesh: bool = False) -> Scenario:
    spec = ClusterSpec.model_validate({"operator": operator, "replication_in_mesh": replication_in_mesh})
    return Scenario(name="it", data_plane=data_plane, cluster=spec)


@pytest.mark.parametrize("data_plane", PLANES)
def test_koperators_brokers_are_encrypted_as_meshmarks_own(data_plane: DataPlane) -> None:
    own, koperators = scenario(data_plane, ""), scenario(data_plane, "koperator")
    assert own.encrypted_by == koperators.encrypted_by == data_plane.encrypted_by
    assert own.plain_hops == koperators.plain_hops == data_plane.plain_hops
    assert all(own.carries(hop) == data_plane.carries(hop) for hop in (BROKER_BROKER, CLIENT_BROKER))


def test_strimzis_brokers_encrypt_among_each_other_whatever_the_data_plane_is() -> None:
    found = {plane: scenario(plane, "strimzi") for plane in PLANES}
    clients = {DataPlane.KAFKA_TLS: {"client-broker": "kafka"}, DataPlane.ISTIO_MTLS: {"client-broker": "envoy"}}
    assert {plane: each.encrypted_by for plane, each in found.items()} == {
        plane: {**clients.get(plane, {}), **KAFKA_ALONE} for plane in PLANES
    }
    assert found[DataPlane.PLAIN].plain_hops == ("client-broker",)
    assert [each.layers(BROKER_BROKER) for each in found.values()] == [1, 1, 1, 1]
    assert not any(each.carries(BROKER_BROKER) for each in found.values()), "past the sidecars"
    assert [each.carries(CLIENT_BROKER) for each in found.values()] == [False, False, True, True]


def test_replication_that_passes_the_mesh_as_well_is_encrypted_twice_where_that_encrypts() -> None:
    inside = {plane: scenario(plane, "strimzi", replication_in_mesh=True) for plane in PLANES if plane.sidecars}
    assert all(each.carries(BROKER_BROKER) for each in inside.values())
    assert [each.encrypted_by[BROKER_BROKER] for each in inside.values()] == ["kafka", "kafka in envoy"]
    assert [each.layers(BROKER_BROKER) for each in inside.values()] == [1, 2]
    assert [each.encrypted_by["controller"] for each in inside.values()] == ["kafka", "kafka"]


@pytest.mark.parametrize(
    ("data_plane", "operator"),
    [
        (DataPlane.PLAIN, "strimzi"),
        (DataPlane.ISTIO_CLIENTS, "strimzi"),
        (DataPlane.ISTIO_MTLS_EXCLUDE_REPLICATION, "strimzi"),
        (DataPlane.ISTIO, "koperator"),
    ],
)
def test_replication_in_mesh_is_strimzis_in_a_mesh(data_plane: DataPlane, operator: str) -> None:
    with pytest.raises(ValueError, match="replicationInMesh is of the operator strimzi"):
        scenario(data_plane, operator, replication_in_mesh=True)


def test_the_command_line_says_who_makes_the_brokers_of_all_scenarios() -> None:
    plan = planfile.builtin("banzai-2019")
    found = provided(plan, "strimzi", replication_in_mesh=True).scenarios
    assert {each.cluster.operator for each in found} == {"strimzi"}
    assert {each.data_plane for each in found if each.cluster.replication_in_mesh} == {
        each.data_plane for each in found if each.data_plane.sidecars
    }
    assert provided(provided(plan, "strimzi", replication_in_mesh=True), "statefulset") == plan
    assert provided(plan, None) == plan


def test_who_makes_the_brokers_said_twice_leaves_what_the_plan_says_of_it() -> None:
    plan = provided(plan_of(DataPlane.PLAIN, DataPlane.ISTIO_MTLS), "strimzi", replication_in_mesh=True)
    assert provided(plan, "strimzi") == plan


@pytest.mark.parametrize(
    ("provider", "in_mesh", "said"),
    [
        ("confluent", False, "--provider confluent is not allowed"),
        ("statefulset", True, "--replication-in-mesh is of --provider strimzi"),
        ("koperator", True, "--replication-in-mesh is of --provider strimzi"),
        (None, True, "--replication-in-mesh is of --provider strimzi"),
    ],
)
def test_what_cannot_be_meant_is_refused(provider: str | None, in_mesh: bool, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        provided(planfile.builtin("banzai-2019"), provider, replication_in_mesh=in_mesh)


@pytest.mark.parametrize("data_plane", [DataPlane.PLAIN, DataPlane.ISTIO_CLIENTS])
def test_replication_cannot_pass_a_mesh_that_no_scenario_has(data_plane: DataPlane) -> None:
    with pytest.raises(UsageError, match="needs a data plane with sidecars"):
        provided(plan_of(data_plane), "strimzi", replication_in_mesh=True)


def recorded(directory: Path, plan: Plan) -> Path:
    run(directory, plan)
    return directory


@pytest.fixture(scope="module")
def strimzis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plan = plan_of(DataPlane.PLAIN, DataPlane.ISTIO_MTLS)
    return recorded(tmp_path_factory.mktemp("strimzis") / "run", provided(plan, "strimzi", replication_in_mesh=True))


def test_a_record_says_who_encrypted_and_is_held_to_it(tmp_path: Path) -> None:
    plan = provided(plan_of(DataPlane.PLAIN, DataPlane.ISTIO_MTLS), "strimzi", replication_in_mesh=True)
    copy = recorded(tmp_path / "run", plan)
    assert (verify(copy).verdict, files(verify(copy))) == ("sound", "")
    [finished] = [each.finished for each in store.load(copy).rounds if each.started.scenario == "istio-mtls"][:1]
    assert finished is not None
    assert finished.encrypted_by == {
        "client-broker": "envoy",
        "broker-broker": "kafka in envoy",
        "controller": "kafka",
    }
    told = round_of(copy, "istio-mtls") / "finished.json"
    change(told, lambda found: put(found, "encryptedBy.broker-broker", "envoy"))
    forge(copy)
    (finding,) = verify(copy).findings
    assert finding.recorded == ("encrypted_by: client-broker by envoy, broker-broker by envoy, controller by kafka")
    assert finding.follows.startswith("istio-mtls of strimzi has client-broker by envoy, broker-broker by kafka in")


@pytest.mark.parametrize(
    ("scenario", "gone", "said"),
    [
        ("plain", "broker-broker", "the port of replication"),
        ("plain", "controller", "the port of controllers"),
        ("istio-mtls", "", "the port of clients"),
        ("istio-mtls", "broker-broker", "made to the port of replication is TLS"),
    ],
)
def test_each_port_of_strimzis_brokers_has_proofs_of_its_own(
    strimzis: Path, tmp_path: Path, scenario: str, gone: str, said: str
) -> None:
    copy = shutil.copytree(strimzis, tmp_path / "run")
    path = round_of(copy, scenario) / "proofs.jsonl"
    write_lines(path, [each for each in lines(path) if each["hop"] != gone])
    forge(copy)
    assert any(said in each.recorded for each in verify(copy).findings)
    if scenario == "plain":
        told = {row.name: row.encrypted_hops for row in summarize(store.load(copy)).scenarios}
        assert told["plain"] == ()


def test_a_report_says_that_these_figures_are_not_like_for_like_and_what_is_encrypted_twice(tmp_path: Path) -> None:
    plan = plan_of(DataPlane.PLAIN, DataPlane.ISTIO_MTLS, repeats=1)
    own = summarize(store.load(recorded(tmp_path / "own", plan)))
    of_operator = provided(plan, "strimzi", replication_in_mesh=True)
    strimzis = summarize(store.load(recorded(tmp_path / "strimzi", of_operator)))
    told = " ".join(table(strimzis).split())
    assert "not like for like with a run on brokers of meshmark's own" in told
    assert "plain is not plain between brokers" in told
    assert "istio-mtls: broker-broker is encrypted twice (kafka in envoy)" in told
    assert "like for like" not in table(own)
    with pytest.raises(UsageError) as refused:
        likeness.require_alike([(strimzis, own)], [("plain", "plain")], [])
    assert "plan.cluster.operator: strimzi against " in refused.value.message


def test_the_lab_has_no_operators() -> None:
    from meshmark.backends.lab.backend import LabBackend

    backend = LabBackend.__new__(LabBackend)
    with pytest.raises(UsageError, match="the lab has no operators: plain has strimzi"):
        backend.prepare(provided(plan_of(DataPlane.PLAIN), "strimzi"))
