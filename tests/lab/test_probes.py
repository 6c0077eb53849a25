"""Probes on real processes, namespaces, devices and a real Envoy; the path of a real trial through real sidecars."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from meshmark.analysis.ledger import UNUSABLE_SHARE, broker_hosts, ledger, sidecar_hosts
from meshmark.analysis.traffic import amiss, traffic
from meshmark.backends.lab.backend import LabBackend, lab
from meshmark.backends.lab.cgroups import make_group
from meshmark.backends.lab.instance import instance
from meshmark.backends.lab.link import network
from meshmark.backends.lab.namespace import network_namespace
from meshmark.backends.lab.probes import SidecarProbe
from meshmark.backends.lab.tasks import TasksProbe
from meshmark.clock import SystemClock
from meshmark.data_plane import DataPlane
from meshmark.experiment.trial import Offered, measure, warm_up
from meshmark.kafka.distribution import envoy
from meshmark.measure.sampler import sampling
from meshmark.metrics import METRICS
from meshmark.plan import ClusterSpec, Method, Plan, Scenario, Workload
from meshmark.probes.host import MachineProbe, NetProbe, ProcessProbe, storage_under
from meshmark.record import Sample
from meshmark.store import load
from tests.lab.ground import BOUND_S, python, run_on, wait_for
from tests.lab.trials import bench
from tests.series import pair, recorded

pytestmark = pytest.mark.lab

BURN = "import sys\nprint('ready', flush=True)\nwhile True: pass"
WRITE = "import sys\nopen(sys.argv[1], 'wb').write(bytes(1 << 20))\nprint('ready', flush=True)\ninput()"


def burner() -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", BURN], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def cpu(probe: ProcessProbe) -> float:
    values = probe.read()
    return values["client-1/client/cpu_user_s"] + values["client-1/client/cpu_system_s"]


def test_processes_of_a_component_are_summed_and_keep_what_they_used_after_their_end() -> None:
    with ProcessProbe("client-1", "client") as probe, burner() as first, burner() as second:
        assert probe.read() == {}
        probe.add(first.pid)
        wait_for(lambda: cpu(probe) > 0.1, "the first process uses CPU")
        alone = cpu(probe)
        probe.add(second.pid)
        wait_for(lambda: cpu(probe) > alone + 0.1, "the second is added")
        first.kill()
        first.wait()
        before = cpu(probe)
        assert before >= alone
        second.kill()
        second.wait()
        last = probe.read()
        assert cpu(probe) >= before
        assert (last["client-1/client/threads"], last["client-1/client/memory_rss_bytes"]) == (0, 0)
        assert probe.read() == last
        probe.add(first.pid)  # gone long ago
        assert probe.read() == last


def test_a_groups_cpu_has_what_short_lived_children_used() -> None:
    """They start, burn and end between two readings; /proc has nothing of them."""
    burn = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    spawn = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}]); print('done', flush=True); input()"
    )
    with instance("test") as made:
        groups = make_group(made.path)
        if groups is None:
            pytest.skip("kernel: no control groups (v2) that this user may make")
        with (
            network(made, brokers=0, clients=1, groups=groups) as net,
            ProcessProbe("client-1", "kafka", net.hosts["client-1"].group("kafka")) as probe,
            run_on(net.hosts["client-1"], *python(spawn)) as process,
        ):
            probe.add(process.pid)
            assert process.read_line(BOUND_S) == "done"
            used = probe.read()
            assert used["client-1/kafka/cpu_user_s"] + used["client-1/kafka/cpu_system_s"] >= 0.3
        assert groups.is_dir()
    assert not groups.exists()


def test_processes_that_are_not_meshmarks_are_booked_by_name() -> None:
    with burner() as other, burner() as own:
        name = Path(f"/proc/{other.pid}/comm").read_text(encoding="utf-8").strip()
        probe = TasksProbe(own.pid)

        def used() -> float:
            values = probe.read()
            return sum(values.get(f"machine/others:{name}/cpu_{kind}_s", 0.0) for kind in ("user", "system"))

        assert used() == 0, "what was used before the first reading is nobody's"
        wait_for(lambda: used() > 0.3, "the other process is booked")
        other.kill()
        own.kill()


def test_storage_bytes_of_a_process_are_what_it_wrote(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", WRITE, str(tmp_path / "file")]
    with (
        ProcessProbe("client-1", "client") as probe,
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process,
    ):
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        probe.add(process.pid)
        if storage_under(tmp_path).device:
            assert probe.read()["client-1/client/write_bytes"] >= 1 << 20
        process.communicate("\n")


@contextmanager
def transfer(size: int) -> Iterator[None]:
    """Sends bytes over this namespace's loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = socket.create_connection(server.getsockname())
        receiver, _ = server.accept()
        with sender, receiver:
            threading.Thread(target=sender.sendall, args=(bytes(size),), daemon=True).start()
            left = size
            while left:
                left -= len(receiver.recv(1 << 16))
            yield


