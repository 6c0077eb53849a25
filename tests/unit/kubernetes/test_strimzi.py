"""The same scenario for Strimzi: valid by its own definitions, who encrypts what, and what it cannot be told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from meshmark.backends.kubernetes import manifests, target
from meshmark.cli import app
from meshmark.data_plane import DataPlane
from meshmark.errors import UsageError
from meshmark.plan import Plan
from meshmark.planfile import provided
from tests.planes import WHOLE
from tests.unit.kubernetes.test_files import read
from tests.unit.kubernetes.test_objects import objects, plan, pod, settings
from tests.unit.kubernetes.test_schemas import judge

Capture = pytest.CaptureFixture[str]
MESH = [plane for plane in WHOLE if plane.sidecars]


def made(of: Plan, *, replication_in_mesh: bool = False, **more: Any) -> dict[str, Any]:
    """By kind and name."""
    of = provided(of, "strimzi", replication_in_mesh=replication_in_mesh)
    asked = target(of, of.scenarios[0], kafka_version="4.4.0", **more)
    found = [each.body for each in manifests(of, of.scenarios[0], asked)]
    return {f"{body['kind']}/{body['metadata']['name']}": body for body in found}


def template(found: dict[str, Any]) -> Any:
    return found["KafkaNodePool/broker"]["spec"]["template"]["pod"]


@pytest.mark.parametrize("in_mesh", [False, True])
@pytest.mark.parametrize("data_plane", WHOLE)
def test_every_object_is_one_that_strimzi_and_istio_define(data_plane: DataPlane, in_mesh: bool) -> None:
    found = made(plan(data_plane), storage_class="fast", replication_in_mesh=in_mesh and data_plane.sidecars)
    for body in found.values():
        assert [error.message for error in judge(body).iter_errors(body)] == []
    kinds = [name.partition("/")[0] for name in found]
    assert kinds[0] == "Namespace"
    assert kinds[-2:] == ["KafkaNodePool", "Kafka"]
    assert ("PeerAuthentication" in kinds) == data_plane.sidecars


@pytest.mark.parametrize(
    ("name", "path", "wrong"),
    [
        ("KafkaNodePool/broker", "spec.roles.0", "leader"),
        ("KafkaNodePool/broker", "spec.storage.volumes.0.kraftMetadata", "own"),
        ("KafkaNodePool/broker", "spec.jvmOptions.-Xmx", "10 GB"),
        ("KafkaNodePool/broker", "spec.template.pods", {}),
        ("Kafka/kafka", "spec.kafka.listeners.0.type", "outside"),
        ("Kafka/kafka", "spec.kafka.replicas", 3),
    ],
)
def test_a_mistake_is_found(name: str, path: str, wrong: object) -> None:
    body = json.loads(json.dumps(made(plan())[name]))
    *way, last = path.split(".")
    inner = body
    for step in way:
        inner = inner[int(step)] if step.isdigit() else inner[step]
    inner[int(last) if last.isdigit() else last] = wrong
    assert list(judge(body).iter_errors(body)) != []


def test_brokers_are_as_many_as_large_and_as_far_apart_as_a_stateful_sets() -> None:
    of = plan(DataPlane.ISTIO_MTLS, brokers=3, broker_config={"num.network.threads": 5})
    here, there = made(of, storage_class="fast"), objects(of, storage_class="fast")
    pool, stateful = here["KafkaNodePool/broker"]["spec"], there["StatefulSet"]["spec"]
    assert pool["replicas"] == stateful["replicas"]
    assert here["KafkaNodePool/broker"]["metadata"]["annotations"]["strimzi.io/next-node-ids"] == "[1-3]"
    assert pool["resources"] == pod(there)["spec"]["containers"][0]["resources"]
    [volume], [claim] = pool["storage"]["volumes"], stateful["volumeClaimTemplates"]
    assert (volume["class"], volume["size"]) == (
        claim["spec"]["storageClassName"],
        claim["spec"]["resources"]["requests"]["storage"],
    )
    assert template(here)["tolerations"] == pod(there)["spec"]["tolerations"]
    labels = here["KafkaNodePool/broker"]["metadata"]["labels"]
    [apart] = template(here)["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert apart["labelSelector"]["matchLabels"].items() <= labels.items()


def test_settings_are_the_labs_but_for_those_that_the_operator_decides() -> None:
    of = plan(broker_config={"num.network.threads": 5})
    here = made(of)["Kafka/kafka"]["spec"]["kafka"]["config"]
    lab = settings(objects(of), 1)
    assert here.items() <= lab.items()
    assert lab.keys() - here.keys() == {
        "advertised.listeners",
        "broker.rack",
        "controller.listener.names",
        "controller.quorum.voters",
        "inter.broker.listener.name",
        "listener.security.protocol.map",
        "listeners",
        "log.dirs",
        "metadata.log.dir",
        "node.id",
        "process.roles",
    }


def test_heap_and_options_of_the_jvm_are_the_plans() -> None:
    options = ("-XX:+UseZGC", "-XX:-UseNUMA", "-XX:MaxGCPauseMillis=20", "-Da=b")
    found = made(plan(jvm_options=options), heap_bytes=2**30)["KafkaNodePool/broker"]["spec"]["jvmOptions"]
    assert found == {
        "-Xms": str(2**30),
        "-Xmx": str(2**30),
        "-XX": {"UseZGC": "true", "UseNUMA": "false", "MaxGCPauseMillis": "20"},
        "javaSystemProperties": [{"name": "a", "value": "b"}],
    }


@pytest.mark.parametrize("data_plane", WHOLE)
def test_clients_have_tls_of_kafka_in_kafka_tls_alone(data_plane: DataPlane) -> None:
    kafka = made(plan(data_plane))["Kafka/kafka"]
    [listener] = kafka["spec"]["kafka"]["listeners"]
    assert (listener["port"], listener["tls"]) == (9092, data_plane is DataPlane.KAFKA_TLS)
    assert kafka["metadata"]["annotations"]["meshmark/replication"] == "kafka-tls", "whatever the data plane"


@pytest.mark.parametrize(("in_mesh", "ports"), [(False, "8443,9090,9091"), (True, "8443,9090")])
@pytest.mark.parametrize("data_plane", MESH)
def test_replication_passes_the_sidecars_where_that_is_asked_for(
    data_plane: DataPlane, in_mesh: bool, ports: str
) -> None:
    found = made(plan(data_plane), replication_in_mesh=in_mesh)
    said = template(found)["metadata"]["annotations"]
    for way in ("Inbound", "Outbound"):
        assert said[f"traffic.sidecar.istio.io/exclude{way}Ports"] == ports
    twice = in_mesh and data_plane.mtls
    told = found["Kafka/kafka"]["metadata"]["annotations"]["meshmark/replication"]
    assert told == ("kafka-tls in istio-mtls" if twice else "kafka-tls")
    policies = {name: body["spec"] for name, body in found.items() if name.startswith("PeerAuthentication")}
    assert ("PeerAuthentication/broker" in policies) == twice, "or the operator is refused"
    if twice:
        assert policies["PeerAuthentication/broker"]["mtls"] == {"mode": "STRICT"}
        assert policies["PeerAuthentication/broker"]["portLevelMtls"] == {"9091": {"mode": "PERMISSIVE"}}
    hosts = {body["spec"]["host"] for name, body in found.items() if name.startswith("DestinationRule")}
    assert hosts == {"kafka-kafka-bootstrap", "kafka-kafka-brokers"}


@pytest.mark.parametrize(
    ("of", "more", "said"),
    [
        (plan(broker_config={"security.providers": "x"}), {}, "brokerConfig sets security.providers"),
        (plan(jvm_options=("-Xlog:gc",)), {}, "no JVM option -Xlog:gc"),
        (plan(), {"monitors": {}}, "--monitors are for the StatefulSet's pods"),
        (plan(), {"replication_in_mesh": True}, "--replication-in-mesh needs a data plane with sidecars"),
    ],
)
def test_what_strimzi_cannot_be_told_is_refused(of: Plan, more: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        made(of, **more)
    assert said in str(refused.value)


def test_the_verb_says_what_is_needed_and_who_encrypts(tmp_path: Path, capsys: Capture) -> None:
    export = ["export", "--only", "istio-mtls", "-d", str(tmp_path)]
    assert app.main(export) == 0
    assert app.main([*export, "--provider", "strimzi", "--replication-in-mesh"]) == 0
    told = capsys.readouterr().err
    assert "Strimzi's operator, 1.2 or newer" in told
    assert "whatever the data plane: kafka-tls in istio-mtls" in told
    listed = read((tmp_path / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    assert {path.name for path in tmp_path.iterdir()} == {"kustomization.yaml", *listed}, "the StatefulSet's are gone"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--provider", "confluent"], "--provider confluent is not allowed"),
        (["--replication-in-mesh"], "--replication-in-mesh is of --provider strimzi"),
        (["--provider", "strimzi", "--image", "x"], "--image is of --provider statefulset"),
    ],
)
def test_options_that_do_not_go_together(options: list[str], said: str, tmp_path: Path, capsys: Capture) -> None:
    assert app.main(["export", "--only", "istio", "-d", str(tmp_path / "out"), *options]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
