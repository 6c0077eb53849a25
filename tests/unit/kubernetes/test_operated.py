"""`up`, `status`, `exec` and `down` where an operator makes brokers, against a fake of API server and operators."""

from __future__ import annotations

import json

import pytest

from meshmark.backends.kubernetes.kinds import KAFKA, LISTED, NAMESPACE, POD
from meshmark.cli import app
from meshmark.errors import ComponentFailed, NotOurs, ObjectRefused
from tests.unit.kubernetes import fake_operator
from tests.unit.kubernetes.fake_api import FakeApi

Capture = pytest.CaptureFixture[str]
PROVIDERS = pytest.mark.parametrize("provider", ["strimzi", "koperator"])
OURS = {"app.kubernetes.io/managed-by": "meshmark"}
PODS = {
    "strimzi": [f"kafka-broker-{number}" for number in (1, 2, 3)],
    "koperator": [f"kafka-{number}-x1y2z" for number in (1, 2, 3)],
}
BOOTSTRAP = {"strimzi": "kafka-kafka-bootstrap", "koperator": "kafka-headless"}


def main(verb: str, *more: str, only: str = "plain") -> int:
    return app.main([verb, "--backend", "kubernetes", "--context", "fake", "--only", only, *more])


def up(provider: str, *more: str, only: str = "plain") -> int:
    return main("up", "--provider", provider, *more, only=only)


@PROVIDERS
def test_up_returns_when_the_operator_calls_it_ready(provider: str, fake: FakeApi, capsys: Capture) -> None:
    assert up(provider) == 0
    told = capsys.readouterr().out
    assert "not ready" not in told
    assert f"{BOOTSTRAP[provider]}.meshmark-plain.svc:9092" in told
    assert [line.split()[0] for line in told.splitlines() if line.startswith("  kafka-")] == PODS[provider]
    assert "statefulset/broker" not in fake.names()
    assert "secret/broker-tls" not in fake.names()


@PROVIDERS
def test_a_second_up_changes_nothing(provider: str, fake: FakeApi) -> None:
    assert up(provider) == 0
    fake.writes.clear()
    assert up(provider) == 0
    assert fake.writes == []


def test_strimzi_makes_its_own_certificates(fake: FakeApi) -> None:
    assert up("strimzi", only="kafka-tls") == 0
    assert "secret/broker-tls" not in fake.names()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ((), "kafka-tls; it does not pass the sidecars (--replication-in-mesh: it does)"),
        (("--replication-in-mesh",), "kafka-tls in istio-mtls"),
    ],
)
def test_double_encryption_of_replication_is_told_and_chosen(
    more: tuple[str, ...], told: str, fake: FakeApi, capsys: Capture
) -> None:
    assert up("strimzi", *more, only="istio-mtls") == 0
    said = capsys.readouterr()
    assert f"what brokers send each other is encrypted whatever the data plane: {told}" in said.err
    encrypted = told.partition(";")[0]
    assert f"replication: {encrypted}, by the operator's choice" in said.out
    assert main("status", "-o", "json", only="istio-mtls") == 0
    assert json.loads(capsys.readouterr().out)["replication"] == encrypted


@PROVIDERS
def test_without_the_operators_kinds_nothing_is_changed(provider: str, fake: FakeApi, capsys: Capture) -> None:
    fake.absent = ("kafka.strimzi.io", "kafka.banzaicloud.io")
    assert up(provider) == ObjectRefused.exit_code
    told = capsys.readouterr().err
    assert "has no kind Kafka" in told
    assert "Nothing was changed." in told
    assert fake.names() == []


def test_an_operator_that_does_not_watch_is_told(fake: FakeApi, capsys: Capture) -> None:
    fake.operator = "silent"
    assert up("strimzi", "--timeout", "1") == ComponentFailed.exit_code
    told = capsys.readouterr().err
    assert "| operator: its operator has said nothing yet: does one run, and does it watch this namespace?" in told
    assert main("status") == 1
    assert "operator:   its operator has said nothing yet" in capsys.readouterr().out
    fake.operator = "works"
    assert up("strimzi") == 0, "the same command goes on"


@pytest.mark.parametrize(
    ("provider", "said"),
    [
        ("strimzi", f"NotReady: InvalidResourceException: {fake_operator.REFUSED}"),
        ("koperator", "ClusterReconciling"),
    ],
)
def test_what_the_operator_says_last_is_told(provider: str, said: str, fake: FakeApi, capsys: Capture) -> None:
    fake.operator = "refuses"
    assert up(provider, "--timeout", "1") == ComponentFailed.exit_code
    assert f"| operator: {said}" in capsys.readouterr().err


