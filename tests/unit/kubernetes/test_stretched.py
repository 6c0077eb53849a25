"""A plan's topology as objects: each cluster has its own brokers, and finds those of the others by the same names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from meshmark.backends.kubernetes import manifests, stretched, target, targets
from meshmark.backends.kubernetes.kinds import name_of
from meshmark.cli import app
from meshmark.data_plane import DataPlane
from meshmark.errors import UsageError
from meshmark.plan import ClusterSpec, Plan, Scenario, Workload
from meshmark.planfile import load
from meshmark.topology import Link, MeshCluster, Topology
from tests.lab.ground import ROOT
from tests.unit.kubernetes.test_schemas import judge

Capture = pytest.CaptureFixture[str]
EXAMPLE = str(ROOT / "examples" / "stretched-24ms.yaml")
HEADLESS, RULE = "service/kafka", "destinationrule/kafka"


def plan(data_plane: DataPlane = DataPlane.ISTIO_MTLS, *, gateway: bool = False, **of_first: Any) -> Plan:
    topology = Topology(
        clusters=(
            MeshCluster(name="one", brokers=2, clients=1, rack="region-one", **of_first),
            MeshCluster(name="two", brokers=1, rack="region-two", gateway=gateway),
        ),
        links=(Link(ends=("one", "two"), rtt_ms=24),),
    )
    work = Workload(topic_config={"min.insync.replicas": 3})
    scenario = Scenario(name="far", data_plane=data_plane, cluster=ClusterSpec(topology=topology), workload=work)
    return Plan(name="stretch", scenarios=(scenario,))


def objects(of: Plan) -> dict[str, dict[str, Any]]:
    """Cluster -> name -> object."""
    [scenario] = of.scenarios
    asked = target(of, scenario, kafka_version="4.4.0", namespace="mine")
    return {
        each.cluster: {name_of(made.body): dict(made.body) for made in manifests(of, scenario, each)}
        for each in targets(scenario, asked)
    }


def settings(found: dict[str, Any], number: int) -> dict[str, str]:
    text = found["configmap/broker-config"]["data"][f"broker-{number}.properties"]
    return dict(line.split("=", 1) for line in text.splitlines())


def test_each_cluster_has_its_own_brokers_numbered_through() -> None:
    found = objects(plan())
    assert list(found) == ["one", "two"]
    workloads = {name: bodies["statefulset/broker"]["spec"] for name, bodies in found.items()}
    assert {name: (spec["ordinals"]["start"], spec["replicas"]) for name, spec in workloads.items()} == {
        "one": (1, 2),
        "two": (3, 1),
    }
    configured = {name: sorted(bodies["configmap/broker-config"]["data"]) for name, bodies in found.items()}
    assert [file for file in configured["one"] if file.startswith("broker")] == [
        "broker-1.properties",
        "broker-2.properties",
    ]
    assert [file for file in configured["two"] if file.startswith("broker")] == ["broker-3.properties"]


def test_racks_are_regions_and_all_know_the_same_quorum() -> None:
    found = objects(plan())
    brokers = [settings(found["one"], 1), settings(found["one"], 2), settings(found["two"], 3)]
    assert [each["broker.rack"] for each in brokers] == ["region-one", "region-one", "region-two"]
    voters = "1@broker-1.mine.svc:9093,2@broker-2.mine.svc:9093,3@broker-3.mine.svc:9093"
    assert {each["controller.quorum.voters"] for each in brokers} == {voters}
    assert [each["advertised.listeners"] for each in brokers] == [
        f"CLIENT://broker-{number}.mine.svc:9092" for number in (1, 2, 3)
    ]
    starts = {bodies["configmap/broker-config"]["data"]["start.sh"] for bodies in found.values()}
    assert len(starts) == 1  # of one Kafka cluster ID
    for bodies in found.values():
        [container] = bodies["statefulset/broker"]["spec"]["template"]["spec"]["containers"]
        assert "NODE_ZONE" not in {each["name"] for each in container["env"]}


def test_controllers_are_those_of_the_topology() -> None:
    found = objects(plan(controllers=1))
    assert settings(found["one"], 2)["process.roles"] == "broker"
    voters = "1@broker-1.mine.svc:9093,3@broker-3.mine.svc:9093"
    assert settings(found["two"], 3)["controller.quorum.voters"] == voters


def test_every_broker_has_the_same_service_in_every_cluster() -> None:
    found = objects(plan())
    for number in (1, 2, 3):
        same = [bodies[f"service/broker-{number}"] for bodies in found.values()]
        specs = [body["spec"] for body in same]
        assert specs[0] == specs[1]
        assert specs[0]["selector"]["statefulset.kubernetes.io/pod-name"] == f"broker-{number}"
        assert specs[0]["publishNotReadyAddresses"]
        assert "clusterIP" not in specs[0]
        assert [port["port"] for port in specs[0]["ports"]] == [9092, 9093]
        rules = [bodies[f"destinationrule/broker-{number}"]["spec"] for bodies in found.values()]
        expected = {"host": f"broker-{number}", "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}}
        assert rules == [expected, expected]
    assert all({HEADLESS, RULE} <= bodies.keys() for bodies in found.values())


@pytest.mark.parametrize("data_plane", [DataPlane.ISTIO, DataPlane.ISTIO_MTLS])
def test_the_mesh_carries_controllers_and_leaves_the_probes_port_alone(data_plane: DataPlane) -> None:
    for bodies in objects(plan(data_plane)).values():
        annotations = bodies["statefulset/broker"]["spec"]["template"]["metadata"]["annotations"]
        excluded = {key: value for key, value in annotations.items() if "exclude" in key}
        assert set(excluded.values()) == {str(stretched.PROBE_PORT)}
        assert len(excluded) == 2


def test_every_object_says_which_cluster_it_is_of_and_is_one_of_the_api() -> None:
    for name, bodies in objects(plan()).items():
        for body in bodies.values():
            assert body["metadata"]["labels"]["meshmark/cluster"] == name
            assert [error.message for error in judge(body).iter_errors(body)] == []


def test_without_a_topology_nothing_is_said_of_one() -> None:
    one = Scenario(name="near", data_plane=DataPlane.ISTIO_MTLS)
    of = Plan(name="small", scenarios=(one,))
    [asked] = targets(one, target(of, one, kafka_version="4.4.0"))
    text = json.dumps([made.body for made in manifests(of, one, asked)])
    assert "meshmark/cluster" not in text
    assert "pod-name" not in text
    assert str(stretched.PROBE_PORT) not in text


@pytest.mark.parametrize(("gateway", "networks"), [(False, ["meshmark"] * 2), (True, ["meshmark", "meshmark-two"])])
def test_a_cluster_behind_a_gateway_is_a_network_of_its_own(gateway: bool, networks: list[str]) -> None:
    [scenario] = plan(gateway=gateway).scenarios
    assert [stretched.network(cluster) for cluster in scenario.cluster.topology.clusters] == networks


def test_the_documents_stretched_clusters_are_exported_a_directory_each(tmp_path: Path, capsys: Capture) -> None:
    assert app.main(["export", "-f", EXAMPLE, "-d", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]
    for name in ("one", "two"):
        listed = (tmp_path / name / "kustomization.yaml").read_text(encoding="utf-8")
        assert listed.count("\n  - service-broker-") == 3
    assert "one mesh of them all" in told.err
    assert str(tmp_path / "two" / "stateful-set.yaml") in told.out.split()


def test_an_export_of_one_cluster_removes_what_one_of_several_left(tmp_path: Path) -> None:
    assert app.main(["export", "-f", EXAMPLE, "-d", str(tmp_path)]) == 0
    left = tmp_path / "one"
    assert app.main(["export", "--only", "istio-mtls", "-d", str(left)]) == 0
    assert [path.name for path in left.iterdir() if "broker-" in path.name] == []


def names(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def test_an_export_into_the_same_directory_leaves_nothing_of_one_with_other_clusters(tmp_path: Path) -> None:
    one, several = tmp_path / "one", tmp_path / "several"
    assert app.main(["export", "--only", "istio-mtls", "-d", str(one)]) == 0
    assert app.main(["export", "-f", EXAMPLE, "-d", str(several)]) == 0
    both = tmp_path / "both"
    for _ in range(2):
        assert app.main(["export", "-f", EXAMPLE, "-d", str(both)]) == 0
        assert names(both) == names(several)
        assert app.main(["export", "--only", "istio-mtls", "-d", str(both)]) == 0
        assert names(both) == names(one)
        assert [path for path in both.iterdir() if path.is_dir()] == []


def test_what_lies_in_directories_that_no_cluster_has_stays(tmp_path: Path) -> None:
    assert (
        app.main(["export", "--only", "plain", "-d", str(tmp_path / "one")]) == 0
    )  # by itself, and not for a cluster
    assert app.main(["export", "-f", EXAMPLE, "-d", str(tmp_path / "out")]) == 0
    (tmp_path / "out" / "two" / "mine.yaml").write_text("mine: true\n", encoding="utf-8")
    before = names(tmp_path / "one")
    assert app.main(["export", "--only", "istio-mtls", "-d", str(tmp_path)]) == 0
    assert names(tmp_path / "one") == before
    assert app.main(["export", "--only", "istio-mtls", "-d", str(tmp_path / "out")]) == 0
    assert [name for name in names(tmp_path / "out") if "/" in name] == ["two/mine.yaml"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--provider", "strimzi"], "a topology is for the StatefulSets of its clusters"),
        (["--provider", "koperator"], "a topology is for the StatefulSets of its clusters"),
    ],
)
def test_operators_have_no_topology(options: list[str], said: str, tmp_path: Path, capsys: Capture) -> None:
    assert app.main(["export", "-f", EXAMPLE, "-d", str(tmp_path / "out"), *options]) == UsageError.exit_code
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_example_is_two_and_one_with_every_record_on_both_sides() -> None:
    [scenario] = load(Path(EXAMPLE)).scenarios
    assert [len(stretched.brokers_of(scenario, name)) for name in ("one", "two")] == [2, 1]
    assert scenario.workload.topic_config["min.insync.replicas"] == 3
