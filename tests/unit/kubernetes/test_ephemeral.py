"""A run on an operator's brokers: agents in ephemeral containers, on a fake API server that runs commands on this
machine. There is no operator, no container and no Kafka."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meshmark.backends.kubernetes import contexts, ephemeral, evidence, hosts, lifecycle, manifests, rights, target
from meshmark.backends.kubernetes.agent import Agent, Disk
from meshmark.backends.kubernetes.api import Api
from meshmark.backends.kubernetes.backend import KubernetesBackend
from meshmark.backends.kubernetes.brokers import brokers, host_of
from meshmark.backends.kubernetes.change import Wanted
from meshmark.backends.kubernetes.hosts import PodsTestbed
from meshmark.backends.kubernetes.kinds import POD
from meshmark.backends.kubernetes.lifecycle import Site
from meshmark.backends.kubernetes.measured import LoadPods, measured
from meshmark.cli import app
from meshmark.clock import SystemClock
from meshmark.data_plane import DataPlane
from meshmark.errors import ComponentFailed, NoRights
from meshmark.plan import ClusterSpec, Operator, Plan, Scenario, Workload
from tests.unit.kubernetes.fake_api import FakeApi

PROVIDERS = pytest.mark.parametrize("operator", ["strimzi", "koperator"])
PLACE = "meshmark-it"
PODS = {"strimzi": ["kafka-broker-1", "kafka-broker-2"], "koperator": ["kafka-1-x1y2z", "kafka-2-x1y2z"]}
LOAD = LoadPods(image="meshmark:1")


def plan(operator: Operator, data_plane: DataPlane = DataPlane.PLAIN, *, in_mesh: bool = False) -> Plan:
    spec = ClusterSpec(brokers=2, operator=operator, replication_in_mesh=in_mesh)
    work = Workload(replication_factor=1)
    return Plan(name="small", scenarios=(Scenario(name="it", data_plane=data_plane, cluster=spec, workload=work),))


def site(api: Api, of: Plan) -> Site:
    [scenario] = of.scenarios
    asked = target(of, scenario, kafka_version="4.4.0", share_nodes=True)
    made = measured(manifests(of, scenario, asked), scenario, asked, LOAD)
    return Site(api=api, wanted=Wanted(scenario=scenario, manifests=made, beside=LOAD.image))


@contextmanager
def up(
    fake: FakeApi, operator: Operator, data_plane: DataPlane = DataPlane.PLAIN, *, in_mesh: bool = False
) -> Iterator[Site]:
    """What a run has when the operator calls its brokers ready."""
    fake.runs = True
    made = site(contexts.connect(contexts.contexts(), "fake"), plan(operator, data_plane, in_mesh=in_mesh))
    lifecycle.up(made.api, made.wanted, tell=lambda _: None, clock=SystemClock(), timeout_s=5)
    yield made


@pytest.fixture
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A process called java, and the volume that it sees; its directory of partitions has one."""
    java = tmp_path / "java"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", java)
    volume = tmp_path / "volume"
    for number in (1, 2):
        (volume / f"log-{number}" / "topic-0").mkdir(parents=True)
        (volume / f"log-{number}" / "topic-0" / f"{0:020}.log").write_bytes(b"0" * 1_000)
    seen = lambda scenario: replace(brokers(scenario), volume=str(volume), log="log-{number}", metadata="log-{number}")  # noqa: E731
    monkeypatch.setattr(hosts, "brokers", seen)
    process = subprocess.Popen([java, "1000"])
    yield volume
    process.kill()
    process.wait()