def test_an_interface_counts_what_was_sent_in_its_own_namespace_only() -> None:
    def up() -> None:
        with IPRoute() as netlink:
            netlink.link("set", index=1, state="up")

    with network_namespace() as other, ExitStack() as stack:
        other.call(up)
        inside = stack.enter_context(NetProbe("broker-1", "lo", other.call))
        here = stack.enter_context(NetProbe("client-1", "lo", lambda function: function()))
        missing = stack.enter_context(NetProbe("client-2", "eth7", lambda function: function()))
        before = here.read()
        with transfer(1_000_000):
            after = here.read()
        assert after["client-1/net/tx_bytes"] - before["client-1/net/tx_bytes"] >= 1_000_000
        assert after["client-1/net/tcp_out_segments"] > before["client-1/net/tcp_out_segments"]
        assert after["client-1/net/tx_packets"] > before["client-1/net/tx_packets"]
        assert inside.read()["broker-1/net/tx_bytes"] == 0
        assert "client-2/net/tx_bytes" not in missing.read()
        assert "client-2/net/tcp_out_segments" in missing.read()


def test_the_machine_has_values_for_known_metrics_and_they_only_grow(tmp_path: Path) -> None:
    with MachineProbe(tmp_path) as probe:
        first, second = probe.read(), probe.read()
    assert {key.split("/")[2] for key in first} <= METRICS.keys()
    assert first.keys() >= {"machine/cpu/user_s", "machine/cpu/elapsed_s", "machine/memory/dirty_bytes"}
    assert "machine/meshmark/cpu_user_s" in first
    assert {f"machine/core:{number}/used_s" for number in os.sched_getaffinity(0)} <= first.keys()
    counters = [key for key in first if METRICS[key.split("/")[2]].kind == "counter"]
    ticking = {"machine/cpu/idle_s", "machine/cpu/iowait_s"}  # these two may step back by a tick, as proc.rst says
    assert all(second[key] >= first[key] for key in counters if key not in ticking)


def test_a_directory_in_memory_has_no_device_and_that_is_said(tmp_path: Path) -> None:
    if storage_under(Path("/dev/shm")).file_system != "tmpfs":
        pytest.skip("kernel: no tmpfs at /dev/shm")
    with MachineProbe(Path("/dev/shm")) as probe:
        values = probe.read()
        found = {key.removeprefix("machine/disk/") for key in values if key.startswith("machine/disk/")}
        assert found == {"size_bytes", "used_bytes", "free_bytes"}
        assert probe.storage.text == "tmpfs: no block device of its own, so no device counters"
    assert storage_under(tmp_path / "not there").device is None


def test_a_device_counts_what_is_forced_onto_it(tmp_path: Path) -> None:
    with MachineProbe(tmp_path) as probe:
        if probe.storage.device is None:
            pytest.skip("kernel: " + probe.storage.text)
        before = probe.read()["machine/disk/write_bytes"]
        with (tmp_path / "file").open("wb") as file:
            file.write(os.urandom(1 << 20))
            file.flush()
            os.fsync(file.fileno())
        assert probe.read()["machine/disk/write_bytes"] - before >= 1 << 20


def proxy(name: str, port: int, target: int) -> dict[str, object]:
    kind = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
    settings = {"@type": kind, "stat_prefix": name, "cluster": f"to-{target}"}
    return {
        "name": name,
        "stat_prefix": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": settings}]}],
    }


def free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return int(one.getsockname()[1]), int(other.getsockname()[1])


