"""ztunnel and waypoints as a run looks at them, against fakes of ours that answer with pages in their form. No ztunnel
runs here, and none of this was seen on a cluster."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from meshmark.backends.kubernetes import agent, backend, contexts, node_proxies, rights
from meshmark.backends.kubernetes.cluster import testbed as opened
from meshmark.backends.kubernetes.kinds import POD, Kind
from meshmark.backends.kubernetes.node_proxies import NodeProxies
from meshmark.data_plane import DataPlane
from meshmark.errors import ComponentFailed, MissingRequirement, NoRights
from meshmark.plan import Scenario
from meshmark.record import Proof
from tests.unit.kubernetes.fake_api import FakeApi
from tests.unit.kubernetes.test_hosts import at

OURS = "meshmark-it"
LINKERD = Path(__file__).parents[1] / "texts" / "linkerd-proxy-metrics.txt"
OPENED = "istio_tcp_connections_opened_total"
READY = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}


def series(metric: str, value: float, *, reporter: str, source: str, to: str = "broker", tls: bool = True) -> str:
    labels = {
        "reporter": reporter,
        "source_workload": source,
        "source_workload_namespace": OURS,
        "destination_workload": to,
        "destination_workload_namespace": OURS,
        "connection_security_policy": "mutual_tls" if tls else "unknown",
    }
    said = ",".join(f'{name}="{each}"' for name, each in labels.items())
    return f"{metric}{{{said}}} {value:g}\n"


AWAY = "does not answer, this once"


class Asker:
    """The agent outside the mesh: gives each address' pages in turn, and the last one from then on."""

    host = "stranger-1"

    def __init__(self, pages: Mapping[str, list[str]]) -> None:
        self.pages = {address: list(each) for address, each in pages.items()}
        self.told: list[Mapping[str, Any]] = []

    def ask(self, question: str, **more: Any) -> Any:
        if question == "ztunnels":
            self.told.append(more)
            return {"n1/ztunnel/client-broker/outbound_tx_bytes": 3.0}
        assert (question, more["port"], more["path"]) == ("page", 15_020, "/stats/prometheus")
        if more["address"] not in self.pages:
            raise ComponentFailed("agent on stranger-1 could not answer `page`: ConnectionRefusedError")
        left = self.pages[more["address"]]
        if left[0] == AWAY:
            left.pop(0)
            raise ComponentFailed("agent on stranger-1 could not answer `page`: TimeoutError")
        return left.pop(0) if len(left) > 1 else left[0]


class Cluster:
    """Of ztunnel's pods, by node, and waypoints."""

    def __init__(self, ztunnels: Mapping[str, str], waypoints: tuple[str, ...] = (), *, ready: bool = True) -> None:
        status = {**READY, "conditions": [{"type": "Ready", "status": str(ready)}]}
        self.pods = {
            "istio-system": [
                {
                    "metadata": {"name": f"ztunnel-{node}"},
                    "spec": {"nodeName": node},
                    "status": {**status, "podIP": at},
                }
                for node, at in ztunnels.items()
            ],
            OURS: [{"metadata": {"name": at}, "spec": {}, "status": {**READY, "podIP": at}} for at in waypoints],
        }

    def find(self, kind: Kind, namespace: str, labels: Mapping[str, str]) -> list[Any]:
        wanted = {"app": "ztunnel"} if namespace == "istio-system" else node_proxies.OF_WAYPOINT
        assert (kind, dict(labels)) == (POD, wanted)
        return self.pods[namespace]


def made(cluster: Cluster, asker: Asker, plane: DataPlane = DataPlane.AMBIENT, *nodes: str) -> NodeProxies:
    return NodeProxies(cluster, plane, OURS, nodes or ("n1",), asker)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_proxies, "COUNTED_S", 0.0)


def judged(before: str, after: str, *, plane: DataPlane = DataPlane.AMBIENT, waypoint: str = "") -> dict[str, Proof]:
    """Of one node, after three connections of load pods and six of brokers."""
    pages = {"10.0.0.9": [before, after], "10.0.0.8": ["", waypoint]}
    proxies = made(Cluster({"n1": "10.0.0.9"}, ("10.0.0.8",)), Asker(pages), plane)
    return {proof.name: proof for proof in proxies.proofs(proxies.counted(), 3, 6)}


