"""The same scenario for Koperator: valid by its definition, all traffic at one port, and what it cannot be told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from meshmark.backends.kubernetes import manifests, target
from meshmark.backends.kubernetes.measured import idle
from meshmark.cli import app
from meshmark.data_plane import DataPlane
from meshmark.errors import UsageError
from meshmark.plan import Plan
from meshmark.planfile import provided
from tests.planes import WHOLE
from tests.unit.kubernetes.test_objects import objects, plan, pod, settings
from tests.unit.kubernetes.test_schemas import judge

Capture = pytest.CaptureFixture[str]
TAKEN = [plane for plane in WHOLE if plane is not DataPlane.KAFKA_TLS]


def made(of: Plan, **more: Any) -> dict[str, Any]:
    """By kind and name."""
    of = provided(of, "koperator")
    asked = target(of, of.scenarios[0], kafka_version="4.4.0", **more)
    found = [each.body for each in manifests(of, of.scenarios[0], asked)]
    return {f"{body['kind']}/{body['metadata']['name']}": body for body in found}


def cluster(found: dict[str, Any]) -> Any:
    return found["KafkaCluster/kafka"]["spec"]


@pytest.mark.parametrize("data_plane", TAKEN)
def test_every_object_is_one_that_koperator_and_istio_define(data_plane: DataPlane) -> None:
    found = made(plan(data_plane), storage_class="fast")
    for body in found.values():
        assert [error.message for error in judge(body).iter_errors(body)] == []
    others = ["PeerAuthentication/default", "DestinationRule/kafka-headless"] if data_plane.sidecars else []
    assert list(found) == ["Namespace/meshmark-it", *others, "KafkaCluster/kafka"]


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        ("spec.listenersConfig.internalListeners.0.type", "tls"),
        ("spec.brokers.0.id", -1),
        ("spec.brokerConfigGroups.broker.processRoles", ["broker", "controller", "broker"]),
        ("spec.brokerConfigGroups.broker.heap", "1G"),
        ("spec.disruptionBudget.budget", "some"),
    ],
)
def test_a_mistake_is_found(path: str, wrong: object) -> None:
    body = json.loads(json.dumps(made(plan())["KafkaCluster/kafka"]))
    *way, last = path.split(".")
    inner = body
    for step in way:
        inner = inner[int(step)] if step.isdigit() else inner[step]
    inner[last] = wrong
    assert list(judge(body).iter_errors(body)) != []


def test_brokers_have_no_capability_that_an_agent_beside_them_has_not() -> None:
    """The kernel lets nobody look into a process that may do more; the image of these runs as root."""
    theirs = cluster(made(plan()))["brokerConfigGroups"]["broker"]["securityContext"]
    agents = idle("monitor", "meshmark:1")["securityContext"]
    assert theirs["capabilities"] == agents["capabilities"] == {"drop": ["ALL"]}
    assert theirs["allowPrivilegeEscalation"] is False


def test_brokers_are_as_many_as_large_and_as_far_apart_as_a_stateful_sets() -> None:
    of = plan(DataPlane.ISTIO_MTLS, brokers=3)
    here, there = cluster(made(of, storage_class="fast")), objects(of, storage_class="fast")
    group, template = here["brokerConfigGroups"]["broker"], pod(there)
    assert [broker["id"] for broker in here["brokers"]] == [1, 2, 3]
    assert {broker["brokerConfigGroup"] for broker in here["brokers"]} == {"broker"}
    assert group["resourceRequirements"] == template["spec"]["containers"][0]["resources"]
    [storage], [claim] = group["storageConfigs"], there["StatefulSet"]["spec"]["volumeClaimTemplates"]
    assert storage["pvcSpec"] == claim["spec"]
    assert group["tolerations"] == template["spec"]["tolerations"]
    assert group["affinity"]["nodeAffinity"] == template["spec"]["affinity"]["nodeAffinity"]
    [apart] = group["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert apart["labelSelector"]["matchLabels"] == {"app": "kafka", "kafka_cr": "kafka"}
    said = {
        key: value for key, value in template["metadata"]["annotations"].items() if not key.startswith("meshmark/")
    }
    assert group["brokerAnnotations"] == said, "sidecars are alike"


def test_settings_are_the_labs_but_for_those_that_the_operator_decides() -> None:
    of = plan(broker_config={"num.network.threads": 5})
    here = dict(line.split("=", 1) for line in cluster(made(of))["readOnlyConfig"].splitlines())
    lab = settings(objects(of), 1)
    assert here.items() <= lab.items()
    assert here["num.network.threads"] == "5"
    assert not {"listeners", "node.id", "broker.rack", "log.dirs", "controller.quorum.voters"} & here.keys()


@pytest.mark.parametrize("data_plane", TAKEN)
def test_clients_and_brokers_speak_at_one_plaintext_port_and_controllers_at_another(data_plane: DataPlane) -> None:
    client, controller = cluster(made(plan(data_plane)))["listenersConfig"]["internalListeners"]
    assert (client["type"], client["containerPort"], client["usedForInnerBrokerCommunication"]) == (
        "plaintext",
        9092,
        True,
    )
    assert (controller["containerPort"], controller["usedForControllerCommunication"]) == (9093, True)


@pytest.mark.parametrize(
    ("of", "more", "said"),
    [
        (plan(DataPlane.KAFKA_TLS), {}, "key stores from cert-manager"),
        (plan(broker_config={"metric.reporters": "x"}), {}, "brokerConfig sets metric.reporters"),
        (plan(), {"monitors": {}}, "--monitors are for the StatefulSet's pods"),
        (plan(brokers=1), {}, "two brokers at least"),
    ],
)
def test_what_koperator_cannot_be_told_is_refused(of: Plan, more: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        made(of, **more)
    assert said in str(refused.value)


def test_the_verb_says_what_is_needed(tmp_path: Path, capsys: Capture) -> None:
    export = ["export", "--only", "istio-mtls", "-d", str(tmp_path), "--provider"]
    assert app.main([*export, "strimzi"]) == 0
    assert app.main([*export, "koperator"]) == 0
    told = capsys.readouterr().err
    assert "Koperator 0.28 or newer" in told
    assert "STRICT refuses it" in told
    assert "Cruise Control" in told
    assert {path.name for path in tmp_path.iterdir()} == {
        "kustomization.yaml",
        "namespace.yaml",
        "peer-authentication.yaml",
        "destination-rule.yaml",
        "kafka-cluster.yaml",
    }, "Strimzi's are gone"
