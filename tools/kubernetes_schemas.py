"""Cuts the schemas of the objects that meshmark writes out of Kubernetes' OpenAPI, others' resource definitions, and
eksctl's own schema.

    python -m tools.kubernetes_schemas MODULES      writes tests/unit/kubernetes/schemas.json

MODULES is a directory with the Go modules `k8s.io/kubernetes`, `istio.io/api`, `github.com/weaveworks/eksctl` and
`github.com/prometheus-operator/prometheus-operator` and `sigs.k8s.io/gateway-api`, of the versions below, as
`go mod download` unpacks them.
Beside them `strimzi-VERSION` has the resource definitions of Strimzi's release, and `koperator-VERSION` those of the
chart of adobe/koperator; of these only what is used is kept.
Descriptions and defaults are left out, and objects are closed: an unknown key is refused, as by a strict server.
Limit: rules in CEL, and those that the server has in code, are not in there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

KUBERNETES = "1.37.2"
ISTIO = "1.31.1"
PROMETHEUS_OPERATOR = "0.93.0"
EKSCTL = "0.230.0"
GATEWAY_API = "1.6.0"
STRIMZI = "1.2.0"
KOPERATOR = "0.28.0"
FILE = Path(__file__).parents[1] / "tests" / "unit" / "kubernetes" / "schemas.json"
OPENAPI = f"k8s.io/kubernetes@v{KUBERNETES}/api/openapi-spec/v3"
MONITORING = (
    f"github.com/prometheus-operator/prometheus-operator@v{PROMETHEUS_OPERATOR}/example/prometheus-operator-crd"
)
CLUSTER_CONFIG = f"github.com/weaveworks/eksctl@v{EKSCTL}/pkg/apis/eksctl.io/v1alpha5/assets/schema.json"
KINDS = {
    "v1": ("api__v1", ("Namespace", "Service", "ServiceAccount", "ConfigMap")),
    "apps/v1": ("apis__apps__v1", ("StatefulSet",)),
    "policy/v1": ("apis__policy__v1", ("PodDisruptionBudget",)),
    "storage.k8s.io/v1": ("apis__storage.k8s.io__v1", ("StorageClass",)),
}
CUSTOM_KINDS = {
    f"istio.io/api@v{ISTIO}/kubernetes/customresourcedefinitions.gen.yaml": ("PeerAuthentication", "DestinationRule"),
    f"sigs.k8s.io/gateway-api@v{GATEWAY_API}/config/crd/standard/gateway.networking.k8s.io_gateways.yaml": (
        "Gateway",
    ),
    f"{MONITORING}/monitoring.coreos.com_podmonitors.yaml": ("PodMonitor",),
    f"{MONITORING}/monitoring.coreos.com_prometheusrules.yaml": ("PrometheusRule",),
}
OPERATORS_KINDS = {
    f"strimzi-{STRIMZI}/040-Crd-kafka.yaml": ("Kafka",),
    f"strimzi-{STRIMZI}/045-Crd-kafkanodepool.yaml": ("KafkaNodePool",),
    f"koperator-{KOPERATOR}/kafkaclusters.yaml": ("KafkaCluster",),
}
UNUSED = {
    "kafka.strimzi.io": {
        *("clientsCa", "clusterCa", "cruiseControl", "entityOperator", "kafkaExporter", "maintenanceTimeWindows"),
        *("authorization", "configuration", "logging", "metricsConfig", "networkPolicyPeers", "quotas", "status"),
        *(
            "initContainer",
            "kafkaContainer",
            "perPodIngress",
            "perPodRoute",
            "perPodService",
            "podSet",
            "tieredStorage",
        ),
        *("persistentVolumeClaim", "templatedVolumes", "hostAliases", "dnsConfig", "imagePullSecrets"),
    },
    "kafka.banzaicloud.io": {
        *("additionalPorts", "alertManagerConfig", "contourIngressConfig", "envoyConfig", "externalListeners"),
        *("containers", "initContainers", "volumes", "volumeMounts", "envs", "podSecurityContext", "securityContext"),
        *("brokerConfig", "dataSource", "dataSourceRef", "emptyDir", "imagePullSecrets", "monitoringConfig"),
        *("networkConfig", "sslSecrets", "status"),
    },
}
"""Of operators' kinds, by group, properties that nothing here writes: without them they are refused."""
REFERENCES = ("#/components/schemas/", "#/definitions/")
LEFT_OUT = ("description", "default", "format", "example", "preferredOrder")


