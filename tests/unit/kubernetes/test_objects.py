"""A scenario as Kubernetes objects: what refers to what, who is whom, and what a pod is denied."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from meshmark.backends.kubernetes import manifests, target
from meshmark.backends.kubernetes.asked import GIB, Target
from meshmark.data_plane import DataPlane
from meshmark.kafka.properties import Node, broker_properties, render
from meshmark.plan import ClusterSpec, Plan, Scenario, Workload
from tests.planes import EVERYWHERE

RECOMMENDED = ("name", "instance", "version", "component", "part-of", "managed-by")


def plan(data_plane: DataPlane = DataPlane.PLAIN, **cluster: Any) -> Plan:
    spec = ClusterSpec(**cluster)
    work = Workload(replication_factor=min(3, spec.brokers))
    scenario = Scenario(name="it", data_plane=data_plane, cluster=spec, workload=work)
    return Plan(name="small", scenarios=(scenario,))


def asked(of: Plan, **more: Any) -> Target:
    return target(of, of.scenarios[0], kafka_version="4.4.0", **more)


def objects(of: Plan, **more: Any) -> dict[str, Any]:
    """Kind -> the only object of it."""
    found = [made.body for made in manifests(of, of.scenarios[0], asked(of, **more))]
    assert len({body["kind"] for body in found}) == len(found)
    return {body["kind"]: body for body in found}


def pod(found: Mapping[str, Any]) -> Any:
    return found["StatefulSet"]["spec"]["template"]


def container(found: Mapping[str, Any]) -> Any:
    [only] = pod(found)["spec"]["containers"]
    return only


def settings(found: Mapping[str, Any], number: int) -> dict[str, str]:
    lines = found["ConfigMap"]["data"][f"broker-{number}.properties"].splitlines()
    return dict(line.split("=", 1) for line in lines)


def selectors(value: Any) -> Iterator[Mapping[str, str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key == "matchLabels":
                yield item
            else:
                yield from selectors(item)
    elif isinstance(value, list):
        for item in value:
            yield from selectors(item)


@pytest.mark.parametrize("data_plane", EVERYWHERE)
def test_every_object_is_named_labelled_and_in_the_namespace(data_plane: DataPlane) -> None:
    found = objects(plan(data_plane), namespace="mine")
    assert found["Namespace"]["metadata"]["name"] == "mine"
    for kind, body in found.items():
        metadata = body["metadata"]
        assert kind == "Namespace" or metadata["namespace"] == "mine"
        assert {f"app.kubernetes.io/{name}" for name in RECOMMENDED} <= set(metadata["labels"])
        assert metadata["labels"]["meshmark/data-plane"] == data_plane


@pytest.mark.parametrize("data_plane", EVERYWHERE)
def test_every_selector_finds_the_brokers_pods(data_plane: DataPlane) -> None:
    found = objects(plan(data_plane))
    labels = pod(found)["metadata"]["labels"].items()
    used = [*selectors(list(found.values())), found["Service"]["spec"]["selector"]]
    assert len(used) == 5
    assert all(each and each.items() <= labels for each in used)


@pytest.mark.parametrize("data_plane", EVERYWHERE)
def test_what_a_pod_refers_to_is_declared(data_plane: DataPlane) -> None:
    found = objects(plan(data_plane))
    spec = pod(found)["spec"]
    volumes = {volume["name"] for volume in spec["volumes"]}
    claims = {claim["metadata"]["name"] for claim in found["StatefulSet"]["spec"]["volumeClaimTemplates"]}
    assert {mount["name"] for mount in container(found)["volumeMounts"]} == volumes | claims
    assert not volumes & claims
    assert spec["serviceAccountName"] == found["ServiceAccount"]["metadata"]["name"]
    assert found["StatefulSet"]["spec"]["serviceName"] == found["Service"]["metadata"]["name"]
    [config] = [volume["configMap"]["name"] for volume in spec["volumes"] if "configMap" in volume]
    assert config == found["ConfigMap"]["metadata"]["name"]
    ports = {port["name"]: port["containerPort"] for port in container(found)["ports"]}
    assert {port["targetPort"]: port["port"] for port in found["Service"]["spec"]["ports"]} == ports


@pytest.mark.parametrize("brokers", [1, 3])
def test_brokers_are_numbered_as_their_pods_and_found_by_their_names(brokers: int) -> None:
    found = objects(plan(brokers=brokers), namespace="mine")
    stateful = found["StatefulSet"]["spec"]
    first = stateful["ordinals"]["start"]
    numbers = range(first, first + stateful["replicas"])
    base = f"{found['StatefulSet']['metadata']['name']}-%d.{stateful['serviceName']}.mine.svc"
    voters = ",".join(f"{number}@{base % number}:9093" for number in numbers)
    files = {name for name in found["ConfigMap"]["data"] if name.endswith(".properties")}
    assert files == {"log4j2.properties", *(f"broker-{number}.properties" for number in numbers)}
    for number in numbers:
        made = settings(found, number)
        assert made["node.id"] == str(number)
        assert made["advertised.listeners"] == f"CLIENT://{base % number}:9092"
        assert made["listeners"] == "CLIENT://:9092,CONTROLLER://:9093"
        assert made["controller.quorum.voters"] == voters


def test_settings_are_the_labs_but_for_addresses_and_directories() -> None:
    asked_for = plan(broker_config={"num.network.threads": 5})
    nodes = [Node(node_id=number, address=f"10.0.0.{number}") for number in (1, 2, 3)]
    lab = broker_properties(
        asked_for.scenarios[0],
        nodes,
        nodes[1],
        directory=Path("/lab"),
        log_budget_bytes=asked_for.log_budget_bytes,
    )
    here = settings(objects(asked_for), 2)
    different = {key for key in here.keys() | lab.keys() if here.get(key) != lab.get(key)}
    where = {"listeners", "advertised.listeners", "controller.quorum.voters", "log.dirs", "metadata.log.dir"}
    assert different == where
    assert render(here) == objects(asked_for)["ConfigMap"]["data"]["broker-2.properties"]


def test_logs_are_on_the_volume_and_all_else_that_is_written_is_not_in_the_image() -> None:
    found = objects(plan())
    mounts = {mount["name"]: mount["mountPath"] for mount in container(found)["volumeMounts"]}
    made = settings(found, 1)
    assert made["log.dirs"].startswith(mounts["data"] + "/")
    assert made["metadata.log.dir"].startswith(mounts["data"] + "/")
    environment = {each["name"]: each.get("value", "") for each in container(found)["env"]}
    assert environment["LOG_DIR"].startswith(mounts["temporary"] + "/")
    assert environment["KAFKA_LOG4J_OPTS"].endswith(f"={mounts['config']}/log4j2.properties")


@pytest.mark.parametrize("data_plane", EVERYWHERE)
def test_a_pod_has_no_rights(data_plane: DataPlane) -> None:
    """As Kubernetes' own standard "restricted" wants it, and a root file system that cannot be written."""
    found = objects(plan(data_plane))
    spec, inside = pod(found)["spec"], container(found)["securityContext"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert inside == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not spec["automountServiceAccountToken"]
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)


