"""A real istiod for a cluster with a node: a process beside it, at the node's address, that injects and configures.

It is told what Istio's charts would tell it, from the files of its own module. What is not as in a default install:
it is outside the cluster and has an administrator's rights; the filters that only Istio's own build of Envoy has
(metadata exchange, ALPN, statistics) are left out, so what they cost is not there; redirections are nftables'.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from meshmark.backends.lab.process import running
from tests.kubernetes import build, images, node
from tests.kubernetes.controlplane import ControlPlane, flags, plain_answer, wait
from tests.kubernetes.place import LOOPBACK, Place

NAMESPACE = "istio-system"
CHARTS = Path("manifests", "charts")
DISCOVERY = CHARTS / "istio-control" / "istio-discovery"
VALUES_KEY = "_internal_defaults_do_not_set"
PORT_HTTP, PORT_PROXIES, PORT_WEBHOOK = 8080, 15012, 15017
NOTHING: Mapping[str, Any] = {}
CA = "configmap/istio-ca-root-cert"
ENVIRONMENT = {
    "POD_NAME": "istiod",
    "POD_NAMESPACE": NAMESPACE,
    "REVISION": "default",
    # An authority that it is given is a Secret, which is mounted only inside a cluster.
    "USE_REMOTE_CERTS": "true",
    "PILOT_ENABLE_METADATA_EXCHANGE": "false",
    "PILOT_ENABLE_ALPN_FILTER": "false",
    # Who writes the webhook writes its authority as well.
    "INJECTION_WEBHOOK_CONFIG_NAME": "",
    "VALIDATION_WEBHOOK_CONFIG_NAME": "",
}


@contextmanager
def istiod(plane: ControlPlane) -> Iterator[None]:
    """One that answers, and injects sidecars into the pods of namespaces that ask for them."""
    install(plane)
    with running_istiod(plane):
        yield


def install(plane: ControlPlane) -> None:
    """What has to be there before one runs: its kinds, its namespace, and the image of a sidecar."""
    node.load(plane, images.proxy())
    charts = build.source("pilot-discovery") / CHARTS
    plane.kubectl("apply", "--server-side", f"--filename={charts}/base/files/crd-all.gen.yaml")
    plane.kubectl("create", "namespace", NAMESPACE)


@contextmanager
def running_istiod(plane: ControlPlane, own: Mapping[str, Any] = NOTHING) -> Iterator[None]:
    """`own` are values of the chart (`global`) beside those that each has here. It may run again after it ended."""
    values = _values(plane.place, own)
    _write_injection(plane.directory, values)
    mesh = plane.directory / "mesh.json"
    mesh.write_text(json.dumps(_mesh(plane.place)), encoding="utf-8")
    argv = [str(build.path("pilot-discovery")), "discovery"]
    argv += flags(kubeconfig=plane.kubeconfig, meshConfig=mesh, httpAddr=f"{LOOPBACK}:{PORT_HTTP}")
    log = plane.directory / "istiod.log"
    # An earlier one's may be of another authority.
    plane.kubectl("delete", CA, f"--namespace={NAMESPACE}", "--ignore-not-found")
    env = ENVIRONMENT | {
        "CLUSTER_ID": values["global"]["multiCluster"]["clusterName"] or "Kubernetes",
        "ISTIOD_CUSTOM_HOST": plane.place.address,
    }
    with running(plane.host, argv, name="istiod", component="kubernetes", log=log, env=env, grace_s=0) as made:
        wait(partial(plain_answer, plane.host, PORT_HTTP, "/ready"), [made])
        wait(partial(_distributed, plane), [made])
        plane.kubectl("apply", "--filename=-", stdin=_webhook(plane))
        yield


def _write_injection(directory: Path, values: Mapping[str, Any]) -> None:
    """Where istiod looks, below the directory that it runs in."""
    place = directory / "var" / "lib" / "istio" / "inject"
    place.mkdir(parents=True, exist_ok=True)
    template = (_discovery() / "files" / "injection-template.yaml").read_text(encoding="utf-8")
    config = {
        "policy": "enabled",
        "defaultTemplates": ["sidecar"],
        "templates": {"sidecar": template},
        "alwaysInjectSelector": [],
        "neverInjectSelector": [],
        "injectedAnnotations": {},
    }
    (place / "config").write_text(json.dumps(config), encoding="utf-8")
    (place / "values").write_text(json.dumps(values), encoding="utf-8")


def _values(place: Place, own: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the chart that the template of a sidecar asks for."""
    defaults = YAML(typ="safe", pure=True).load(_discovery() / "values.yaml")[VALUES_KEY]
    everywhere = dict(defaults["global"])
    everywhere["proxy"] = {**everywhere["proxy"], "image": images.PROXY}
    everywhere["proxy_init"] = {**everywhere["proxy_init"], "image": images.PROXY}
    everywhere |= {
        "caAddress": f"{place.address}:{PORT_PROXIES}",
        "imagePullPolicy": "IfNotPresent",
        "nativeNftables": True,
        **own,
    }
    return {
        "global": everywhere,
        "sidecarInjectorWebhook": defaults["sidecarInjectorWebhook"],
        "revision": "",
        "pilot": {"cni": defaults["cni"], "env": {}},
        "gateways": defaults.get("gateways", {}),
    }


def _discovery() -> Path:
    return build.source("pilot-discovery") / DISCOVERY


def _mesh(place: Place) -> dict[str, Any]:
    return {
        "rootNamespace": NAMESPACE,
        "trustDomain": node.DOMAIN,
        "defaultConfig": {
            "discoveryAddress": f"{place.address}:{PORT_PROXIES}",
            # Hidden by default; they tell whether a connection was encrypted.
            "proxyStatsMatcher": {"inclusionRegexps": [r".*ssl\..*"]},
        },
    }


def _webhook(plane: ControlPlane) -> dict[str, Any]:
    """As the chart's, but by address."""
    key = r"--output=jsonpath={.data.root-cert\.pem}"
    authority = plane.kubectl("get", CA, f"--namespace={NAMESPACE}", key).stdout
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "istio-sidecar-injector"},
        "webhooks": [
            {
                "name": "sidecar-injector.istio.io",
                "clientConfig": {
                    "url": f"https://{plane.place.address}:{PORT_WEBHOOK}/inject",
                    "caBundle": base64.b64encode(authority.encode()).decode(),
                },
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
                "failurePolicy": "Fail",
                "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
                "namespaceSelector": {"matchLabels": {"istio-injection": "enabled"}},
                "objectSelector": {
                    "matchExpressions": [{"key": "sidecar.istio.io/inject", "operator": "NotIn", "values": ["false"]}]
                },
            }
        ],
    }


def _distributed(plane: ControlPlane) -> str:
    return plane.kubectl("get", CA, f"--namespace={NAMESPACE}", check=False).stderr