@PROVIDERS
def test_agents_beside_an_operators_brokers_read_their_logs_and_are_told_by_number(
    operator: Operator, fake: FakeApi, broker: Path
) -> None:
    with up(fake, operator) as made, ExitStack() as stack:
        bed = PodsTestbed([made], stack)
        assert bed.broker_hosts == ("broker-1", "broker-2")
        assert [bed.pod_name(host) for host in bed.broker_hosts] == PODS[operator]
        assert [bed.agents[host].ask("partitions") for host in bed.broker_hosts] == [["topic-0"], ["topic-0"]]
        [read] = [values for probe in bed.probes() if (values := probe.read()) and "machine/cpu/idle_s" in values]
        assert (read["broker-1/kafka/log_bytes"], read["broker-2/kafka/log_bytes"]) == (1_000, 1_000)
        assert read["broker-1/kafka/cpu_user_s"] >= 0
    for pod in PODS[operator]:
        [container] = fake.body(f"pod/{pod}")["spec"]["ephemeralContainers"]
        assert (container["name"], container["targetContainerName"]) == ("monitor", "kafka")
        assert container["image"] == LOAD.image
        who = container["securityContext"]
        assert (who["runAsUser"], who["runAsGroup"]) == (os.getuid(), os.getgid()), "as it says itself"


def test_a_sidecar_has_an_agent_of_its_own_whose_cpu_is_added_to_the_others(fake: FakeApi, broker: Path) -> None:
    with up(fake, "strimzi", DataPlane.ISTIO) as made, ExitStack() as stack:
        bed = PodsTestbed([made], stack)
        [agents, *_] = bed.probes()
        one = bed.agents["broker-1"].ask("read")["broker-1/meshmark/threads"]
        assert agents.read()["broker-1/meshmark/threads"] == 2 * one
    named = {each["name"]: each for each in fake.body("pod/kafka-broker-1")["spec"]["ephemeralContainers"]}
    assert {name: each["targetContainerName"] for name, each in named.items()} == {
        "monitor": "kafka",
        "monitor-sidecar": "istio-proxy",
    }
    assert named["monitor-sidecar"]["securityContext"]["runAsUser"] == 1337, "as its pod says"


def test_sidecars_of_an_operators_brokers_count_what_is_read_of_them() -> None:
    for operator, path in (
        ("strimzi", ("template", "pod", "metadata", "annotations")),
        ("koperator", ("brokerConfigGroups", "broker", "brokerAnnotations")),
    ):
        of = plan(operator, DataPlane.ISTIO)  # type: ignore[arg-type]  # of the two
        asked = target(of, of.scenarios[0], kafka_version="4.4.0")
        made = measured(manifests(of, of.scenarios[0], asked), of.scenarios[0], asked, LOAD)
        found: Any = next(each.body for each in made if each.body["kind"] in ("KafkaNodePool", "KafkaCluster"))["spec"]
        for key in path:
            found = found[key]
        assert "proxyStatsMatcher" in found["proxy.istio.io/config"]