def cut(modules: Path) -> dict[str, Any]:
    """One JSON Schema: `$defs` by name, and beside it `kinds`, which gives an object's name there."""
    definitions: dict[str, Any] = {}
    kinds: dict[str, str] = {}
    for version, (file, names) in KINDS.items():
        text = (modules / OPENAPI / f"{file}_openapi.json").read_text(encoding="utf-8")
        schemas = json.loads(text)["components"]["schemas"]
        for name in names:
            group = version.partition("/")[0].partition(".")[0] if "/" in version else "core"
            root = f"io.k8s.api.{group}.v1.{name}"
            kinds[f"{version} {name}"] = root
            _add(root, schemas, definitions)
    for crd, wanted in _resource_definitions(modules):
        if crd["spec"]["names"]["kind"] in wanted:
            [version] = [each for each in crd["spec"]["versions"] if each["storage"]]
            name = f"{crd['spec']['group']}.{crd['spec']['names']['kind']}"
            kinds[f"{crd['spec']['group']}/{version['name']} {crd['spec']['names']['kind']}"] = name
            schema = version["schema"]["openAPIV3Schema"]
            definitions[name] = _custom(_used(schema, UNUSED.get(crd["spec"]["group"], frozenset())))
    schemas = json.loads((modules / CLUSTER_CONFIG).read_text(encoding="utf-8"))["definitions"]
    kinds["eksctl.io/v1alpha5 ClusterConfig"] = "ClusterConfig"
    _add("ClusterConfig", schemas, definitions)
    versions = {
        "istio": ISTIO,
        "prometheus-operator": PROMETHEUS_OPERATOR,
        "eksctl": EKSCTL,
        "gateway-api": GATEWAY_API,
        "strimzi": STRIMZI,
        "koperator": KOPERATOR,
    }
    return {"kubernetes": KUBERNETES, **versions, "kinds": kinds, "$defs": definitions}


def _resource_definitions(modules: Path) -> Iterator[tuple[Mapping[str, Any], Sequence[str]]]:
    """Each with the kinds that are wanted of its file."""
    for file, wanted in {**CUSTOM_KINDS, **OPERATORS_KINDS}.items():
        for crd in YAML(typ="safe").load_all((modules / file).read_text(encoding="utf-8")):
            if crd:
                yield crd, wanted


def _add(name: str, schemas: Mapping[str, Any], definitions: dict[str, Any]) -> None:
    """With everything that it refers to."""
    if name in definitions:
        return
    definitions[name] = _closed(schemas[name])
    for reference in _references(schemas[name]):
        _add(reference, schemas, definitions)


def _references(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        own = [_local(value["$ref"], "")] if isinstance(value.get("$ref"), str) else []
        return own + [each for item in value.values() for each in _references(item)]
    if isinstance(value, list):
        return [each for item in value for each in _references(item)]
    return []


def _used(value: Any, unused: Set[str]) -> Any:
    """Without those properties."""
    if isinstance(value, list):
        return [_used(item, unused) for item in value]
    if not isinstance(value, Mapping):
        return value
    made = {key: _used(inner, unused) for key, inner in value.items()}
    if isinstance(properties := made.get("properties"), dict):
        made["properties"] = {name: inner for name, inner in properties.items() if name not in unused}
    return made


def _local(reference: str, start: str) -> str:
    """A reference into another document, as one that begins with `start`."""
    for prefix in REFERENCES:
        reference = reference.replace(prefix, start)
    return reference


def _closed(value: Any) -> Any:
    """Without what is said to people, and with no other keys than those that are named."""
    if isinstance(value, list):
        return [_closed(item) for item in value]
    if not isinstance(value, Mapping):
        return _local(value, "#/$defs/") if isinstance(value, str) else value
    made = {
        key: {name: _closed(item) for name, item in inner.items()} if key == "properties" else _closed(inner)
        for key, inner in value.items()
        if key not in LEFT_OUT and not key.startswith("x-")
    }
    for end in ("Minimum", "Maximum"):  # OpenAPI 3.0 says it beside the limit, JSON Schema in its place
        if made.pop(f"exclusive{end}", False):
            made[f"exclusive{end}"] = made.pop(end.lower())
    is_open = "additionalProperties" in value or value.get("x-kubernetes-preserve-unknown-fields")
    if "properties" in value and not is_open:
        made["additionalProperties"] = False
    if value.get("x-kubernetes-int-or-string"):
        made = {"type": ["integer", "string"]}
    return made


def _custom(schema: Mapping[str, Any]) -> Any:
    """A resource definition leaves out what all objects have."""
    metadata = {"$ref": "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}
    made = _closed(schema)
    made["properties"] |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": metadata}
    return made


def text(schema: Mapping[str, Any]) -> str:
    """A definition a line."""
    rows = [f"{json.dumps(name)}: {json.dumps(body)}" for name, body in sorted(schema["$defs"].items())]
    head = json.dumps({key: value for key, value in schema.items() if key != "$defs"}, indent=1)
    return f'{head[:-2]},\n "$defs": {{\n  ' + ",\n  ".join(rows) + "\n }\n}\n"


if __name__ == "__main__":
    FILE.write_text(text(cut(Path(sys.argv[1]))), encoding="utf-8")