def test_a_broker_is_as_large_as_in_the_document() -> None:
    found = objects(plan())
    size = {"cpu": "4", "memory": "12Gi"}
    assert container(found)["resources"] == {"requests": size, "limits": size}
    assert f"-Xms{10 * GIB} -Xmx{10 * GIB}" in [each.get("value") for each in container(found)["env"]]


@pytest.mark.parametrize(
    ("heap_bytes", "said", "expected"), [(2**30, None, 10 * GIB), (2 * GIB, None, 2 * GIB), (2 * GIB, GIB, GIB)]
)
def test_a_plans_heap_is_heard_where_it_is_not_the_labs_default(
    heap_bytes: int, said: int | None, expected: int
) -> None:
    assert asked(plan(heap_bytes=heap_bytes), heap_bytes=said).heap_bytes == expected


def test_volumes_have_room_for_the_plans_logs_and_the_class_that_is_asked_for() -> None:
    def claim(found: Mapping[str, Any]) -> Any:
        [only] = found["StatefulSet"]["spec"]["volumeClaimTemplates"]
        return only["spec"]

    budget = plan().log_budget_bytes
    by_default = claim(objects(plan()))
    assert "storageClassName" not in by_default
    assert int(by_default["resources"]["requests"]["storage"].removesuffix("Gi")) * GIB * 3 * 0.8 >= budget
    chosen = claim(objects(plan(), storage_class="fast", volume_bytes=500 * GIB))
    assert chosen["storageClassName"] == "fast"
    assert chosen["resources"]["requests"]["storage"] == "500Gi"