@contextmanager
def sidecar(
    directory: Path, inbound: int, outbound: int, target: int
) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    admin = directory / "a.sock"
    endpoint = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": target}}}}
    load_assignment = {"cluster_name": "to", "endpoints": [{"lb_endpoints": [endpoint]}]}
    config = {
        "admin": {"address": {"pipe": {"path": str(admin), "mode": 0o600}}},
        "static_resources": {
            "listeners": [proxy("inbound", inbound, target), proxy("outbound", outbound, target)],
            "clusters": [{"name": f"to-{target}", "type": "STATIC", "load_assignment": load_assignment}],
        },
    }
    file = directory / "envoy.json"
    file.write_text(json.dumps(config), encoding="utf-8")
    argv = [str(envoy()), "-c", str(file), "--disable-hot-restart", "--log-level", "off", "--concurrency", "1"]
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as process:
        try:
            yield admin, process
        finally:
            process.kill()


def test_a_real_sidecars_bytes_are_exact_and_a_dead_one_has_none(tmp_path_factory: pytest.TempPathFactory) -> None:
    inbound, outbound = free_ports()
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        directory = Path(stack.enter_context(short_directory()))
        admin, process = stack.enter_context(sidecar(directory, inbound, outbound, server.getsockname()[1]))
        probe = stack.enter_context(SidecarProbe("broker-1", admin))
        wait_for(lambda: listening(outbound), "Envoy serves")
        server.accept()[0].close()
        wait_for(lambda: probe.read()["broker-1/sidecar/connections"] == 0, "the first connection is over")
        before = probe.read()
        assert "broker-1/sidecar/uptime_s" in before
        assert "broker-1/sidecar/certificate_left_s" not in before, "it has none"
        for port, sent, answered in ((inbound, 3_000, 700), (outbound, 500, 11_000)):
            peer = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            application = stack.enter_context(server.accept()[0])
            peer.sendall(bytes(sent))
            receive(application, sent)
            application.sendall(bytes(answered))
            receive(peer, answered)
        expected = {
            "inbound_rx_bytes": 3_000,
            "inbound_tx_bytes": 700,
            "outbound_tx_bytes": 500,
            "outbound_rx_bytes": 11_000,
            "connections": 2,
        }

        def grown() -> dict[str, float]:
            now = {key.split("/")[2]: value - before[key] for key, value in probe.read().items()}
            return {metric: now[metric] for metric in expected}

        # A peer may have its bytes before Envoy has counted them.
        wait_for(lambda: sum(grown().values()) >= sum(expected.values()), "Envoy counts what it sent")
        assert grown() == expected
        process.kill()
        process.wait()
        assert probe.read() == {}


@contextmanager
def short_directory() -> Iterator[str]:
    """Paths of Unix sockets end at 107 bytes, which those of pytest may exceed."""
    with tempfile.TemporaryDirectory(prefix="mm-") as path:
        yield path


def listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def receive(connection: socket.socket, size: int) -> None:
    connection.settimeout(BOUND_S)
    while size:
        chunk = connection.recv(size)
        assert chunk
        size -= len(chunk)


def test_a_sidecar_that_hangs_or_talks_nonsense_has_no_values_and_is_asked_again() -> None:
    page = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"
    fine = b"tcp.inbound.downstream_cx_rx_bytes_total: 42\n"
    busy = b"HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    answers = [b"", b"no http at all\n", page % (9, b"not stats"), busy]
    answers.append(page % (len(fine), fine))
    with short_directory() as directory, socket.socket(socket.AF_UNIX) as server, ExitStack() as stack:
        path = Path(directory) / "a.sock"
        probe = stack.enter_context(SidecarProbe("broker-1", path, timeout_s=0.2))
        assert probe.read() == {}, "nothing listens yet"
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            for answer in answers:
                connection, _ = server.accept()
                stack.enter_context(connection)
                connection.recv(4_096)
                connection.sendall(answer)

        serving = threading.Thread(target=serve)
        serving.start()
        seen = [probe.read() for _ in answers]
        serving.join(BOUND_S)
    assert seen[:-1] == [{}] * (len(answers) - 1)
    assert seen[-1]["broker-1/sidecar/inbound_rx_bytes"] == 42


