"""CPU time, and what limits of CPU did, as a Prometheus has it of the kubelets' cAdvisor: the samples themselves, with
their own times.

Asked are instant queries with a range, which give every sample that was scraped; `query_range` gives values at steps,
made of the last sample up to five minutes before. A sample that cAdvisor stamped has its time, unless the scrape
configuration says `honor_timestamps: false`: then it has the scrape's, up to 15 s later than it was read.

Limits: no credentials; series that the scrape configuration drops (kube-prometheus drops the node's own) are absent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx2

from meshmark.backends.kubernetes import cadvisor
from meshmark.backends.kubernetes.cadvisor import Sample
from meshmark.errors import ClusterUnreachable, MissingRequirement, UsageError
from meshmark.nodes import KUBELET, NODE, PODS, RUNTIME, ZTUNNEL, ZTUNNEL_PODS, CpuReading, Metered, QuotaReading

METRIC = "container_cpu_usage_seconds_total"
TIMEOUT_S = 10.0
LOOK_BACK_S = 300
"""In which there has to be something of the nodes, before a run begins."""
GROUPS = {
    NODE: re.compile(r"/"),
    PODS: re.compile(r"(/[\w.-]+)?/kubepods(\.slice)?"),
    KUBELET: re.compile(r"(/[\w.-]+)?/kubelet(\.service)?"),
    RUNTIME: re.compile(r"(/[\w.-]+)?/(containerd|crio|docker|cri-docker)(\.service)?"),
}
"""Control groups as their usual names tell: Kubernetes' own by either driver, services as systemd names them."""
NODE_LABELS = ("node", "kubernetes_io_hostname", "instance")
"""What a scrape configuration may call the node by; `instance` is its address with a port."""
_IDS = "|".join(group.pattern for group in GROUPS.values())


class Prometheus:
    """At `url`; its samples of `nodes` (name -> address) and of the pods in `namespace`, from `start_at` (Unix time)
    on."""

    def __init__(self, url: str, nodes: Mapping[str, str], namespace: str, start_at: float) -> None:
        self._url, self._nodes, self._namespace, self._start_at = url, nodes, namespace, start_at

    def read(self, now_at: float) -> Metered:
        """All up to now."""
        try:
            found = list(self._samples(now_at - self._start_at, now_at))
            limited = list(self._quotas(now_at - self._start_at, now_at))
        except (ClusterUnreachable, UsageError) as error:
            return Metered(problems=(error.message,))
        problems = [
            f"{self._url} has no series {METRIC} of the whole node {node}: its scrape configuration drops it"
            for node in sorted(self._nodes.keys() - {each.node for each in found if each.part == NODE})
        ]
        return Metered.of(found, limited, problems)

    def require(self, now_at: float) -> None:
        """Raises MissingRequirement where it has nothing of the nodes, ClusterUnreachable where it does not answer."""
        groups = {each.node for each in self._samples(LOOK_BACK_S, now_at) if each.part in GROUPS}
        if absent := sorted(self._nodes.keys() - groups):
            raise MissingRequirement(
                f"{self._url} has no series {METRIC} of {', '.join(absent)} in the last {LOOK_BACK_S} s",
                hint="It has to scrape the kubelets' /metrics/cadvisor and keep series without a pod; --kubelet asks "
                "the kubelets themselves.",
            )

    def _samples(self, seconds: float, now_at: float) -> Iterator[CpuReading]:
        span = _span(seconds)
        yield from readings(self._query(f'{METRIC}{{pod="",id=~`{_IDS}`}}{span}', now_at), self._nodes)
        space, name = ZTUNNEL_PODS
        for which in (f'namespace="{self._namespace}"', f'namespace="{space}",pod=~"{name}.*"'):
            inside = f'{which},container!="",container!="POD"'
            yield from readings(self._query(f"{METRIC}{{{inside}}}{span}", now_at), self._nodes)

    def _quotas(self, seconds: float, now_at: float) -> Iterator[QuotaReading]:
        wanted = f'{{__name__=~"{"|".join(cadvisor.SERIES)}",namespace="{self._namespace}",container!=""}}'
        text = self._query(f"{wanted}{_span(seconds)}", now_at)
        yield from cadvisor.quotas(samples(text), lambda labels: _node(labels, self._nodes), self._namespace)

    def _query(self, query: str, now_at: float) -> str:
        try:
            asked = {"query": query, "time": f"{now_at:.3f}"}
            answer = httpx2.get(f"{self._url}/api/v1/query", params=asked, timeout=TIMEOUT_S, trust_env=False)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise ClusterUnreachable(
                f"Prometheus at {self._url} cannot be reached: {str(error) or type(error).__name__}",
                hint="--prometheus takes the address that it has from here, as http://10.96.0.20:9090.",
            ) from None
        if answer.status_code != httpx2.codes.OK:
            raise ClusterUnreachable(
                f"Prometheus at {self._url} answered {answer.status_code}: {answer.text[:200].strip()}",
                hint="Is there a Prometheus, and does it let everybody ask?",
            )
        return answer.text


def checked(url: str) -> str:
    """The address as it is used. Raises UsageError for one that cannot be."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise UsageError(f"--prometheus {url} is no address: {error}", hint="it takes http://HOST:PORT") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise UsageError(f"--prometheus {url} is not allowed", hint="it takes http://HOST:PORT, or find")
    if parts.username or parts.password:
        raise UsageError(
            "--prometheus takes no user and no password: they would be in the record",
            hint="Give the address of one that can be asked without, as from inside the cluster.",
        )
    return url.rstrip("/")


def readings(text: str, nodes: Mapping[str, str]) -> Iterator[CpuReading]:
    """Of an answer to a query with a range. Series of other nodes, and of other control groups, are passed over, and
    so is a second one of the same: of a container's next life, or of a second scrape."""
    seen: dict[tuple[str, str], Mapping[str, str]] = {}
    for _, labels, at, used in samples(text):
        node, part = _node(labels, nodes), _part(labels)
        if node is not None and part is not None and seen.setdefault((node, part), labels) is labels:
            yield CpuReading(node=node, part=part, read_at=at, cpu_s=used)


def samples(text: str) -> Iterator[Sample]:
    """Of an answer to a query with a range; those of one series have the same labels. Raises ClusterUnreachable where
    it is no such answer."""
    try:
        answer = json.loads(text)
        for series in answer["data"]["result"]:
            labels = series["metric"]
            for at, value in series["values"]:
                yield Sample(labels["__name__"], labels, float(at), float(value))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ClusterUnreachable(
            f"what answers is no Prometheus: {error!r}", hint="--prometheus takes the address of its web page."
        ) from None


def _span(seconds: float) -> str:
    return f"[{max(1, round(seconds))}s]"


def _node(labels: Mapping[str, Any], nodes: Mapping[str, str]) -> str | None:
    for label in NODE_LABELS:
        said = str(labels.get(label, ""))
        for name, address in nodes.items():
            if said == name or said.rpartition(":")[0].strip("[]") == address:
                return name
    return None


def _part(labels: Mapping[str, Any]) -> str | None:
    if container := labels.get("container"):
        return ZTUNNEL if labels.get("namespace") == ZTUNNEL_PODS[0] else f"{labels.get('pod', '')}/{container}"
    return next((part for part, group in GROUPS.items() if group.fullmatch(str(labels.get("id", "")))), None)