def test_a_readiness_of_before_the_last_change_is_none(fake: FakeApi, capsys: Capture) -> None:
    assert up("strimzi") == 0
    fake.body("kafka/kafka")["metadata"]["generation"] += 1
    fake.operator = "silent"
    capsys.readouterr()
    assert main("status") == 1
    assert "operator:   the last change is not seen yet; before: ready" in capsys.readouterr().out


@PROVIDERS
def test_down_ends_the_operators_resource_first_and_leaves_nothing(provider: str, fake: FakeApi) -> None:
    assert up(provider, only="istio-mtls") == 0
    fake.writes.clear()
    assert main("down", only="istio-mtls") == 0
    custom = ["kafka/kafka", "kafkanodepool/broker"] if provider == "strimzi" else ["kafkacluster/kafka"]
    assert fake.writes == [*(f"removed {name}" for name in custom), "removed namespace/meshmark-istio-mtls"]
    assert fake.names() == []


@PROVIDERS
def test_down_in_a_namespace_that_was_there_leaves_that_alone(provider: str, fake: FakeApi, capsys: Capture) -> None:
    fake.put(NAMESPACE, "mine", labels=OURS)
    assert up(provider, "-n", "mine") == 0
    capsys.readouterr()
    assert main("down", "-n", "mine") == 0
    assert "the cluster is down" in capsys.readouterr().out
    assert fake.names() == ["namespace/mine"]


def test_a_finalizer_without_its_operator_is_told(fake: FakeApi, capsys: Capture) -> None:
    assert up("koperator") == 0
    fake.operator = "silent"
    assert main("down", "--timeout", "1") == ComponentFailed.exit_code
    held = f"kafkacluster/kafka (its operator has not let go of it: {fake_operator.FINALIZER})"
    assert held in capsys.readouterr().err
    fake.body("kafkacluster/kafka")["metadata"]["finalizers"] = []
    assert main("down") == 0
    assert fake.names() == []


@pytest.mark.parametrize("owner", ["kafka-cruisecontrol-5d8f7c9b", "theirs-5d8f7c9b"])
def test_cruise_control_is_waited_for_and_keeps_no_namespace(owner: str, fake: FakeApi, capsys: Capture) -> None:
    assert up("koperator") == 0
    told = capsys.readouterr().out
    assert [line.split()[0] for line in told.splitlines() if line.startswith("  kafka-")] == PODS["koperator"]
    fake.put(POD, "beside", "meshmark-plain")
    fake.body("pod/beside")["metadata"]["ownerReferences"] = [
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner}
    ]
    ends = main("down", "--timeout", "1")
    said = capsys.readouterr().err
    if owner.startswith("theirs"):
        assert ends == NotOurs.exit_code
        assert "objects that are not: pod/beside" in said
        return
    assert ends == ComponentFailed.exit_code
    assert "these are still there after 1 s: pod/beside" in said
    assert main("down") == 0
    assert fake.names() == []


def test_a_service_of_somebody_else_beside_the_operators_keeps_the_namespace(fake: FakeApi, capsys: Capture) -> None:
    assert up("strimzi") == 0
    service = next(kind for kind in LISTED if kind.name == "Service")
    fake.put(service, "theirs", "meshmark-plain")
    assert main("down") == NotOurs.exit_code
    assert "objects that are not: service/theirs" in capsys.readouterr().err
    assert fake.names() == ["namespace/meshmark-plain", "service/theirs"]


def test_a_kafka_of_somebody_else_is_refused(fake: FakeApi, capsys: Capture) -> None:
    fake.put(NAMESPACE, "mine", labels=OURS)
    fake.put(KAFKA, "kafka", "mine")
    assert up("strimzi", "-n", "mine") == NotOurs.exit_code
    assert "kafka/kafka" in capsys.readouterr().err
    assert fake.writes == []


def test_exec_runs_in_an_operators_pod(fake: FakeApi) -> None:
    assert up("strimzi") == 0
    assert main("exec", "kafka-broker-2", "--", "ls", "-l") == 3
    assert fake.commands == [["ls", "-l"]]


def test_another_provider_takes_the_place_of_the_last_one(fake: FakeApi) -> None:
    assert main("up") == 0
    assert up("strimzi") == 0
    assert "statefulset/broker" not in fake.names()
    assert "kafka/kafka" in fake.names()