def test_brokers_have_nodes_of_their_own_and_go_one_at_a_time() -> None:
    found = objects(plan())
    [apart] = pod(found)["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert apart["topologyKey"] == "kubernetes.io/hostname"
    assert found["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1
    assert "annotations" not in found["StatefulSet"]["metadata"]


def test_brokers_that_may_share_a_node_say_so_and_reserve_next_to_no_cpu() -> None:
    found = objects(plan(DataPlane.ISTIO_MTLS), share_nodes=True)
    placed = pod(found)["spec"]["affinity"]["podAntiAffinity"]
    assert placed.keys() == {"preferredDuringSchedulingIgnoredDuringExecution"}
    assert container(found)["resources"] == {
        "requests": {"cpu": "10m", "memory": "12Gi"},
        "limits": {"cpu": "4", "memory": "12Gi"},
    }
    sidecar = pod(found)["metadata"]["annotations"]
    assert (sidecar["sidecar.istio.io/proxyCPU"], sidecar["sidecar.istio.io/proxyCPULimit"]) == ("10m", "2")
    assert found["StatefulSet"]["metadata"]["annotations"] == {"meshmark/share-nodes": "true"}


def test_a_quorum_can_form_before_anybody_is_ready() -> None:
    found = objects(plan())
    assert found["Service"]["spec"]["clusterIP"] == "None"
    assert found["Service"]["spec"]["publishNotReadyAddresses"] is True
    assert found["StatefulSet"]["spec"]["podManagementPolicy"] == "Parallel"


def test_a_broker_that_waits_for_others_or_recovers_its_logs_is_not_killed() -> None:
    """Kubernetes asks for liveness only once the start has succeeded; it does not where the first asks less."""
    found = container(objects(plan()))
    start, alive = found["startupProbe"], found["livenessProbe"]
    assert start["exec"] == alive["exec"]
    assert start["periodSeconds"] * start["failureThreshold"] >= 3_600


def test_no_proxy_has_to_guess_what_is_spoken() -> None:
    for port in objects(plan(DataPlane.ISTIO_MTLS))["Service"]["spec"]["ports"]:
        assert port["name"].startswith("tcp-")
        assert port["appProtocol"] == "tcp"


@pytest.mark.parametrize(
    ("data_plane", "injected", "accepted", "sent"),
    [
        (DataPlane.PLAIN, False, None, None),
        (DataPlane.KAFKA_TLS, False, None, None),
        (DataPlane.ISTIO, True, "DISABLE", "DISABLE"),
        (DataPlane.ISTIO_MTLS, True, "STRICT", "ISTIO_MUTUAL"),
    ],
)
def test_a_data_plane_says_who_has_a_sidecar_and_who_encrypts(
    data_plane: DataPlane, injected: bool, accepted: str | None, sent: str | None
) -> None:
    found = objects(plan(data_plane))
    assert pod(found)["metadata"]["labels"]["sidecar.istio.io/inject"] == str(injected).lower()
    labels = found["Namespace"]["metadata"]["labels"]
    assert labels["istio-injection"] == ("enabled" if injected else "disabled")
    assert ("PeerAuthentication" in found, "DestinationRule" in found) == (injected, injected)
    if injected:
        assert found["PeerAuthentication"]["spec"] == {"mtls": {"mode": accepted}}
        assert "selector" not in found["PeerAuthentication"]["spec"], "of the namespace"
        rule = found["DestinationRule"]["spec"]
        assert rule == {"host": found["Service"]["metadata"]["name"], "trafficPolicy": {"tls": {"mode": sent}}}


def test_a_sidecar_has_the_plans_threads_and_leaves_controllers_alone() -> None:
    found = objects(plan(DataPlane.ISTIO_MTLS, sidecar_concurrency=3))
    said = pod(found)["metadata"]["annotations"]
    assert json.loads(said["proxy.istio.io/config"]) == {"concurrency": 3, "holdApplicationUntilProxyStarts": True}
    assert said["sidecar.istio.io/proxyCPU"] == said["sidecar.istio.io/proxyCPULimit"] == "3"
    for way in ("Inbound", "Outbound"):
        assert said[f"traffic.sidecar.istio.io/exclude{way}Ports"] == "9093"
    assert all(isinstance(value, str) for value in said.values())


def test_excluded_replication_has_a_port_that_sidecars_leave_alone_both_ways() -> None:
    found = objects(plan(DataPlane.ISTIO_MTLS_EXCLUDE_REPLICATION))
    said = pod(found)["metadata"]["annotations"]
    for way in ("Inbound", "Outbound"):
        assert said[f"traffic.sidecar.istio.io/exclude{way}Ports"] == "9093,9091"
    ports = [("tcp-kafka", 9092), ("tcp-controller", 9093), ("tcp-replication", 9091)]
    assert [(each["name"], each["port"]) for each in found["Service"]["spec"]["ports"]] == ports
    assert [(each["name"], each["containerPort"]) for each in container(found)["ports"]] == ports
    settings = found["ConfigMap"]["data"]["broker-1.properties"]
    assert "inter.broker.listener.name=REPLICATION\n" in settings
    assert found["PeerAuthentication"]["spec"] == {"mtls": {"mode": "STRICT"}}


def test_where_only_clients_are_in_the_mesh_the_namespace_injects_and_brokers_say_no() -> None:
    found = objects(plan(DataPlane.ISTIO_CLIENTS))
    assert found["Namespace"]["metadata"]["labels"]["istio-injection"] == "enabled"
    assert pod(found)["metadata"]["labels"]["sidecar.istio.io/inject"] == "false"
    assert "proxy.istio.io/config" not in pod(found)["metadata"]["annotations"]
    assert found["DestinationRule"]["spec"]["trafficPolicy"] == {"tls": {"mode": "DISABLE"}}


def test_data_planes_differ_in_nothing_else() -> None:
    def shape(data_plane: DataPlane) -> Any:
        found = objects(plan(data_plane))
        for kind in ("PeerAuthentication", "DestinationRule"):
            found.pop(kind, None)
        found["Namespace"] = None
        text = json.dumps(found, sort_keys=True)
        spec = json.loads(text)
        spec["StatefulSet"]["spec"]["template"]["metadata"] = None
        return json.dumps(spec).replace(f'"{data_plane}"', '"DATA PLANE"')

    assert shape(DataPlane.PLAIN) == shape(DataPlane.ISTIO) == shape(DataPlane.ISTIO_MTLS)


def test_a_private_key_is_a_secret_of_the_cluster_and_in_no_file() -> None:
    found = objects(plan(DataPlane.KAFKA_TLS))
    assert "Secret" not in found
    [secret] = [volume["secret"] for volume in pod(found)["spec"]["volumes"] if "secret" in volume]
    assert secret == {"secretName": "broker-tls", "defaultMode": 0o440}
    [where] = [mount["mountPath"] for mount in container(found)["volumeMounts"] if mount["name"] == "tls"]
    made = settings(found, 1)
    assert made["ssl.keystore.location"] == f"{where}/tls-combined.pem"
    assert made["ssl.truststore.location"] == f"{where}/ca.crt"
    assert made["listener.security.protocol.map"] == "CLIENT:SSL,CONTROLLER:PLAINTEXT"
    assert "PRIVATE KEY" not in json.dumps(found)


def test_pods_follow_their_configuration() -> None:
    def said(of: Plan) -> str:
        return str(pod(objects(of))["metadata"]["annotations"]["meshmark/config-sha256"])

    assert said(plan()) == said(plan())
    assert said(plan()) != said(plan(broker_config={"num.io.threads": 3}))


def test_a_cluster_has_the_same_id_each_time_and_another_one_elsewhere() -> None:
    def identity(namespace: str) -> str:
        script = objects(plan(), namespace=namespace)["ConfigMap"]["data"]["start.sh"]
        [found] = re.findall(r"--cluster-id (\S+)", script)
        return str(found)

    made = [identity(f"ns-{number}") for number in range(100)]
    assert identity("ns-0") == made[0]
    assert len(set(made)) == 100
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{21}", each) for each in made)
