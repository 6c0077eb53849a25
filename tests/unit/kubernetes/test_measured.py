"""What a run adds to a scenario's objects, and what shows that its data plane does what it says."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import pytest

from meshmark import planfile
from meshmark.backends.kubernetes import evidence, manifests, target
from meshmark.backends.kubernetes.backend import given
from meshmark.backends.kubernetes.evidence import Connections, Place
from meshmark.backends.kubernetes.measured import STATISTICS, LoadPods, measured
from meshmark.backends.kubernetes.pools import Pool, affinity, tolerations
from meshmark.data_plane import DataPlane
from meshmark.errors import ComponentFailed
from meshmark.probes import envoy
from meshmark.record import Proof
from tests.unit.kubernetes.test_schemas import judge

IN_KUBERNETES = [plane for plane in DataPlane if "kubernetes" in plane.backends]


def bodies(data_plane: DataPlane, *, kafka: bool = True, nodes: str = "", share_nodes: bool = False) -> list[Any]:
    plan = planfile.builtin("banzai-2019")
    scenario = plan.scenarios[0].model_copy(update={"name": str(data_plane), "data_plane": data_plane})
    asked = target(plan, scenario, kafka_version="4.4.0", share_nodes=share_nodes)
    made = manifests(plan, scenario, asked)
    load = LoadPods(image="registry.example/meshmark:1", nodes=nodes)
    return [each.body for each in measured(made, scenario, asked, load, kafka=kafka)]


def workloads(found: list[Any]) -> dict[str, Any]:
    return {body["metadata"]["name"]: body for body in found if body["kind"] == "StatefulSet"}


def spec(workload: Any) -> Any:
    return workload["spec"]["template"]["spec"]


@pytest.mark.parametrize("kafka", [True, False])
@pytest.mark.parametrize("data_plane", IN_KUBERNETES)
def test_every_object_is_one_of_the_api(data_plane: DataPlane, kafka: bool) -> None:
    for body in bodies(data_plane, kafka=kafka, nodes="pool=load"):
        assert [error.message for error in judge(body).iter_errors(body)] == []


@pytest.mark.parametrize("data_plane", IN_KUBERNETES)
def test_no_pod_has_a_token_or_a_privilege_and_all_see_their_own_processes(data_plane: DataPlane) -> None:
    found = workloads(bodies(data_plane))
    for workload in found.values():
        assert spec(workload)["automountServiceAccountToken"] is False
        assert spec(workload)["shareProcessNamespace"] is True
        assert spec(workload)["securityContext"]["runAsNonRoot"] is True
        for container in spec(workload)["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
    assert [container["name"] for container in spec(found["broker"])["containers"]] == ["kafka", "monitor"]


def test_with_a_mesh_there_is_one_pod_outside_it_and_else_none() -> None:
    places: dict[str, Literal["broker", "client"]] = {"broker": "broker", "client": "client"}
    for data_plane in IN_KUBERNETES:
        found = workloads(bodies(data_plane))
        assert ("stranger" in found) is (data_plane.mesh != "none")
        for name, workload in found.items():
            told = workload["spec"]["template"]["metadata"]
            meshed = name in places and data_plane.has_sidecar(places[name])
            istio, linkerd = (meshed and data_plane.mesh == mesh for mesh in ("istio", "linkerd"))
            assert told["labels"]["sidecar.istio.io/inject"] == ("true" if istio else "false")
            assert (told["labels"].get("istio.io/dataplane-mode") == "none") is (name == "stranger")
            assert told["annotations"].get("linkerd.io/inject") == (
                "enabled" if linkerd else None if istio else "disabled"
            )


def test_load_pods_are_not_the_brokers_services_and_keep_away_from_them() -> None:
    found = bodies(DataPlane.PLAIN, nodes="pool=load")
    [service] = [body for body in found if body["kind"] == "Service"]
    client = workloads(found)["client"]
    labels = client["spec"]["template"]["metadata"]["labels"]
    assert not service["spec"]["selector"].items() <= labels.items()
    assert client["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert spec(client)["nodeSelector"] == {"pool": "load"}
    assert spec(client)["tolerations"] == tolerations(Pool.CLIENT)
    assert spec(client)["affinity"]["nodeAffinity"] == affinity(Pool.CLIENT)
    [term] = spec(client)["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["labelSelector"]["matchLabels"] == service["spec"]["selector"]
    shared = workloads(bodies(DataPlane.PLAIN, share_nodes=True))["client"]
    assert list(spec(shared)["affinity"]["podAntiAffinity"]) == ["preferredDuringSchedulingIgnoredDuringExecution"]
    assert "nodeSelector" not in spec(shared)


def test_only_load_pods_of_kafka_tls_get_the_authority_and_no_key() -> None:
    for data_plane in IN_KUBERNETES:
        secrets = [volume["secret"] for volume in spec(workloads(bodies(data_plane))["client"])["volumes"][1:]]
        only = [{"secretName": "broker-tls", "items": [{"key": "ca.crt", "path": "ca.crt"}]}]
        assert secrets == (only if data_plane is DataPlane.KAFKA_TLS else [])


def test_without_kafka_the_containers_are_idle_and_the_mesh_knows_the_probes_port() -> None:
    found = bodies(DataPlane.ISTIO_MTLS, kafka=False)
    kafka, monitor = spec(workloads(found)["broker"])["containers"]
    assert kafka["command"] == monitor["command"] == ["sleep", "2147483647"]
    assert [key for key in kafka if key.endswith("Probe")] == []
    [service] = [body for body in found if body["kind"] == "Service"]
    assert [port["port"] for port in service["spec"]["ports"]] == [9092, 9093, 5201]


def test_without_kafka_linkerd_carries_and_guards_the_probes_port_too() -> None:
    key, guarded = "config.linkerd.io/opaque-ports", "config.linkerd.io/proxy-require-identity-inbound-ports"
    for kafka, ports in ((True, "9092"), (False, "9092,5201")):
        found = bodies(DataPlane.LINKERD, kafka=kafka)
        [service] = [body for body in found if body["kind"] == "Service"]
        assert service["metadata"]["annotations"][key] == ports
        for name in ("broker", "client"):
            told = workloads(found)[name]["spec"]["template"]["metadata"]["annotations"]
            assert (told[key], told[guarded]) == (ports, ports)
    skipped = workloads(bodies(DataPlane.LINKERD_SKIP, kafka=False))["broker"]
    assert not {key, guarded} & skipped["spec"]["template"]["metadata"]["annotations"].keys()


def test_sidecars_count_what_is_read_of_them() -> None:
    for name in ("broker", "client"):
        template = workloads(bodies(DataPlane.ISTIO))[name]["spec"]["template"]
        told = json.loads(template["metadata"]["annotations"]["proxy.istio.io/config"])
        assert told["proxyStatsMatcher"] == {"inclusionRegexps": list(STATISTICS)}
        assert told["holdApplicationUntilProxyStarts"] is True
    read = [
        "tcp.outbound|9092||kafka.ns.svc.cluster.local.downstream_cx_rx_bytes_total",
        "tcp.inbound|9092||.downstream_cx_tx_bytes_total",
        "listener.0.0.0.0_15006.downstream_cx_active",
    ]
    for name in read:
        assert re.fullmatch(envoy.FILTER, name)
        assert any(re.fullmatch(pattern, name) for pattern in STATISTICS)
    counted = "cluster.outbound|9092||kafka.ns.svc.cluster.local;.ssl.handshake"
    assert any(re.fullmatch(pattern, counted) for pattern in STATISTICS)


def test_what_pods_are_of_and_get_is_told_so_that_a_run_goes_on_with_no_other() -> None:
    plan = planfile.builtin("banzai-2019")
    scenario = plan.scenario(DataPlane.PLAIN)
    asked = target(plan, scenario, kafka_version="4.4.0")
    load = LoadPods(image="meshmark:1")
    said = "brokers docker.io/apache/kafka:4.4.0, 4 CPUs, 12Gi of memory, heap 10Gi, volume 12Gi of the default class"
    assert given(scenario, asked, load) == f"pods: {said}; load meshmark:1"
    size = {"cpus": 5, "memory_bytes": 2**34, "heap_bytes": 2**30, "volume_bytes": 2**40}
    for changed in ({name: value} for name, value in {**size, "storage_class": "fast", "image": "other"}.items()):
        assert given(scenario, replace(asked, **changed), load) != given(scenario, asked, load)  # type: ignore[arg-type]
    elsewhere = LoadPods(image="meshmark:1", nodes="pool=load")
    assert given(scenario, asked, elsewhere).endswith("meshmark:1 on nodes pool=load")
    of_operator = planfile.provided(plan, "strimzi").scenario(DataPlane.PLAIN)
    assert given(of_operator, asked, load).startswith("pods: brokers by strimzi, 4 CPUs")


STATS = """cluster.outbound|9092||kafka.ns.svc.cluster.local;.upstream_cx_total: 9
cluster.outbound|9092||kafka.ns.svc.cluster.local;.upstream_cx_connect_fail: 2
cluster.outbound|9092||kafka.ns.svc.cluster.local;.ssl.handshake: {tls}
cluster.outbound|443||kubernetes.default.svc.cluster.local;.ssl.handshake: 5
cluster.inbound|9092||;.upstream_cx_total: 7
"""


class Agent:
    """Of a pod whose sidecar has made seven connections, and `tls` handshakes; asked, Kafka answers or not, where
    there is a way to it."""

    def __init__(
        self, host: str, *, tls: int = 0, answers: bool = True, reaches: bool = True, at: tuple[int, ...] = ()
    ) -> None:
        """`at`: ports that answer whatever others do."""
        self.host = host
        self._tls, self._answers, self._reaches, self._at = tls, answers, reaches, at
        self.asked: list[Mapping[str, Any]] = []

    def ask(self, question: str, **more: Any) -> Any:
        if question == "page":
            assert (more["address"], more["port"]) == ("127.0.0.1", 15_000)
            return STATS.format(tls=self._tls)
        if question == "reach":
            return self._reaches
        assert question == "kafka"
        self.asked.append(more)
        answers = self._answers or more["port"] in self._at
        return [answers and more.get("authority") != evidence.ANYBODY, "told"]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sidecars have counted all that they will."""
    monkeypatch.setattr(evidence, "SETTLED_S", 0.0)


