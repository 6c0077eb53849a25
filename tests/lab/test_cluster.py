"""Real brokers and real sidecars in each data plane: they serve, they refuse, they fail with their own words."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshmark.backends.lab.backend import LabBackend, lab
from meshmark.backends.lab.cluster import LabCluster
from meshmark.backends.lab.compilers import NICE, compiler_threads
from meshmark.data_plane import DataPlane
from meshmark.errors import LoadError
from meshmark.kafka import distribution
from meshmark.plan import ClusterSpec, Plan, Scenario, Workload
from meshmark.record import Counters
from tests.lab.ground import wait_for
from tests.planes import WHOLE

pytestmark = pytest.mark.lab

SPEC = ClusterSpec(heap_bytes=268_435_456)
ROUND_TRIP = Path(__file__).with_name("round_trip.py")
RECORDS = 5_000


def scenario(data_plane: DataPlane, spec: ClusterSpec = SPEC) -> Scenario:
    return Scenario(name=str(data_plane), data_plane=data_plane, cluster=spec)


@pytest.fixture(scope="module")
def backend() -> Iterator[LabBackend]:
    with lab("test") as made:
        made.prepare(Plan(name="test", log_budget_bytes=1_000_000_000, scenarios=tuple(map(scenario, WHOLE))))
        yield made


@pytest.fixture(scope="module", params=WHOLE)
def cluster(backend: LabBackend, request: pytest.FixtureRequest) -> Iterator[LabCluster]:
    with backend.cluster(scenario(request.param)) as made:
        yield made


def counters(cluster: LabCluster) -> Counters:
    return {key: value for probe in cluster.probes() for key, value in probe.read().items()}


def round_trip(cluster: LabCluster, topics: list[str]) -> dict[str, object]:
    config = {"bootstrap.servers": cluster.bootstrap_servers, **cluster.client_config}
    argv = ["python", str(ROUND_TRIP), json.dumps(config), json.dumps(topics), str(RECORDS)]
    with cluster.spawn(cluster.client_hosts[0], argv, name="round-trip") as process:
        line = process.read_line(120)
    assert line is not None
    answer: dict[str, object] = json.loads(line)
    return answer


def test_records_arrive_whole_and_the_sidecars_count_them_where_there_are_any(cluster: LabCluster) -> None:
    before = counters(cluster)
    layout = cluster.create_topics(Workload(), "trip")
    answer = round_trip(cluster, sorted(layout.topics))
    after = counters(cluster)
    cluster.delete_topics(layout)
    assert answer == {"errors": [], "seen": RECORDS, "complete": True}

    def grown(key: str) -> float:
        return after.get(key, 0) - before.get(key, 0)

    logged = sum(grown(f"{host}/kafka/log_bytes") for host in cluster.broker_hosts)
    led = sum(grown(f"{host}/kafka/leader_log_bytes") for host in cluster.broker_hosts)
    assert logged == 3 * led > RECORDS
    for host in cluster.broker_hosts:
        # A proxy that replication and producers bypassed would have counted less than the broker logged.
        passed = grown(f"{host}/sidecar/inbound_rx_bytes") + grown(f"{host}/sidecar/outbound_rx_bytes")
        if cluster.scenario.data_plane.sidecars:
            assert passed >= grown(f"{host}/kafka/log_bytes")
        else:
            assert not [key for key in after if "/sidecar/" in key]


def test_leaders_are_spread_evenly_and_known(cluster: LabCluster) -> None:
    layout = cluster.create_topics(Workload(topics=2), "spread")
    led = [sum(host == owner for owner in layout.leaders.values()) for host in cluster.broker_hosts]
    assert led == [2, 2, 2]
    assert dict(cluster.leaders()) == dict(layout.leaders)
    cluster.delete_topics(layout)
    assert dict(cluster.leaders()) == {}


def test_deleted_topics_are_gone_from_the_disk(cluster: LabCluster) -> None:
    layout = cluster.create_topics(Workload(topics=1), "gone")
    assert len(list(cluster.log_dir.glob("broker-*/log/gone-1-*"))) == 9
    cluster.delete_topics(layout)
    assert list(cluster.log_dir.glob("broker-*/log/gone-1-*")) == []


def test_every_proof_of_the_data_plane_holds_at_every_broker(cluster: LabCluster) -> None:
    proofs = cluster.prove()
    each = {DataPlane.PLAIN: 0, DataPlane.KAFKA_TLS: 2, DataPlane.ISTIO: 1, DataPlane.ISTIO_MTLS: 4}
    assert len(proofs) == each[cluster.scenario.data_plane] * len(cluster.broker_hosts)
    assert [proof for proof in proofs if not proof.holds] == []


def test_hops_are_either_encrypted_or_plain_and_client_broker_is_what_the_data_plane_says(
    cluster: LabCluster,
) -> None:
    encrypted, plain = set(cluster.encrypted_hops), set(cluster.plain_hops)
    hops = {"client-broker", "broker-broker", "controller"}
    if cluster.scenario.data_plane.sidecars:
        hops.add("application-sidecar")
    assert not encrypted & plain
    assert encrypted | plain == hops
    ciphered = cluster.scenario.data_plane in (DataPlane.KAFKA_TLS, DataPlane.ISTIO_MTLS)
    assert ("client-broker" in encrypted) is ciphered


def test_configurations_are_told_without_a_private_key(cluster: LabCluster) -> None:
    texts = cluster.configurations()
    assert {"broker-1.properties", "broker-1.command"} <= set(texts)
    assert ("client-1.envoy.json" in texts) is cluster.scenario.data_plane.sidecars
    assert not [name for name, text in texts.items() if "PRIVATE KEY" in text]
    assert all(path.is_file() for path in cluster.logs().values())


def test_what_runs_says_its_version_and_that_is_the_recorded_one(cluster: LabCluster) -> None:
    texts, versions = cluster.configurations(), distribution.versions()
    proxies = {text.strip() for name, text in texts.items() if name.endswith(".envoy.version")}
    assert proxies == ({versions.envoy} if cluster.scenario.data_plane.sidecars else set())
    for name, path in cluster.logs().items():
        if name.endswith("-broker.log"):
            assert f'version "{versions.java}"' in path.read_text()


def test_every_broker_starts_from_the_same_archive(cluster: LabCluster) -> None:
    used = {
        line
        for name, text in cluster.configurations().items()
        for line in text.splitlines()
        if name.endswith(".command") and line.startswith(("-XX:AOTCache=", "-XX:SharedArchiveFile="))
    }
    assert len(used) == 1


def test_impossible_topic_settings_come_back_in_kafkas_words(cluster: LabCluster) -> None:
    with pytest.raises(LoadError, match="no-such-setting"):
        cluster.create_topics(Workload(topic_config={"no-such-setting": 1}), "bad")
    assert dict(cluster.leaders()) == {}


def test_a_broker_that_is_not_the_active_controller_can_be_paused_and_goes_on_whatever_happens(
    cluster: LabCluster,
) -> None:
    controller = cluster.active_controller()
    host = next(host for host in cluster.broker_hosts if host != controller)
    [broker] = [each for each in cluster.processes if each.component == "kafka" and each.host == host]

    def state() -> str:
        return Path(f"/proc/{broker.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]

    def interrupted() -> None:
        with cluster.paused(host):
            wait_for(lambda: state() == "T", "the broker never stood still")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    wait_for(lambda: state() != "T", "the broker never went on")
    assert cluster.active_controller() == controller


def test_compilers_go_first_while_brokers_warm_up_and_not_afterwards(cluster: LabCluster) -> None:
    def priorities() -> set[int]:
        brokers = [process.pid for process in cluster.processes if process.component == "kafka"]
        return {os.getpriority(os.PRIO_PROCESS, thread) for pid in brokers for thread in compiler_threads(pid)}

    assert priorities() == {0}
    with cluster.warming():
        assert priorities() == {NICE}
    assert priorities() == {0}
    used = counters(cluster)
    for host in cluster.broker_hosts:
        compilers, whole = (
            sum(used[f"{host}/kafka/{part}cpu_{kind}_s"] for kind in ("user", "system")) for part in ("compilers_", "")
        )
        assert 0 < compilers < whole
    compiled = [value for key, value in counters(cluster).items() if key.endswith("/kafka/compile_s")]
    assert len(compiled) == len(cluster.broker_hosts)
    assert min(compiled) > 0
