"""The lab's backend: what it leaves, what it refuses, and what it says when a component dies."""

from __future__ import annotations

import json
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.offloads import set_offloads
from meshmark.backends.lab import cgroups, sidecar
from meshmark.backends.lab.backend import LabBackend, lab
from meshmark.backends.lab.cluster import LabTestbed
from meshmark.backends.lab.link import HOST_INTERFACE
from meshmark.data_plane import DataPlane
from meshmark.errors import ComponentFailed, MissingRequirement, UsageError
from meshmark.kafka import distribution, storage
from meshmark.kafka.launch import Runtime
from meshmark.plan import ClusterSpec, Plan, Scenario, Workload
from tests.lab.ground import BOUND_S, wait_for
from tests.planes import WHOLE

pytestmark = pytest.mark.lab

SPEC = ClusterSpec(heap_bytes=268_435_456)


def scenario(data_plane: DataPlane, spec: ClusterSpec = SPEC) -> Scenario:
    return Scenario(name=str(data_plane), data_plane=data_plane, cluster=spec)


@pytest.fixture(scope="module")
def backend() -> Iterator[LabBackend]:
    with lab("test") as made:
        made.prepare(Plan(name="test", log_budget_bytes=1_000_000_000, scenarios=tuple(map(scenario, WHOLE))))
        yield made


def test_nothing_of_a_cluster_is_left_on_disk(backend: LabBackend) -> None:
    with backend.cluster(scenario(DataPlane.ISTIO_MTLS)) as made:
        pids = [process.pid for process in made.processes]
        assert len(pids) == 7
    assert {entry.name for entry in backend.instance.path.iterdir()} <= {"lock", cgroups.LINK}
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_a_killed_broker_is_reported_with_its_name_and_the_end_of_its_log(backend: LabBackend) -> None:
    with backend.cluster(scenario(DataPlane.PLAIN)) as made:
        made.check()
        victim = next(process for process in made.processes if process.host == "broker-2")
        victim.signal(signal.SIGKILL)
        victim.wait(10)
        with pytest.raises(ComponentFailed, match="broker-2") as caught:
            made.check()
    assert caught.value.log_tail


def test_logs_can_be_kept_in_memory(backend: LabBackend) -> None:
    in_memory = SPEC.model_copy(update={"storage": "ram", "brokers": 1})
    one = Scenario(name="ram", data_plane=DataPlane.PLAIN, cluster=in_memory, workload=Workload(replication_factor=1))
    with backend.cluster(one) as made:
        assert made.log_dir.is_relative_to("/dev/shm")
        kept = made.log_dir
    assert not kept.exists()


def test_a_testbed_has_hosts_and_sidecars_and_no_broker(backend: LabBackend) -> None:
    with backend.testbed(scenario(DataPlane.ISTIO_MTLS)) as bed:
        assert bed.broker_hosts == ("broker-1", "broker-2", "broker-3")
        assert bed.client_hosts == ("client-1",)
        assert [process.name for process in bed.processes] == ["sidecar"] * 4


@pytest.mark.parametrize("data_plane", WHOLE)
def test_a_testbed_carries_the_network_probe(backend: LabBackend, data_plane: DataPlane) -> None:
    module = ["python", "-m", "meshmark.load.probe_network"]
    shape = ["--flows", "2", "--seconds", "0.2"]
    with ExitStack() as stack:
        bed = stack.enter_context(backend.testbed(scenario(data_plane)))
        receive = [*module, "receive", "--port", "5201", *shape]
        receiver = stack.enter_context(bed.spawn("broker-1", receive, name="receive"))
        assert receiver.read_line(30) is not None
        send = [*module, "send", "--to", f"{bed.address('broker-1')}:5201", *shape]
        stack.enter_context(bed.spawn("client-1", send, name="send"))
        line = receiver.read_line(30)
        assert line is not None
        carried = json.loads(line)["bytes"]
        seen = {key: value for probe in bed.probes() for key, value in probe.read().items()}
    assert carried > 0
    if data_plane.sidecars:
        assert seen["broker-1/sidecar/inbound_rx_bytes"] >= carried


def net_counters(bed: LabTestbed) -> dict[str, float]:
    return {key: value for probe in bed.probes() for key, value in probe.read().items() if "/net/" in key}