BROKER = Place(host="broker-1", address="10.0.0.1", name="broker-1.kafka.ns.svc")


def proofs(data_plane: DataPlane, client: Agent, stranger: Agent | None) -> dict[str, bool]:
    strangers = {BROKER.host: stranger} if stranger else {}
    found = evidence.prove(data_plane, [BROKER], {}, [client], strangers)  # type: ignore[list-item,arg-type]
    return {proof.name: proof.holds for proof in found}


def test_connections_are_those_to_kafkas_port_that_were_made() -> None:
    assert evidence.connections(STATS.format(tls=6)) == Connections(made=7, encrypted=6)
    assert evidence.connections("server.uptime: 5\n") == Connections(made=0, encrypted=0)


def test_strict_is_shown_by_refusals_beside_an_answer_and_by_handshakes() -> None:
    held = proofs(DataPlane.ISTIO_MTLS, Agent("client-1", tls=7), Agent("stranger-1", answers=False))
    assert held == {
        "a client behind a sidecar gets an answer": True,
        "STRICT: a plaintext client outside the mesh gets no answer": True,
        "STRICT: a TLS client without a certificate gets no answer": True,
        "every connection that its sidecar made to Kafka is TLS": True,
    }
    permissive = proofs(DataPlane.ISTIO_MTLS, Agent("client-1", tls=6), Agent("stranger-1"))
    assert [name for name, holds in permissive.items() if not holds] == [
        "STRICT: a plaintext client outside the mesh gets no answer",
        "every connection that its sidecar made to Kafka is TLS",
    ]


