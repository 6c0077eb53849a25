"""Every object against the API's own schema, closed, so that an unknown key is refused as a strict server does.

Not judged here: what the server checks in code or by CEL, and what a cluster has (classes, quotas, admission).
"""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from meshmark.backends.kubernetes import manifests, target
from meshmark.data_plane import DataPlane
from tests.planes import EVERYWHERE, everywhere


@cache
def schemas() -> Any:
    return json.loads(Path(__file__).with_name("schemas.json").read_text(encoding="utf-8"))


def judge(body: Any) -> Any:
    name = schemas()["kinds"][f"{body['apiVersion']} {body['kind']}"]
    root = {"$ref": f"#/$defs/{name}", "$defs": schemas()["$defs"]}
    return jsonschema.Draft202012Validator(root)


def bodies(data_plane: DataPlane, *, share_nodes: bool = False) -> list[Any]:
    plan = everywhere()
    scenario = plan.scenario(data_plane)
    asked = target(plan, scenario, kafka_version="4.4.0", storage_class="fast", share_nodes=share_nodes)
    return [made.body for made in manifests(plan, scenario, asked)]


@pytest.mark.parametrize("data_plane", EVERYWHERE)
@pytest.mark.parametrize("share_nodes", [False, True])
def test_every_object_is_one_of_the_api(share_nodes: bool, data_plane: DataPlane) -> None:
    for body in bodies(data_plane, share_nodes=share_nodes):
        assert [error.message for error in judge(body).iter_errors(body)] == []


@pytest.mark.parametrize(
    ("kind", "path", "wrong"),
    [
        ("StatefulSet", "spec.template.spec.containers.0.readinessProbe.periodSecond", 5),
        ("StatefulSet", "spec.replicas", "3"),
        ("StatefulSet", "spec.template.spec.securityContext.seccomp", {}),
        ("Service", "spec.ports.0.port", "9092"),
        ("ConfigMap", "data.number", 1),
        ("PodDisruptionBudget", "spec.maxUnavailabel", 1),
        ("PeerAuthentication", "spec.mtls.mode", "STRICTER"),
        ("DestinationRule", "spec.trafficPolicy.tls.mod", "DISABLE"),
    ],
)
def test_a_mistake_is_found(kind: str, path: str, wrong: object) -> None:
    [body] = [copy.deepcopy(each) for each in bodies(DataPlane.ISTIO_MTLS) if each["kind"] == kind]
    *way, last = path.split(".")
    inner = body
    for step in way:
        inner = inner[int(step)] if step.isdigit() else inner[step]
    inner[last] = wrong
    assert list(judge(body).iter_errors(body)) != []
