"""What differs in what ran: by the brokers' and proxies' own files, without addresses, paths and secrets."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from pathlib import Path

import pytest

from meshmark.analysis.likeness import facts
from meshmark.analysis.settings_apart import HIDDEN, UNPROVEN, settings_apart
from meshmark.analysis.settings_model import SettingApart
from meshmark.analysis.summary import summarize
from meshmark.data_plane import DataPlane
from meshmark.dataplane.envoy import Service, Sidecar, bootstrap
from meshmark.dataplane.identity import Identity
from meshmark.kafka.properties import Node, TlsStores, broker_properties, render
from meshmark.plan import Scenario, Workload
from meshmark.report import view
from meshmark.report.settings_apart import tables
from meshmark.store import Run, load
from tests.unit.test_conductor import plan_of, run

KEYS = Path("/secret-place/identity")
NODES = tuple(Node(node_id=number, address=f"10.77.0.{10 + number}") for number in (1, 2, 3))
PLANES = (DataPlane.PLAIN, DataPlane.KAFKA_TLS, DataPlane.ISTIO_MTLS)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated run whose components have the configurations that the lab gives to real ones."""
    directory = tmp_path_factory.mktemp("settings") / "run"
    done = run(directory, plan_of(*PLANES, repeats=1))
    for data in done.rounds:
        write_configurations(data.directory / "config", done.plan.scenario(data.started.scenario))
    return directory


def write_configurations(place: Path, scenario: Scenario) -> None:
    tls = TlsStores(keystore=KEYS / "broker.pem", truststore=KEYS / "ca.pem")
    for node in NODES:
        directory = Path(f"/data/run-{scenario.name}/broker-{node.node_id}")
        made = broker_properties(scenario, NODES, node, directory=directory, log_budget_bytes=10**10, tls=tls)
        (place / f"broker-{node.node_id}.properties").write_text(render(made))
        command = ["/opt/java", "-Xms1000", "-Xmx1000", "-XX:+UseG1GC", f"-Djava.io.tmpdir={directory}", "Broker"]
        (place / f"broker-{node.node_id}.command").write_text("\n".join(command))
    identity = Identity(key=KEYS / "k.key", chain=KEYS / "c.pem", keystore=KEYS / "s.pem", authority=KEYS / "a.pem")
    addresses = tuple(node.address for node in NODES)
    services = (Service(name="kafka", account="broker", port=9092, addresses=addresses),)
    for file in place.glob("*.envoy.json"):
        sidecar = Sidecar(
            host=file.name.partition(".")[0],
            services=services,
            served_ports=(9092,) if file.name.startswith("broker") else (),
            identity=identity,
            admin_socket=Path("/run/envoy.sock"),
        )
        file.write_text(json.dumps(bootstrap(sidecar)))


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "run")


def edit(directory: Path, name: str, old: str, new: str, scenario: str = "istio-mtls") -> Run:
    (path,) = directory.glob(f"rounds/*-{scenario}/config/{name}")
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    return load(directory)


def of(run: Run, scenario: str) -> dict[str, SettingApart]:
    return {f"{each.part}: {each.setting}": each for each in settings_apart(run) if each.scenario == scenario}


def test_a_mesh_differs_by_its_sidecars_alone(original: Path) -> None:
    found = of(load(original), "istio-mtls")
    assert {each.part for each in found.values()} == {"data plane", "broker's sidecar", "client's sidecar"}
    assert all(each.baseline == "plain" for each in found.values())
    tls = found["broker's sidecar: TLS that it accepts"]
    assert (tls.value, tls.baseline_value) == ("TLSv1_2 to TLSv1_3, with a certificate of the client", None)
    assert (found["broker's sidecar: TLS that it sends"].value or "").startswith("TLSv1_2 to TLSv1_3")
    suites = found["broker's sidecar: cipher suites that it accepts"].value or ""
    assert "ECDHE-ECDSA-AES256-GCM-SHA384" in suites
    listeners = found["client's sidecar: listeners"]
    assert (listeners.value, listeners.recorded_in) == ("1 inbound, 4 outbound", "config/*.envoy.json")


def test_kafkas_tls_differs_by_the_brokers_settings(original: Path) -> None:
    found = of(load(original), "kafka-tls")
    mapped = found["broker: listener.security.protocol.map"]
    assert (mapped.baseline_value, mapped.value) == (
        "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "CLIENT:SSL,CONTROLLER:PLAINTEXT",
    )
    assert found["broker: ssl.enabled.protocols"].value == "TLSv1.3"
    assert not any(name.startswith(("broker: log.dir", "broker's JVM")) for name in found)