class Late(Agent):
    """One handshake is under way when its sidecar is asked for the first time."""

    def ask(self, question: str, **more: Any) -> Any:
        told = super().ask(question, **more)
        self._tls += question == "page"
        return told


def test_a_sidecar_is_asked_again_while_a_handshake_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "SETTLED_S", 60.0)
    monkeypatch.setattr(evidence, "POLL_S", 0.001)
    client, stranger = Late("client-1", tls=5), Agent("stranger-1", answers=False)
    found = evidence.prove(DataPlane.ISTIO_MTLS, [BROKER], {}, [client], {BROKER.host: stranger})  # type: ignore[list-item,dict-item]
    assert found[-1].holds
    assert found[-1].detail == "Envoy counts 7 connections and 7 TLS handshakes"


def test_a_refusal_where_nothing_accepts_connections_shows_nothing() -> None:
    away = Agent("stranger-1", answers=False, reaches=False)
    held = proofs(DataPlane.ISTIO_MTLS, Agent("client-1", tls=7), away)
    assert [name for name, holds in held.items() if not holds] == [
        "STRICT: a plaintext client outside the mesh gets no answer",
        "STRICT: a TLS client without a certificate gets no answer",
    ]


class Sender(Agent):
    """Its sidecar has sent what was asked so far, and nothing else."""

    def ask(self, question: str, **more: Any) -> Any:
        if question == "page":
            made = Counter(each["port"] for each in self.asked)
            names = {f"cluster.outbound|{port}||kafka.ns.svc.cluster.local;": count for port, count in made.items()}
            return "".join(f"{name}.upstream_cx_total: {n}\n{name}.ssl.handshake: {n}\n" for name, n in names.items())
        return super().ask(question, **more)


