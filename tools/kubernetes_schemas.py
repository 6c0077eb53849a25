"""Cuts the schemas of the objects that `export` writes out of Kubernetes' OpenAPI and Istio's resource definitions.

    python -m tools.kubernetes_schemas MODULES      writes tests/unit/kubernetes/schemas.json

MODULES is a directory with the Go modules `k8s.io/kubernetes` and `istio.io/api`, of the versions below, as
`go mod download` unpacks them. Descriptions and defaults are left out, and objects are closed, so that an unknown key
is refused as a strict API server does. Limit: rules in CEL, and those that the server has in code, are not in there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

KUBERNETES = "1.37.2"
ISTIO = "1.31.1"
FILE = Path(__file__).parents[1] / "tests" / "unit" / "kubernetes" / "schemas.json"
OPENAPI = f"k8s.io/kubernetes@v{KUBERNETES}/api/openapi-spec/v3"
CRDS = f"istio.io/api@v{ISTIO}/kubernetes/customresourcedefinitions.gen.yaml"
KINDS = {
    "v1": ("api__v1", ("Namespace", "Service", "ServiceAccount", "ConfigMap")),
    "apps/v1": ("apis__apps__v1", ("StatefulSet",)),
    "policy/v1": ("apis__policy__v1", ("PodDisruptionBudget",)),
}
CUSTOM_KINDS = ("PeerAuthentication", "DestinationRule")
REFERENCE = "#/components/schemas/"
LEFT_OUT = ("description", "default", "format", "example")


def cut(modules: Path) -> dict[str, Any]:
    """One JSON Schema: `$defs` by name, and beside it `kinds`, which gives an object's name there."""
    definitions: dict[str, Any] = {}
    kinds: dict[str, str] = {}
    for version, (file, names) in KINDS.items():
        text = (modules / OPENAPI / f"{file}_openapi.json").read_text(encoding="utf-8")
        schemas = json.loads(text)["components"]["schemas"]
        for name in names:
            group = version.partition("/")[0] if "/" in version else "core"
            root = f"io.k8s.api.{group}.v1.{name}"
            kinds[f"{version} {name}"] = root
            _add(root, schemas, definitions)
    for crd in YAML(typ="safe").load_all((modules / CRDS).read_text(encoding="utf-8")):
        if crd and crd["spec"]["names"]["kind"] in CUSTOM_KINDS:
            [version] = [each for each in crd["spec"]["versions"] if each["name"] == "v1"]
            name = f"{crd['spec']['group']}.{crd['spec']['names']['kind']}"
            kinds[f"{crd['spec']['group']}/v1 {crd['spec']['names']['kind']}"] = name
            definitions[name] = _custom(version["schema"]["openAPIV3Schema"])
    return {"kubernetes": KUBERNETES, "istio": ISTIO, "kinds": kinds, "$defs": definitions}


def _add(name: str, schemas: Mapping[str, Any], definitions: dict[str, Any]) -> None:
    """With everything that it refers to."""
    if name in definitions:
        return
    definitions[name] = _closed(schemas[name])
    for reference in _references(schemas[name]):
        _add(reference, schemas, definitions)


def _references(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        own = [value["$ref"].removeprefix(REFERENCE)] if isinstance(value.get("$ref"), str) else []
        return own + [each for item in value.values() for each in _references(item)]
    if isinstance(value, list):
        return [each for item in value for each in _references(item)]
    return []


def _closed(value: Any) -> Any:
    """Without what is said to people, and with no other keys than those that are named."""
    if isinstance(value, list):
        return [_closed(item) for item in value]
    if not isinstance(value, Mapping):
        return value.replace(REFERENCE, "#/$defs/") if isinstance(value, str) else value
    made = {
        key: {name: _closed(item) for name, item in inner.items()} if key == "properties" else _closed(inner)
        for key, inner in value.items()
        if key not in LEFT_OUT and not key.startswith("x-kubernetes-")
    }
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
