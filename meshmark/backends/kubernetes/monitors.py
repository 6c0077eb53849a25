"""What the cluster's Prometheus Operator and Grafana are told: whom to scrape, when to complain, what to show. Pure.

What serves metrics in a broker's pod is its sidecar alone: Apache's image has no exporter, and JMX opens no port. So a
data plane without sidecars has no PodMonitor: ztunnel's metrics are those of its own pods. Alerts are of two kinds:
those over what the cluster's own exporters say of these pods (kube-state-metrics, the kubelets), and those of a run
that is scraped (`run --metrics-port`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from meshmark.backends.kubernetes import manifest
from meshmark.backends.kubernetes.manifest import Body
from meshmark.plan import Scenario

RESOURCES = Path(__file__).parents[2] / "resources"
RUN_RULES = RESOURCES / "prometheus" / "rules.yaml"
POD_RULES = RESOURCES / "prometheus" / "pods.yaml"
DASHBOARD = RESOURCES / "grafana" / "dashboard.json"
NAMESPACE = "NAMESPACE"
"""In the rules of pods, in place of the scenario's."""
API_VERSION = "monitoring.coreos.com/v1"
SIDECARS = {"istio": ("http-envoy-prom", "/stats/prometheus"), "linkerd": ("linkerd-admin", "/metrics")}
"""Of an injected sidecar its port and path. Istio keeps that port out of itself, and Linkerd is told to refuse others
at Kafka's alone: so who scrapes need not be in the mesh."""
INTERVAL = "15s"
DASHBOARD_LABEL = {"grafana_dashboard": "1"}
"""By which Grafana's own chart finds dashboards."""
POD_MONITOR, RULES, DASHBOARD_FILE = "pod-monitor.yaml", "prometheus-rule.yaml", "dashboard.yaml"
FILES = (POD_MONITOR, RULES, DASHBOARD_FILE)


def monitors(scenario: Scenario, namespace: str, labels: Mapping[str, str]) -> dict[str, Body]:
    """By file. `labels` are those by which the cluster's Prometheus chooses monitors and rules, beside ours."""
    made: dict[str, Body] = {
        RULES: _operators("PrometheusRule", labels, {"groups": [*_groups(RUN_RULES), *_groups(POD_RULES, namespace)]}),
        DASHBOARD_FILE: {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": manifest.DASHBOARD, "labels": DASHBOARD_LABEL},
            "data": {"meshmark.json": _dashboard()},
        },
    }
    if not scenario.data_plane.has_sidecar("broker"):
        return made
    port, path = SIDECARS[scenario.data_plane.mesh]
    scraped = {"port": port, "path": path, "interval": INTERVAL}
    spec = {
        "selector": {"matchLabels": manifest.selector(scenario)},
        "podTargetLabels": [manifest.SCENARIO, manifest.DATA_PLANE],
        "podMetricsEndpoints": [scraped],
    }
    return {POD_MONITOR: _operators("PodMonitor", labels, spec), **made}


def _operators(kind: str, labels: Mapping[str, str], spec: Mapping[str, Any]) -> Body:
    metadata = {"name": manifest.WORKLOAD, "labels": dict(labels)}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}


def _groups(file: Path, namespace: str = NAMESPACE) -> Any:
    return YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8").replace(NAMESPACE, namespace))["groups"]


@cache
def _dashboard() -> str:
    """Without the blanks: an object has at most about 1 MB, and kubectl's annotation a quarter of that."""
    return json.dumps(json.loads(DASHBOARD.read_text(encoding="utf-8")), separators=(",", ":"))