def test_an_image_that_does_not_come_to_the_node_is_told(fake: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.unpulled = LOAD.image
    monkeypatch.setattr(ephemeral, "POLL_S", 0.01)
    with up(fake, "strimzi") as made, pytest.raises(ComponentFailed) as failed:
        ephemeral.join(made.api, PLACE, PODS["strimzi"], LOAD.image, timeout_s=0.1)
    assert "kafka-broker-1: monitor waits: ErrImagePull" in failed.value.message
    assert "--client-image" in failed.value.hint


def test_a_broker_that_its_operator_replaces_before_an_agent_is_there_is_told(fake: FakeApi) -> None:
    with up(fake, "strimzi") as made:
        names = [*PODS["strimzi"], "kafka-broker-9"]
        with pytest.raises(ComponentFailed, match="kafka-broker-9 is gone: its operator replaced it meanwhile"):
            ephemeral.join(made.api, PLACE, names, LOAD.image, timeout_s=5)


def test_a_broker_that_its_operator_made_anew_ends_the_round_and_is_told(
    fake: FakeApi, broker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "CHECK_S", 0.0)
    with up(fake, "strimzi") as made, ExitStack() as stack:
        bed = PodsTestbed([made], stack)
        bed.check()
        del fake.objects[POD, PLACE, "kafka-broker-2"]  # and the fake operator makes another
        with pytest.raises(ComponentFailed, match="broker-2 is gone: it was removed or evicted, or rolled by strimzi"):
            bed.check()


def test_settings_are_those_that_the_operator_wrote(fake: FakeApi, broker: Path) -> None:
    with up(fake, "strimzi") as made, ExitStack() as stack:
        found = PodsTestbed([made], stack).configurations()
    assert found["broker-2.properties"] == "node.id=2\n"
    assert {"kafka.kafka.yaml", "broker.kafkanodepool.yaml", "client.statefulset.yaml"} <= found.keys()


def test_policies_are_kept_with_the_one_that_lets_an_operator_in(
    fake: FakeApi, broker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "sidecar_configuration", lambda *_: {})
    with up(fake, "strimzi", DataPlane.ISTIO_MTLS, in_mesh=True) as made, ExitStack() as stack:
        found = PodsTestbed([made], stack).configurations()
    assert {"destination-rule.yaml", "destination-rule-bootstrap.yaml", "peer-authentication.yaml"} <= found.keys()
    assert "mode: PERMISSIVE" in found["peer-authentication-broker.yaml"]


def test_a_volume_is_seen_through_the_process_that_has_it(tmp_path: Path) -> None:
    (tmp_path / "log" / "topic-0").mkdir(parents=True)
    disk = Disk(volume=tmp_path, log="log", metadata="log").through(os.getpid())
    assert str(disk.volume).startswith(f"/proc/{os.getpid()}/root/")
    with ExitStack() as held:
        agent = Agent("broker-1", disk=disk, held=held)
        assert agent.answer({"ask": "partitions"}) == ["topic-0"]
        assert "unknown" not in agent.answer({"ask": "facts"})["file_system"]


def test_an_agent_that_sees_no_broker_says_so() -> None:
    argv = [sys.executable, "-m", "meshmark.backends.kubernetes.agent", "broker-1", "--data", "/nowhere", "--beside"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, input="")
    assert done.returncode == 1
    assert "the broker's volume is not to be seen" in done.stderr


def test_pods_of_nobodys_making_keep_their_names() -> None:
    other: Mapping[str, Any] = {"metadata": {"name": "kafka-entity-operator-5f-x", "labels": {"app": "kafka"}}}
    assert host_of(other) == "kafka-entity-operator-5f-x"


def test_the_right_is_asked_for_where_there_is_an_operator_and_nowhere_else(
    fake: FakeApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.denied = {("patch", "pods/ephemeralcontainers"), ("get", "pods/log")}
    run = ["run", "--backend", "kubernetes", "--context", "fake", "--client-image", "x", "--only", "plain"]
    lacks = "get pods/log"
    assert app.main([*run, "--out", str(tmp_path / "own")]) == NoRights.exit_code
    assert f"lacks 1 right that run needs in the namespace meshmark-plain: {lacks}" in capsys.readouterr().err
    assert app.main([*run, "--provider", "strimzi", "--out", str(tmp_path / "run")]) == NoRights.exit_code
    told = capsys.readouterr().err
    assert "lacks 2 rights" in told
    assert "patch pods/ephemeralcontainers" in told
    assert fake.writes == []
    assert [str(right) for right in rights.JOIN] == ["patch pods/ephemeralcontainers"]


def test_without_kafka_an_operator_makes_nothing_and_its_brokers_have_stand_ins(fake: FakeApi) -> None:
    fake.runs = True
    of = plan("strimzi")
    api = contexts.connect(contexts.contexts(), "fake")
    backend = KubernetesBackend(
        {"": api},
        of,
        lambda scenario: target(of, scenario, kafka_version="4.4.0", share_nodes=True),
        LOAD,
        tell=lambda _: None,
        timeout_s=5,
    )
    with backend.testbed(of.scenarios[0]) as bed:
        assert "kafka/kafka" not in fake.names()
        [kafka, monitor] = fake.body("statefulset/broker")["spec"]["template"]["spec"]["containers"]
        assert kafka["image"] == monitor["image"] == LOAD.image
        assert bed.agents.keys() == {"broker-1", "broker-2", "client-1"}
