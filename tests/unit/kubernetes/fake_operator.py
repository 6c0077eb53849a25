"""What Strimzi and Koperator do with what they are given, and meshes with pods, as far as meshmark looks at it.

Labels, owners, names, conditions and finalizers are as their code has them (Strimzi 1.2, Koperator 0.28). What passes
here was never seen by an operator that ran.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from meshmark.backends.kubernetes.kinds import (
    CLAIM,
    CONFIG_MAP,
    GATEWAY,
    KAFKA,
    KAFKA_CLUSTER,
    KAFKA_NODE_POOL,
    LISTED,
    NAMESPACE,
    POD,
)

if TYPE_CHECKING:
    from tests.unit.kubernetes.fake_api import FakeApi

Body = dict[str, Any]
Operator = Literal["works", "silent", "refuses"]
SERVICE = next(kind for kind in LISTED if kind.name == "Service")
FINALIZER = "finalizer.kafkaclusters.kafka.banzaicloud.io"
REFUSED = "KafkaNodePool broker has no volumes"


def operate(api: FakeApi, namespace: str) -> None:
    """One that works makes everything at once; silent is one that does not run, or does not watch the namespace."""
    named = {KAFKA: "kafka", KAFKA_NODE_POOL: "broker", KAFKA_CLUSTER: "kafka"}
    found = {kind: api.objects.get((kind, namespace, name)) for kind, name in named.items()}
    bodies = {kind: each.body for kind, each in found.items() if each}
    if api.captures and (gateway := api.objects.get((GATEWAY, namespace, "waypoint"))):
        gateway.body["status"] = {"conditions": [{"type": "Programmed", "status": "True"}]}
    if api.operator == "silent":
        return
    if KAFKA in bodies:
        _strimzi(api, namespace, bodies[KAFKA], bodies.get(KAFKA_NODE_POOL))
    if KAFKA_CLUSTER in bodies and "deletionTimestamp" not in bodies[KAFKA_CLUSTER]["metadata"]:
        _koperator(api, namespace, bodies[KAFKA_CLUSTER])


def captured(api: FakeApi, namespace: str, template: Body) -> dict[str, Any]:
    """What injectors and Istio's CNI plugin make of a pod: one more init container, or an annotation."""
    told = {**(template.get("labels") or {}), **(template.get("annotations") or {})}
    around = api.objects[NAMESPACE, "", namespace].body["metadata"]["labels"]
    wishes = {"istio-proxy": "sidecar.istio.io/inject", "linkerd-proxy": "linkerd.io/inject"}
    proxies = [name for name, key in wishes.items() if told.get(key) in ("true", "enabled")]
    ambient = around.get("istio.io/dataplane-mode") == "ambient" and told.get("istio.io/dataplane-mode") != "none"
    if not api.captures:
        proxies, ambient = [], False
    return {
        "spec": {"initContainers": [{"name": name} for name in proxies]},
        "annotations": {
            **(template.get("annotations") or {}),
            **({"ambient.istio.io/redirection": "enabled"} if ambient else {}),
        },
    }


def end(api: FakeApi, namespace: str, body: Body) -> bool:
    """Of a resource that is deleted: what was made for it goes. False where a finalizer holds it."""
    if body["metadata"].get("finalizers") and api.operator == "silent":
        body["metadata"]["deletionTimestamp"] = "2026-11-26T00:00:00Z"
        return False
    for key in [key for key, each in api.objects.items() if key[1] == namespace and _owner(each.body)]:
        del api.objects[key]
    return True


def _strimzi(api: FakeApi, namespace: str, kafka: Body, pool: Body | None) -> None:
    status: Body = {"observedGeneration": kafka["metadata"]["generation"]}
    if pool is None or api.operator == "refuses":
        refused = {"type": "NotReady", "status": "True", "reason": "InvalidResourceException", "message": REFUSED}
        kafka["status"] = {**status, "conditions": [refused]}
        return
    labels = {**kafka["metadata"]["labels"], "app.kubernetes.io/managed-by": "strimzi-cluster-operator"}
    for name in ("kafka-kafka-bootstrap", "kafka-kafka-brokers"):
        _make(api, SERVICE, name, namespace, labels, KAFKA.api_version, "Kafka", "kafka")
    template = pool["spec"]["template"]["pod"]["metadata"]
    for number in range(1, pool["spec"]["replicas"] + 1):
        pod = f"kafka-broker-{number}"
        told = _make(api, CONFIG_MAP, pod, namespace, labels, KAFKA.api_version, "Kafka", "kafka")
        told["data"] = {"server.config": f"node.id={number}\n"}
        _pod(api, namespace, pod, labels, template, "core.strimzi.io/v1", "StrimziPodSet", "kafka-broker")
        _make(api, CLAIM, f"data-0-{pod}", namespace, labels, KAFKA.api_version, "KafkaNodePool", "broker")
    ready = [{"type": "Ready", "status": "True"}]
    kafka["status"] = {**status, "conditions": ready, "operatorLastSuccessfulVersion": "1.2.0"}


def _koperator(api: FakeApi, namespace: str, cluster: Body) -> None:
    owner = (KAFKA_CLUSTER.api_version, "KafkaCluster", "kafka")
    labels = {"app": "kafka", "kafka_cr": "kafka"}
    cluster["metadata"]["finalizers"] = [FINALIZER]
    _make(api, SERVICE, "kafka-headless", namespace, labels, *owner)
    [group] = cluster["spec"]["brokerConfigGroups"].values()
    template = {"labels": group["brokerLabels"], "annotations": group["brokerAnnotations"]}
    for broker in cluster["spec"]["brokers"]:
        more = {**labels, "brokerId": str(broker["id"])}
        _pod(api, namespace, f"kafka-{broker['id']}-x1y2z", more, template, *owner)
        _make(api, CLAIM, f"kafka-{broker['id']}-storage-0-abcde", namespace, labels, *owner)
    cluster["status"] = {"state": "ClusterReconciling" if api.operator == "refuses" else "ClusterRunning"}


def _pod(api: FakeApi, namespace: str, name: str, labels: Body, template: Body, *owner: str) -> None:
    """Once: one that is there is looked at, and left."""
    if (POD, namespace, name) in api.objects:
        return
    conditions = [{"type": "Ready", "status": "True"}]
    body = _make(api, POD, name, namespace, labels, *owner)
    more = captured(api, namespace, template)
    body["metadata"]["annotations"] = more["annotations"]
    for each in more["spec"]["initContainers"]:
        each["securityContext"] = {"runAsUser": 1337, "runAsGroup": 1337}
    body["spec"] = {**more["spec"], "containers": [{"name": "kafka"}], "nodeName": "n1"}
    status = {"phase": "Running", "podIP": "127.0.0.1", "conditions": conditions}
    body["status"] = {**status, "containerStatuses": [{"name": "kafka", "containerID": "fake://1"}]}


def _make(api: FakeApi, kind: Any, name: str, namespace: str, labels: Body, *owner: str) -> Body:
    api.put(kind, name, namespace, labels=dict(labels))
    body: Body = api.objects[kind, namespace, name].body
    api_version, of, owned_by = owner
    body["metadata"]["ownerReferences"] = [{"apiVersion": api_version, "kind": of, "name": owned_by}]
    return body


def _owner(body: Body) -> bool:
    """By a resource of an operator's. Pods of a Deployment go later: the garbage collector comes to them in turn."""
    return any(each["kind"] != "ReplicaSet" for each in body["metadata"].get("ownerReferences") or ())