def test_of_several_brokers_each_asks_the_others_before_its_sidecar_is_counted() -> None:
    brokers = [Place(host=f"broker-{n}", address=f"10.0.0.{n}", name=f"broker-{n}.kafka.ns.svc") for n in range(1, 4)]
    agents = {broker.host: Sender(broker.host) for broker in brokers}
    clients = [Sender("client-1"), Sender("client-2")]
    strangers = {broker.host: Agent("stranger-1", answers=False) for broker in brokers}
    found = evidence.prove(DataPlane.ISTIO_MTLS, brokers, agents, clients, strangers)  # type: ignore[arg-type]
    assert [proof for proof in found if not proof.holds] == []
    assert [proof.host for proof in found if "its sidecar" in proof.name] == ["client-1", "client-2", *agents]
    asked = {host: [more["address"] for more in agent.asked] for host, agent in agents.items()}
    assert asked == {"broker-1": ["10.0.0.2", "10.0.0.3"], "broker-2": ["10.0.0.1", "10.0.0.3"]} | {
        "broker-3": ["10.0.0.1", "10.0.0.2"]
    }
    assert [len(client.asked) for client in clients] == [len(brokers)] * len(clients)


def test_where_the_mesh_carries_controllers_they_are_asked_as_brokers_are_by_their_names() -> None:
    brokers = [
        Place(host=f"broker-{n}", address=f"10.0.0.{n}", name=f"broker-{n}.ns.svc", within=f"broker-{n}.ns.svc")
        for n in (1, 2)
    ]
    agents = {broker.host: Sender(broker.host) for broker in brokers}
    client, outside = Sender("client-1"), Agent("stranger-1", answers=False)
    found = evidence.prove(
        DataPlane.ISTIO_MTLS,
        brokers,
        agents,  # type: ignore[arg-type]
        [client],  # type: ignore[list-item]
        {broker.host: outside for broker in brokers},  # type: ignore[misc]
        [brokers[0]._replace(port=9093)],
    )
    of_controllers = [(proof.name, proof.host, proof.holds) for proof in found if "controller" in proof.name]
    assert of_controllers == [
        ("a client behind a sidecar gets an answer at the controllers' port", "broker-1", True),
        ("STRICT: a plaintext client outside the mesh gets no answer at the controllers' port", "broker-1", True),
        ("STRICT: a TLS client without a certificate gets no answer at the controllers' port", "broker-1", True),
        ("every connection that its sidecar made to controllers is TLS", "broker-2", True),
    ]
    asked = [(more["address"], more["port"]) for more in agents["broker-2"].asked]
    assert asked == [("broker-1.ns.svc", 9092), ("broker-1.ns.svc", 9093)]
    assert {more["address"] for more in outside.asked} == {"10.0.0.1", "10.0.0.2"}


def test_without_mtls_nothing_is_encrypted_and_plaintext_is_answered() -> None:
    assert all(proofs(DataPlane.ISTIO, Agent("client-1"), Agent("stranger-1")).values())
    assert not all(proofs(DataPlane.ISTIO, Agent("client-1", tls=1), Agent("stranger-1")).values())
    assert proofs(DataPlane.PLAIN, Agent("client-1"), None) == {}


def test_that_replication_is_excluded_is_shown_by_an_answer_in_the_clear_at_its_own_port() -> None:
    plane, client = DataPlane.ISTIO_MTLS_EXCLUDE_REPLICATION, Agent("client-1", tls=7)
    excluded = "a plaintext client outside the mesh gets an answer at port 9091, which the mesh excludes"
    held = proofs(plane, client, Agent("stranger-1", answers=False, at=(9091,)))
    assert held == dict.fromkeys([*proofs(DataPlane.ISTIO_MTLS, client, Agent("stranger-1")), excluded], True)
    refused = proofs(plane, client, Agent("stranger-1", answers=False))
    assert [name for name, holds in refused.items() if not holds] == [excluded]