PROOFS = {
    DataPlane.PLAIN: 0,
    DataPlane.KAFKA_TLS: 2,
    DataPlane.ISTIO: 1,
    DataPlane.ISTIO_MTLS: 4,
    DataPlane.ISTIO_CLIENTS: 2,
    DataPlane.ISTIO_MTLS_EXCLUDE_REPLICATION: 5,
}
"""At each broker."""


@pytest.fixture(scope="module")
def backend() -> Iterator[LabBackend]:
    with lab("test") as made:
        made.prepare(Plan(name="test", log_budget_bytes=4_000_000_000, scenarios=(scenario(DataPlane.PLAIN, 0),)))
        yield made


def scenario(data_plane: DataPlane, groups: int) -> Scenario:
    return Scenario(
        name="plain",
        data_plane=data_plane,
        cluster=ClusterSpec(heap_bytes=268_435_456),
        workload=Workload(subscriptions_per_topic=groups, workers=2),
        method=Method(warmup_seconds=1, warmup_max_seconds=3, settle_seconds=1, window_seconds=2),
    )


@pytest.mark.parametrize(
    ("data_plane", "groups", "checks"),
    [
        (DataPlane.PLAIN, 1, 0),
        (DataPlane.KAFKA_TLS, 0, 0),
        (DataPlane.ISTIO, 1, 11),
        (DataPlane.ISTIO_MTLS, 0, 10),
        (DataPlane.ISTIO_CLIENTS, 1, 2),
        (DataPlane.ISTIO_MTLS_EXCLUDE_REPLICATION, 1, 14),
    ],
)
def test_a_real_trials_bytes_and_cpu_add_up(
    backend: LabBackend, tmp_path: Path, data_plane: DataPlane, groups: int, checks: int
) -> None:
    """At half of what the last second of the warm-up carried. What is proven before the load, is so after it."""
    asked = scenario(data_plane, groups)
    with backend.cluster(asked) as cluster, bench(cluster, asked, tmp_path / "run") as made:
        proofs = cluster.prove()
        carried_msg_s = warm_up(made).rates_msg_s[-1]
        made.writer.trial(measure(made, Offered(number=1, purpose="search", rate_msg_s=carried_msg_s / 2)))
        assert [proof for proof in (*proofs, *cluster.prove()) if not proof.holds] == []
        told = {name for name in cluster.configurations() if name.endswith(".envoy.json")}
    assert told == {f"{host}.envoy.json" for host in sidecar_hosts(asked)}
    assert {host: sum(proof.host == host for proof in proofs) for host in broker_hosts(asked)} == dict.fromkeys(
        broker_hosts(asked), PROOFS[data_plane]
    )
    (only,) = load(tmp_path / "run").rounds
    (trial,) = only.trials
    assert trial.faults == ()
    assert len(trial.path) == checks
    past = [check for check in trial.path if not check.expected_bytes]
    assert [check.counted_bytes for check in past] == [0] * (6 if data_plane.own_replication else 0)
    assert {pair(key) for key in trial.counters_end} <= recorded()
    rows = traffic(trial, asked)
    assert len(rows) == (10 if groups else 9)
    assert amiss(rows) == ()
    book = ledger(trial, asked, backend.facts().cpus)
    assert all(each is not None for each in (book.brokers, book.clients, book.meshmark, book.others))
    assert book.unattributed_share is not None
    assert abs(book.unattributed_share) <= UNUSABLE_SHARE
    hosts = ("broker-1", "broker-2", "broker-3")
    led, logged = (
        sum(trial.quiet_end[f"{host}/kafka/{key}"] - trial.quiet_start[f"{host}/kafka/{key}"] for host in hosts)
        for key in ("leader_log_bytes", "log_bytes")
    )
    assert logged == 3 * led > 0
    times = [sample.time_s for sample in only.series()]
    assert times == sorted(times)


def test_a_reading_of_a_whole_machine_reaches_the_sink_from_the_thread(tmp_path: Path) -> None:
    seen: list[Sample] = []
    with MachineProbe(tmp_path) as probe, sampling(lambda: [probe], 0.01, seen.append, SystemClock()):
        wait_for(lambda: len(seen) > 3, "the thread reads")
    elapsed = [sample.values["machine/cpu/elapsed_s"] for sample in seen]
    assert elapsed == sorted(elapsed)