@pytest.mark.parametrize("data_plane", [DataPlane.PLAIN, DataPlane.ISTIO_MTLS])
@pytest.mark.parametrize("offloads", [False, True])
def test_segments_on_the_wire_are_what_interfaces_count_without_offloads(
    backend: LabBackend, data_plane: DataPlane, offloads: bool
) -> None:
    size, segment = 8_000_000, 1_448
    with ExitStack() as stack:
        bed = stack.enter_context(backend.testbed(scenario(data_plane)))
        there, here = bed.network.hosts["broker-1"], bed.network.hosts["client-1"]
        for host in (there, here):
            host.call(lambda: set_offloads(HOST_INTERFACE, on=offloads))
        server = stack.enter_context(there.call(lambda: socket.create_server((there.address, 5201))))
        sender = stack.enter_context(here.call(lambda: socket.create_connection((there.address, 5201), BOUND_S)))
        receiver = stack.enter_context(server.accept()[0])
        receiver.settimeout(BOUND_S)
        before = net_counters(bed)
        sending = threading.Thread(target=sender.sendall, args=(bytes(size),))
        sending.start()
        left = size
        while left:
            left -= len(receiver.recv(1 << 20))
        sending.join(BOUND_S)
        seen = [before]

        def quiet() -> bool:
            seen.append(net_counters(bed))
            return seen[-1] == seen[-2]

        wait_for(quiet, "the last acknowledgement is sent")
    for name, way, packets, segments in (
        ("client-1", "sent", "tx_packets", "tcp_wire_out_segments"),
        ("broker-1", "received", "rx_packets", "tcp_wire_in_segments"),
    ):
        counted, known = (seen[-1][f"{name}/net/{key}"] - before[f"{name}/net/{key}"] for key in (packets, segments))
        assert known >= size / segment, (name, way)
        if offloads:
            assert counted < known / 2, (name, way)
        else:
            assert 0 <= counted - known <= 20, f"{name} {way}: more than the neighbours' discovery"


def test_envoys_own_words_tell_what_is_wrong_with_a_configuration(
    backend: LabBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sidecar, "OPTIONS", (*sidecar.OPTIONS, "--config-yaml", "no_such_field: 1"))
    with pytest.raises(ComponentFailed, match="no_such_field"), backend.testbed(scenario(DataPlane.ISTIO)):
        pytest.fail("the configuration was accepted")


def test_broker_settings_that_kafka_refuses_come_back_in_kafkas_words(backend: LabBackend) -> None:
    spec = SPEC.model_copy(update={"broker_config": {"num.io.threads": -1}})
    plan = Plan(name="bad", log_budget_bytes=1_000_000_000, scenarios=(scenario(DataPlane.PLAIN, spec),))
    with pytest.raises(ComponentFailed, match=r"num\.io\.threads"):
        backend.prepare(plan)


def test_settings_that_are_the_labs_are_refused_by_name(backend: LabBackend) -> None:
    spec = SPEC.model_copy(update={"broker_config": {"listeners": "PLAINTEXT://:9"}})
    plan = Plan(name="bad", log_budget_bytes=1_000_000_000, scenarios=(scenario(DataPlane.PLAIN, spec),))
    with pytest.raises(UsageError, match="listeners"):
        backend.prepare(plan)


def test_written_storage_equals_what_storagetool_formats(backend: LabBackend, tmp_path: Path) -> None:
    """Same files, same features; ids and times are random in both."""
    runtime = Runtime(java=distribution.java(), jars=tuple(distribution.fetch()))
    settings = {
        "process.roles": "broker,controller",
        "node.id": "2",
        "controller.quorum.voters": "1@10.77.0.11:9093,2@10.77.0.12:9093",
        "controller.listener.names": "CONTROLLER",
        "listeners": "CLIENT://10.77.0.12:9092,CONTROLLER://10.77.0.12:9093",
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "CLIENT",
    }
    formatted, written = tmp_path / "formatted", tmp_path / "written"
    formatted.mkdir()
    storage.format_storage(runtime, settings, formatted)
    template = storage.template(runtime, SPEC, settings)
    storage.write_storage(written, node_id=2, cluster_id=storage.random_id(), template=template)

    def files(root: Path) -> set[str]:
        return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}

    def keys(root: Path) -> list[str]:
        lines = (root / "log/meta.properties").read_text().splitlines()
        return sorted(line.partition("=")[0] for line in lines if not line.startswith("#"))

    assert files(written) == files(formatted)
    assert keys(written) == keys(formatted)
    assert _features(written) == _features(formatted)
    assert b"metadata.version" in b"".join(_features(written))


def _features(root: Path) -> list[bytes]:
    """The records that name a feature, as bytes: name and level. Batch headers hold times and a checksum."""
    (checkpoint,) = root.rglob("*.checkpoint")
    content = checkpoint.read_bytes()
    names = [b"metadata.version", b"group.version", b"transaction.version", b"share.version", b"streams.version"]
    return [content[at : at + len(name) + 3] for name in names if (at := content.find(name)) >= 0]


def test_more_cpus_for_load_workers_than_there_are_is_refused(backend: LabBackend) -> None:
    spec = SPEC.model_copy(update={"client_cpus": 256})
    plan = Plan(name="test", scenarios=(scenario(DataPlane.PLAIN, spec),))
    with pytest.raises(MissingRequirement, match="clientCpus reserves 256 CPUs for load workers; there are"):
        backend.prepare(plan)