FROM_CLIENTS = "every connection that ztunnel carries from load pods to brokers is mutual TLS"
FROM_BROKERS = "every connection that ztunnel carries from brokers to brokers is mutual TLS"
TO_BROKERS = "every connection that ztunnel hands to brokers is mutual TLS"
THROUGH = "every connection to brokers passes the waypoint"


def carried(client: int = 3, broker: int = 6, taken: int = 9) -> str:
    return (
        series(OPENED, client, reporter="source", source="client")
        + series(OPENED, broker, reporter="source", source="broker")
        + series(OPENED, taken, reporter="destination", source="client")
    )


def test_what_grew_since_before_shows_that_all_of_it_is_mutual_tls() -> None:
    found = judged(carried(100, 100, 100), carried(103, 106, 109))
    assert {name: proof.holds for name, proof in found.items()} == {
        FROM_CLIENTS: True,
        FROM_BROKERS: True,
        TO_BROKERS: True,
    }
    assert found[FROM_CLIENTS].detail == "of 3 at the least it counts 3 with mutual TLS and 0 without"


@pytest.mark.parametrize(
    ("after", "wrong"),
    [
        (carried(client=2), [FROM_CLIENTS]),
        (carried(broker=5), [FROM_BROKERS]),
        (carried(taken=8), [TO_BROKERS]),
        (carried() + series(OPENED, 1, reporter="source", source="client", tls=False), [FROM_CLIENTS]),
        (carried() + series(OPENED, 1, reporter="destination", source="client", tls=False), [TO_BROKERS]),
        ("", [FROM_CLIENTS, FROM_BROKERS, TO_BROKERS]),
    ],
)
def test_one_that_went_past_or_is_not_encrypted_is_found(after: str, wrong: list[str]) -> None:
    assert [name for name, proof in judged("", after).items() if not proof.holds] == wrong


def test_one_from_outside_that_is_refused_is_not_taken_for_plaintext_of_the_mesh() -> None:
    refused = series(OPENED, 2, reporter="destination", source="stranger", tls=False)
    assert all(proof.holds for proof in judged("", carried() + refused).values())


def test_a_ztunnel_that_began_anew_shows_nothing() -> None:
    [proof] = judged(carried(100), carried()).values()
    assert not proof.holds
    assert "started anew" in proof.detail


def through(client: int = 3, past: int = 0) -> str:
    return (
        series(OPENED, client, reporter="source", source="client", to="waypoint")
        + series(OPENED, 6, reporter="source", source="broker", to="waypoint")
        + series(OPENED, 9, reporter="destination", source="waypoint")
        + (series(OPENED, past, reporter="source", source="client") if past else "")
    )


def forwarded(client: int, broker: int) -> str:
    """As a waypoint tells of connections to pods' own addresses: not to whom."""
    lines = (
        series(OPENED, many, reporter="waypoint", source=source, to="unknown")
        for source, many in (("client", client), ("broker", broker))
    )
    ours = f'destination_workload_namespace="{OURS}"'
    return "".join(lines).replace(ours, 'destination_workload_namespace="unknown",request_protocol="tcp"')


def test_with_a_waypoint_all_pass_it_and_it_counts_them() -> None:
    forwards = forwarded(3, 6)
    others = forwarded(9, 9).replace(f'source_workload_namespace="{OURS}"', 'source_workload_namespace="others"')
    plane = DataPlane.AMBIENT_WAYPOINT
    assert all(proof.holds for proof in judged("", through(), plane=plane, waypoint=forwards).values())
    for page, waypoint in ((through(past=1), forwards), (through(), ""), (through(), others)):
        found = judged("", page, plane=plane, waypoint=waypoint)
        assert [name for name, proof in found.items() if not proof.holds] == [THROUGH]


def test_counters_that_come_later_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_proxies, "COUNTED_S", 20.0)
    monkeypatch.setattr(node_proxies, "POLL_S", 0.0)
    asker = Asker({"10.0.0.9": ["", "", carried(client=2), carried()]})
    proxies = made(Cluster({"n1": "10.0.0.9"}), asker)
    assert all(proof.holds for proof in proxies.proofs(proxies.counted(), 3, 6))


