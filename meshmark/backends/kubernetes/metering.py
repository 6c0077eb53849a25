"""Who else than meshmark's agents is asked for CPU time, and how: the kubelets, a Prometheus, or nobody.

Agents count processes at the instant that they are asked; neither source does, so no trial's ledger rests on them.
They see what agents cannot: the whole node, its other pods, the kubelet, the runtime.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

from meshmark.backends.kubernetes import rights
from meshmark.backends.kubernetes.api import Api
from meshmark.backends.kubernetes.kinds import SERVICE
from meshmark.backends.kubernetes.kubelet import Kubelets, asking
from meshmark.backends.kubernetes.manifest import Body
from meshmark.backends.kubernetes.prometheus import Prometheus, checked
from meshmark.backends.kubernetes.stretched import in_cluster
from meshmark.errors import UsageError
from meshmark.nodes import CpuReading, Metered, QuotaReading, Source

FIND = "find"
"""In place of an address: the cluster has a service for it."""
LABELS = {"app.kubernetes.io/name": "prometheus"}
PORT_NAMES = ("http-web", "web", "http")
PORT = 9_090
EVERYWHERE = "*"

Reading = TypeVar("Reading", CpuReading, QuotaReading)


class Meter(Protocol):
    """One source, as long as a cluster lives."""

    def read(self, now_at: float) -> Metered:
        """All so far."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Metering:
    """`authority`: a file with who signs the kubelets' certificates; empty: the cluster's own authority; None: they
    are not verified. `prometheus`: its address, or FIND."""

    kubelet: bool = False
    authority: str | None = ""
    prometheus: str = ""

    def __post_init__(self) -> None:
        """Raises UsageError for what cannot be meant."""
        if self.kubelet and self.prometheus:
            raise UsageError("--kubelet and --prometheus are two sources of the same", hint="Give one.")
        if self.authority != "" and not self.kubelet:
            raise UsageError("--kubelet-ca is of --kubelet, which is not given")
        if self.authority and not Path(self.authority).is_file():
            raise UsageError(f"--kubelet-ca {self.authority} is no file", hint="it takes one, or unverified")
        if self.prometheus not in ("", FIND):
            checked(self.prometheus)

    @property
    def source(self) -> Source | None:
        return "kubelet" if self.kubelet else "prometheus" if self.prometheus else None

    @property
    def needed(self) -> tuple[rights.Right, ...]:
        """Rights beside those of a run."""
        if self.kubelet:
            return rights.KUBELET
        return rights.FIND_PROMETHEUS if self.prometheus == FIND else ()

    def refuse_several(self, clusters: int) -> None:
        """Raises UsageError where it is to be that of several clusters: an address of a service is known in its own
        cluster alone, and may be another's in the one where it is asked."""
        if clusters > 1 and self.prometheus:
            raise UsageError(
                f"--prometheus {self.prometheus} is of one cluster, and the topology has {clusters}",
                hint="--kubelet asks the kubelets of all of them.",
            )

    def __str__(self) -> str:
        """Empty where nobody is asked."""
        if self.kubelet:
            return f"CPU of nodes by their kubelets{', unverified' if self.authority is None else ''}"
        return f"CPU of nodes by Prometheus at {self.prometheus}" if self.prometheus else ""


NOBODY = Metering()


@dataclass(frozen=True, kw_only=True, slots=True)
class OnNodes:
    """Nodes of one cluster: name -> address. `runtimes` run containers there; `cluster` is its name in a topology."""

    api: Api
    nodes: Mapping[str, str]
    runtimes: frozenset[str]
    cluster: str


class _All:
    """Of all clusters; nodes are told with theirs."""

    def __init__(self, meters: Mapping[str, Meter]) -> None:
        self._meters = meters

    def read(self, now_at: float) -> Metered:
        told = {cluster: meter.read(now_at) for cluster, meter in self._meters.items()}
        return Metered.of(
            (_in(cluster, each) for cluster, one in told.items() for each in one.cpu),
            (_in(cluster, each) for cluster, one in told.items() for each in one.quotas),
            (f"{cluster}: {text}" if cluster else text for cluster, one in told.items() for text in one.problems),
        )


def _in(cluster: str, reading: Reading) -> Reading:
    return reading.model_copy(update={"node": in_cluster(cluster, reading.node)})


@contextmanager
def all_metered(
    places: Sequence[OnNodes], sources: Mapping[str, Metering], namespace: str, *, required: bool = False
) -> Iterator[Meter]:
    """As below, of several clusters, each by its own source."""
    with ExitStack() as stack:
        meters: dict[str, Meter] = {}
        for place in places:
            source = sources.get(place.cluster, NOBODY)
            meter = stack.enter_context(metered(place.api, source, place.nodes, namespace, required=required))
            if meter is not None:
                meters[place.cluster] = meter
        yield _All(meters)


@contextmanager
def metered(
    api: Api, metering: Metering, nodes: Mapping[str, str], namespace: str, *, required: bool = False
) -> Iterator[Meter | None]:
    """`metering` is `located`. `nodes`: name -> address. `required`: raises what keeps the source from answering now;
    otherwise the meter tells when it is read."""
    if metering.kubelet:
        with (
            asking(api.config, metering.authority) as ask,
            Kubelets(ask, nodes, namespace, required=required) as kubelets,
        ):
            yield kubelets
    elif metering.prometheus:
        prometheus = Prometheus(checked(metering.prometheus), nodes, namespace, time.time())
        if required:
            prometheus.require(time.time())
        yield prometheus
    else:
        yield None


def located(api: Api, metering: Metering) -> Metering:
    """With an address in the place of FIND. Raises as `found`."""
    return replace(metering, prometheus=found(api)) if metering.prometheus == FIND else metering


def found(api: Api) -> str:
    """The address of the cluster's Prometheus, by its service. Raises UsageError where there is none, or several."""
    services = api.find(SERVICE, EVERYWHERE, LABELS)
    urls = {name: url for each in services for name, url in [_address(each)] if url}
    if len(urls) != 1:
        told = ", ".join(f"{name} ({url})" for name, url in sorted(urls.items()))
        labels = ", ".join(f"{key}={value}" for key, value in LABELS.items())
        raise UsageError(
            f"there are several services of a Prometheus: {told}" if urls else f"no service has the label {labels}",
            hint="--prometheus URL says where it is.",
        )
    return next(iter(urls.values()))


def _address(service: Body) -> tuple[str, str]:
    """Its name, and where it is asked; empty where no port of it is known to be a web page."""
    metadata, spec = service["metadata"], service["spec"]
    ports = [each for each in spec.get("ports") or [] if each.get("name") in PORT_NAMES or each["port"] == PORT]
    name, address = f"{metadata['namespace']}/{metadata['name']}", str(spec.get("clusterIP") or "None")
    if not ports or address == "None":
        return name, ""
    host = f"[{address}]" if ":" in address else address
    return name, f"http://{host}:{ports[0]['port']}"