def test_neither_secrets_nor_paths_of_keys_are_told(copy: Path) -> None:
    told = edit(copy, "broker-1.properties", "ssl.client", "ssl.key.password=hunter2\nssl.client", "kafka-tls")
    edit(copy, "broker-1.command", "Broker", "-Djavax.net.ssl.keyStorePassword=hunter2", "kafka-tls")
    found = of(told, "kafka-tls")
    assert found["broker: ssl.key.password"].value == HIDDEN
    assert found["broker's JVM: -Djavax.net.ssl.keyStorePassword"].value == HIDDEN
    assert found["broker: ssl.keystore.location"].value == HIDDEN
    text = "".join(each.model_dump_json() for each in settings_apart(told))
    assert "hunter2" not in text
    assert str(KEYS) not in text
    assert "10.77.0" not in text


def test_a_brokers_own_setting_is_told_beside_the_others(copy: Path) -> None:
    told = edit(copy, "broker-2.command", "-Xmx1000", "-Xmx2000")
    heap = of(told, "istio-mtls")["broker's JVM: -Xmx"]
    assert (heap.baseline_value, heap.value) == ("1000", "1000; 2000")


def test_hops_are_told_as_encrypted_only_where_all_proofs_hold(copy: Path) -> None:
    def hops(run: Run) -> str | None:
        return of(run, "istio-mtls")["data plane: encrypted hops"].value

    assert hops(load(copy)) == "client-broker, broker-broker"
    (path,) = copy.glob("rounds/*-istio-mtls/proofs.jsonl")
    path.write_text(path.read_text().replace("true", "false", 1))
    assert hops(load(copy)) == UNPROVEN
    path.unlink()
    assert hops(load(copy)) == UNPROVEN


def test_a_configuration_that_is_none_ends_no_report(copy: Path) -> None:
    no_context = '[{"@type": "DownstreamTlsContext", "common_tls_context": [3]}]'
    for broken in ("[1, {", "[" * 900 + "]" * 900, "[" * 10_000, no_context):
        for path in copy.glob("rounds/*/config/*.envoy.json"):
            path.write_text(broken)
        assert settings_apart(load(copy))


def test_clients_settings_are_what_they_said_and_what_no_file_has_is_the_plans(tmp_path: Path) -> None:
    plan = plan_of(DataPlane.PLAIN, DataPlane.KAFKA_TLS, repeats=1)
    work = Workload(producer_config={"acks": "1", "sasl.password": "hunter2"}, topics=5)
    one, other = plan.scenarios
    plan = plan.model_copy(update={"scenarios": (one, other.model_copy(update={"workload": work}))})
    found = of(run(tmp_path / "run", plan), "kafka-tls")
    acks = found["producer: acks"]
    assert (acks.baseline_value, acks.value, acks.recorded_in) == ("all", "1", "config/producer-*.properties")
    assert found["producer: sasl.password"].value == HIDDEN
    topics = found["workload: topics"]
    assert (topics.baseline_value, topics.value, topics.recorded_in) == ("3", "5", "plan.json")
    assert not [name for name in found if "Config." in name]


def test_a_payload_is_told_by_its_bytes_and_digest(tmp_path: Path) -> None:
    plan = plan_of(DataPlane.PLAIN, DataPlane.KAFKA_TLS, repeats=1)
    content = bytes(300_000)
    work = Workload(payload_base64=base64.b64encode(content).decode(), message_size=len(content))
    one, other = plan.scenarios
    plan = plan.model_copy(update={"scenarios": (one, other.model_copy(update={"workload": work}))})
    done = run(tmp_path / "run", plan)
    told = f"300,000 bytes, SHA-256 {hashlib.sha256(content).hexdigest()[:16]}..."
    assert of(done, "kafka-tls")["workload: payloadBase64"].value == told
    summary = summarize(done)
    assert f"kafka-tls has workload.payloadBase64 {told}, plain has " in view.unlike(summary)
    assert facts(summary, "kafka-tls")["plan.workload.payloadBase64"] == told
    texts = (*view.unlike(summary), *(each.model_dump_json() for each in summary.settings_apart))
    assert max(map(len, texts)) < 1_000


def test_setups_that_are_alike_differ_in_nothing(tmp_path: Path) -> None:
    plan = plan_of(DataPlane.PLAIN, repeats=1)
    (one,) = plan.scenarios
    plan = plan.model_copy(update={"scenarios": (one, one.model_copy(update={"name": "other"}))})
    assert settings_apart(run(tmp_path / "run", plan)) == ()


def test_a_report_has_a_table_for_each_setup(original: Path) -> None:
    found = tables(summarize(load(original)))
    assert [grid.title for grid in found] == ["kafka-tls against plain", "istio-mtls against plain"]
    assert [column.head for column in found[0].columns] == ["setting", "of", "plain", "kafka-tls", "recorded in"]