def test_one_that_does_not_answer_once_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_proxies, "COUNTED_S", 20.0)
    monkeypatch.setattr(node_proxies, "POLL_S", 0.0)
    proxies = made(Cluster({"n1": "10.0.0.9"}), Asker({"10.0.0.9": ["", AWAY, "{ no page", carried()]}))
    assert all(proof.holds for proof in proxies.proofs(proxies.counted(), 3, 6))


def test_a_page_that_is_none_is_told_with_where_it_is_and_how_it_begins() -> None:
    proxies = made(Cluster({"n1": "10.0.0.9"}), Asker({"10.0.0.9": [f"{OPENED} many\nmore"]}))
    for read in (proxies.counted, proxies.versions):
        with pytest.raises(ComponentFailed, match=r"10\.0\.0\.9:15020/stats/prometheus answers .* many"):
            read()


def test_what_went_past_the_waypoint_before_the_proofs_began_does_not_count() -> None:
    asker = Asker({"10.0.0.9": [through(past=1), through(6, past=1).replace("} 6", "} 12").replace("} 9", "} 18")]})
    asker.pages["10.0.0.8"] = [forwarded(0, 0), forwarded(6, 6)]
    proxies = made(Cluster({"n1": "10.0.0.9"}, ("10.0.0.8",)), asker, DataPlane.AMBIENT_WAYPOINT)
    assert all(proof.holds for proof in proxies.proofs(proxies.counted(), 3, 6))


def test_nodes_are_summed_and_the_agent_is_told_of_those_with_pods() -> None:
    asker = Asker({"10.0.0.9": ["", carried(client=1)], "10.0.0.7": ["", carried(client=2, broker=0, taken=0)]})
    there = Cluster({"n1": "10.0.0.9", "n2": "10.0.0.7", "n3": "10.0.0.6"})
    proxies = made(there, asker, DataPlane.AMBIENT, "n1", "n2")
    assert all(proof.holds for proof in proxies.proofs(proxies.counted(), 3, 6))
    assert (asker.told, proxies.edges_only) == ([], True)
    assert proxies.read() == {"n1/ztunnel/client-broker/outbound_tx_bytes": 3.0}
    assert asker.told == [{"addresses": {"n1": "10.0.0.9", "n2": "10.0.0.7"}, "namespace": OURS}]


@pytest.mark.parametrize(
    ("there", "plane", "said"),
    [
        (Cluster({"n2": "10.0.0.9"}), DataPlane.AMBIENT, "no ztunnel is ready on n1, where pods of the scenario are"),
        (Cluster({"n1": "10.0.0.9"}, ready=False), DataPlane.AMBIENT, "no ztunnel is ready on n1"),
        (Cluster({"n1": "10.0.0.9"}), DataPlane.AMBIENT_WAYPOINT, "no pod of the waypoint is ready"),
        (Cluster({"n1": "10.0.0.1"}), DataPlane.AMBIENT, r"what is counted at 10\.0\.0\.1:15020 cannot be read"),
    ],
)
def test_what_is_not_there_or_does_not_answer_is_told(there: Cluster, plane: DataPlane, said: str) -> None:
    with pytest.raises(ComponentFailed, match=said):
        made(there, Asker({"10.0.0.9": [""]}), plane).counted()


