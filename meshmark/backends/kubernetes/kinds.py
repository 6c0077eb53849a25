"""The kinds of objects that meshmark applies, or looks at, in a cluster: where the API has them. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from meshmark.backends.kubernetes.manifest import Body


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """`plural` is the kind's name in paths and in rights. An empty group is the core's."""

    group: str = ""
    version: str = "v1"
    name: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


MONITORING = "monitoring.coreos.com"

NAMESPACE = Kind(name="Namespace", plural="namespaces", namespaced=False)
SECRET = Kind(name="Secret", plural="secrets")
CONFIG_MAP = Kind(name="ConfigMap", plural="configmaps")
STATEFUL_SET = Kind(group="apps", name="StatefulSet", plural="statefulsets")
SERVICE = Kind(name="Service", plural="services")
POD = Kind(name="Pod", plural="pods")
CLAIM = Kind(name="PersistentVolumeClaim", plural="persistentvolumeclaims")
EVENT = Kind(name="Event", plural="events")
GATEWAY = Kind(group="gateway.networking.k8s.io", name="Gateway", plural="gateways")
STRIMZI, KOPERATOR = "kafka.strimzi.io", "kafka.banzaicloud.io"
KAFKA = Kind(group=STRIMZI, name="Kafka", plural="kafkas")
KAFKA_NODE_POOL = Kind(group=STRIMZI, name="KafkaNodePool", plural="kafkanodepools")
KAFKA_CLUSTER = Kind(group=KOPERATOR, version="v1beta1", name="KafkaCluster", plural="kafkaclusters")
OPERATED = (KAFKA, KAFKA_NODE_POOL, KAFKA_CLUSTER)
"""What operators make brokers of."""

LISTED = (
    Kind(name="ServiceAccount", plural="serviceaccounts"),
    Kind(group="security.istio.io", name="PeerAuthentication", plural="peerauthentications"),
    Kind(group="networking.istio.io", name="DestinationRule", plural="destinationrules"),
    CONFIG_MAP,
    SERVICE,
    Kind(group="policy", name="PodDisruptionBudget", plural="poddisruptionbudgets"),
    Kind(group=MONITORING, name="PodMonitor", plural="podmonitors"),
    Kind(group=MONITORING, name="PrometheusRule", plural="prometheusrules"),
    GATEWAY,
    STATEFUL_SET,
    *OPERATED,
)
"""In the namespace, what a scenario may consist of, the Secret apart: whoever may list those may read them all."""
APPLIED = (NAMESPACE, *LISTED, SECRET)


def kind_of(body: Body) -> Kind:
    """Of an object that meshmark applies."""
    return next(kind for kind in APPLIED if (kind.api_version, kind.name) == (body["apiVersion"], body["kind"]))


def name_of(body: Body) -> str:
    """As kubectl writes it: `statefulset/broker`."""
    return f"{body['kind'].lower()}/{body['metadata']['name']}"