def test_where_only_clients_are_in_the_mesh_no_broker_asks_through_a_sidecar() -> None:
    brokers = [Place(host=f"broker-{n}", address=f"10.0.0.{n}", name=f"broker-{n}.kafka.ns.svc") for n in (1, 2)]
    agents = {broker.host: Agent(broker.host) for broker in brokers}
    clients, strangers = [Agent("client-1")], {broker.host: Agent("stranger-1") for broker in brokers}
    found = evidence.prove(DataPlane.ISTIO_CLIENTS, brokers, agents, clients, strangers)  # type: ignore[arg-type]
    assert [proof for proof in found if not proof.holds] == []
    assert [agent.asked for agent in agents.values()] == [[], []]
    assert [proof.host for proof in found if "its sidecar" in proof.name] == ["client-1"]


LINKERD = (
    'tcp_open_total{{direction="outbound",peer="dst",target_addr="10.0.0.2:9092",tls="true"}} {tls}\n'
    'tcp_open_total{{direction="outbound",peer="dst",target_addr="10.0.0.2:9092",tls="no_identity"}} {plain}\n'
)


class Behind(Agent):
    """Linkerd's proxy, which has made so many connections to Kafka's port."""

    def __init__(self, host: str, *, tls: int = 0, plain: int = 0) -> None:
        super().__init__(host)
        self.text = LINKERD.format(tls=tls, plain=plain)

    def ask(self, question: str, **more: Any) -> Any:
        if question == "page":
            assert more == {"address": "127.0.0.1", "port": 4_191, "path": "/metrics"}
            return self.text
        return super().ask(question, **more)


def test_linkerds_tls_is_shown_by_refusals_and_by_its_own_labels() -> None:
    outside = Agent("stranger-1", answers=False)
    assert proofs(DataPlane.LINKERD, Behind("client-1", tls=3), outside) == {
        "a client behind a sidecar gets an answer": True,
        "require-identity: a plaintext client outside the mesh gets no answer": True,
        "require-identity: a TLS client without a certificate gets no answer": True,
        "every connection that its sidecar made to Kafka is TLS": True,
    }
    for wrong in (Behind("client-1", tls=3, plain=1), Behind("client-1")):
        held = proofs(DataPlane.LINKERD, wrong, outside)
        assert [name for name, holds in held.items() if not holds] == [
            "every connection that its sidecar made to Kafka is TLS"
        ]


def test_a_page_that_linkerds_proxy_has_not_is_told_with_where_it_is() -> None:
    odd = Behind("client-1")
    odd.text = "tcp_open_total many"
    with pytest.raises(ComponentFailed, match=r"127\.0\.0\.1:4191/metrics answers to client-1 cannot be read: .*many"):
        proofs(DataPlane.LINKERD, odd, Agent("stranger-1", answers=False))


def test_ports_that_linkerd_skips_are_answered_to_everybody_and_its_proxy_has_seen_nothing() -> None:
    name = "no connection to Kafka passes its sidecar"
    held = proofs(DataPlane.LINKERD_SKIP, Behind("client-1"), Agent("stranger-1"))
    assert held == {
        "a client behind a sidecar gets an answer": True,
        "a plaintext client outside the mesh gets an answer": True,
        name: True,
    }
    assert not proofs(DataPlane.LINKERD_SKIP, Behind("client-1", tls=1), Agent("stranger-1"))[name]


def test_in_ambient_mode_no_pod_has_a_counter_of_its_own() -> None:
    assert proofs(DataPlane.AMBIENT, Agent("client-1"), Agent("stranger-1", answers=False)) == {
        "a client in the mesh gets an answer": True,
        "STRICT: a plaintext client outside the mesh gets no answer": True,
        "STRICT: a TLS client without a certificate gets no answer": True,
    }


def test_kafkas_own_tls_is_shown_by_a_client_that_verifies_the_brokers_name() -> None:
    client = Agent("client-1")
    assert list(proofs(DataPlane.KAFKA_TLS, client, None).values()) == [False, True]
    assert client.asked[1] == {
        "address": "10.0.0.1",
        "port": 9092,
        "authority": "/etc/meshmark-tls/ca.crt",
        "server_name": "broker-1.kafka.ns.svc",
    }