class Page(BaseHTTPRequestHandler):
    """ztunnel's at one path, linkerd2-proxy's at the other."""

    texts: ClassVar = {
        "/stats/prometheus": 'istio_build{component="ztunnel",tag="1.31.0"} 1\n'
        + series("istio_tcp_received_bytes_total", 3_000, reporter="source", source="client"),
        "/metrics": LINKERD.read_text(encoding="utf-8"),
    }

    def do_GET(self) -> None:
        text = self.texts.get(self.path, "")
        self.send_response(200 if text else 404)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def answers(port: int) -> Iterator[str]:
    """On this machine, at an address of this process' own."""
    pid = os.getpid()
    address = f"127.{1 + pid // 65_536 % 250}.{pid // 256 % 256}.{1 + pid % 250}"
    server = ThreadingHTTPServer((address, port), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield address
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_pods_of_ambient_mode_are_read_with_the_ztunnel_of_their_node(fake: FakeApi) -> None:
    fake.runs = True
    api = contexts.connect(contexts.contexts(), "fake")
    with answers(15_020) as address:
        status = {**READY, "podIP": address}
        fake.put(POD, "ztunnel-x", "istio-system", labels={"app": "ztunnel"}, spec={"nodeName": "n1"}, status=status)
        with opened(at(api, DataPlane.AMBIENT), tell=lambda _: None, timeout_s=5) as bed:
            always = bed.read.read()
            read = {key: value for probe in bed.probes() for key, value in probe.read().items()}
            texts = bed.configurations()
    assert read["n1/ztunnel/client-broker/outbound_tx_bytes"] == 3_000
    assert read["n1/ztunnel/broker-broker/inbound_rx_bytes"] == 0
    assert [key for key in always if "ztunnel" in key] == []
    assert texts["n1.ztunnel.version"] == "1.31.0\n"
    assert "istio.io/dataplane-mode: ambient" in texts["namespace.yaml"]
    assert "mode: STRICT" in texts["peer-authentication.yaml"]
    assert ("list", "pods", "") in fake.used


def test_linkerds_proxy_is_read_by_the_agent_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with answers(4_191) as address, ExitStack() as held:
        monkeypatch.setattr(agent, "LOOPBACK", address)
        beside = agent.Agent("client-1", sidecar="linkerd", held=held)
        read = beside.answer({"ask": "read"})
        assert (
            beside.answer({"ask": "page", "address": address, "port": 4_191, "path": "/metrics"})
            == Page.texts["/metrics"]
        )
        with pytest.raises(HTTPException, match="4191 answered 404 to /other"):
            beside.answer({"ask": "page", "address": address, "port": 4_191, "path": "/other"})
    assert read["client-1/sidecar/outbound_tx_bytes"] == 1_100
    assert read["client-1/sidecar/connections"] == 20


class Bed:
    """In one cluster, of pods whose proxies have said their versions."""

    sites: tuple[str, ...] = ("only",)

    def configurations(self) -> Mapping[str, str]:
        same = {f"broker-{number}.linkerd.version": "2.352.0\n" for number in (1, 2)}
        return {**same, "n1.ztunnel.version": "1.31.0\n", "n2.ztunnel.version": "1.30.2\n", "images.json": "{}\n"}


def test_versions_of_proxies_are_what_they_say_and_all_of_them_where_they_differ() -> None:
    found = backend._proxies(Bed())  # type: ignore[arg-type]
    assert found == {"linkerd": "2.352.0", "ztunnel": "1.30.2, 1.31.0"}


def test_meshes_of_several_clusters_that_are_of_different_versions_are_refused() -> None:
    class Two(Bed):
        sites = ("one", "two")

    with pytest.raises(MissingRequirement, match=r"linkerd 2\.352\.0; ztunnel 1\.30\.2, 1\.31\.0"):
        backend._proxies(Two())  # type: ignore[arg-type]


def test_ambient_mode_takes_a_right_in_istios_namespace_and_nothing_else_does() -> None:
    [right] = rights.of(DataPlane.AMBIENT)
    assert right.attributes("mine")["namespace"] == "istio-system"
    assert str(right) == "list pods in the namespace istio-system"
    assert [plane for plane in DataPlane if rights.of(plane)] == [DataPlane.AMBIENT, DataPlane.AMBIENT_WAYPOINT]


def test_a_run_that_lacks_it_says_so_before_anything_is_made(
    fake: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    from meshmark.cli import app

    fake.denied = {("list", "pods")}
    run = ["run", "meshes", "--backend", "kubernetes", "--context", "fake", "--client-image", "x", "--only", "ambient"]
    assert app.main([*run, "--share-nodes"]) == NoRights.exit_code
    assert "list pods in the namespace istio-system" in capsys.readouterr().err
    assert fake.writes == []


def test_each_mesh_and_a_waypoint_are_looked_at_before_the_first_round() -> None:
    planes = ("plain", "ambient", "ambient-waypoint", "ambient", "linkerd", "linkerd-skip")
    scenarios = [
        Scenario(name=f"{number}-{plane}", data_plane=DataPlane(plane)) for number, plane in enumerate(planes)
    ]
    found = sorted(each.name for each in backend.looked_at(scenarios))
    assert found == ["1-ambient", "2-ambient-waypoint", "4-linkerd"]
    assert [each.name for each in backend.looked_at(scenarios[:1])] == ["0-plain"]