def test_of_envoys_configuration_what_concerns_kafka_is_kept() -> None:
    inbound, other = {"name": "virtualInbound", "x": 1}, {"name": "10.0.0.1_443"}
    clusters = [{"name": f"outbound|{port}||kafka.ns.svc"} for port in (9092, 9093)]
    clusters.append({"name": "outbound|9092||other.ns.svc"})
    dump = {
        "configs": [
            {"dynamic_listeners": [{"active_state": {"listener": each}} for each in (inbound, other)]},
            {"dynamic_active_clusters": [{"cluster": each} for each in clusters]},
            {"dynamic_active_secrets": [{"secret": {"private_key": "x"}}]},
        ]
    }
    assert json.loads(evidence.envoy_configuration(json.dumps(dump))) == {"accepts": [inbound], "sends": clusters[:1]}
    assert evidence.envoy_version('{"version": "abc/1.38.0/Clean/RELEASE/BoringSSL"}') == "1.38.0"


def test_on_a_shared_node_of_two_cpus_three_brokers_fit_with_sidecars_and_weigh_a_fifth_of_a_load_pod() -> None:
    reserved = {}
    for name, workload in workloads(bodies(DataPlane.ISTIO_MTLS, share_nodes=True)).items():
        template = workload["spec"]["template"]
        containers = [container["resources"]["requests"]["cpu"] for container in template["spec"]["containers"]]
        sidecar = template["metadata"].get("annotations", {}).get("sidecar.istio.io/proxyCPU", "0m")
        reserved[name] = workload["spec"]["replicas"] * sum(map(millicores, [*containers, sidecar]))
    assert sum(reserved.values()) <= 2_000
    assert 5 * reserved["broker"] <= reserved["client"]


def millicores(text: str) -> int:
    return int(text.removesuffix("m")) * (1 if text.endswith("m") else 1_000)


def proved(*told: Any) -> tuple[Proof, ...]:
    """Agents are fakes of ours."""
    return evidence.prove(*told)


def test_in_ambient_mode_controllers_are_asked_as_brokers_are() -> None:
    places = [Place(host=f"broker-{n}", address=f"10.0.0.{n}", name=f"broker-{n}.kafka.ns.svc") for n in (1, 2)]
    agents = {place.host: Agent(place.host) for place in places}
    strangers = dict.fromkeys(agents, Agent("stranger-1", answers=False))
    ports = [place._replace(port=9093) for place in places]
    found = proved(DataPlane.AMBIENT, places, agents, [Agent("client-1")], strangers, ports)
    told = [(proof.name, proof.host) for proof in found if proof.name.endswith("at the controllers' port")]
    assert told == [
        (f"{name} at the controllers' port", place.host)
        for place in places
        for name in (
            "a client in the mesh gets an answer",
            "STRICT: a plaintext client outside the mesh gets no answer",
            "STRICT: a TLS client without a certificate gets no answer",
        )
    ]
    assert all(proof.holds for proof in found)


def test_behind_a_waypoint_controllers_are_encrypted_by_ztunnel_alone() -> None:
    by = DataPlane.AMBIENT_WAYPOINT.encrypted_by
    assert by == dict.fromkeys(("client-broker", "broker-broker"), "ztunnel and waypoint") | {"controller": "ztunnel"}


TAKEN = 'tcp_open_total{{direction="inbound",peer="src",target_addr="10.0.0.2:9092",tls="{tls}"}} {many}\n'


class Taking(Behind):
    """A broker's, which has taken so many as well."""

    def __init__(self, host: str, *, tls: int, plain: int = 0) -> None:
        super().__init__(host, tls=1)
        self.text += TAKEN.format(tls="true", many=tls) + TAKEN.format(tls="no_identity", many=plain)


@pytest.mark.parametrize(("tls", "plain", "holds"), [(3, 0, True), (3, 1, False), (0, 0, False)])
def test_plaintext_that_a_brokers_proxy_took_is_found_though_nobody_behind_a_proxy_sent_it(
    tls: int, plain: int, holds: bool
) -> None:
    agents, strangers = (
        {BROKER.host: Taking(BROKER.host, tls=tls, plain=plain)},
        {BROKER.host: Agent("s", answers=False)},
    )
    found = proved(DataPlane.LINKERD, [BROKER], agents, [Behind("client-1", tls=1)], strangers)
    [taken] = [proof for proof in found if proof.name == "every connection that its sidecar took for Kafka is TLS"]
    assert (taken.host, taken.holds) == (BROKER.host, holds)
    assert all(proof.holds for proof in found if proof is not taken)
