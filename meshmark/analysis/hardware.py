"""A profile -> limits of this lab's hosts, scaled by one factor; and the factor that a machine can carry. Pure.

    scale = 0.8 x min(CPUs here / CPUs of all containers, disk here / all brokers' disks, in bytes and in operations,
                      network here / the larger of all brokers' links and a client's), and at most 1

All limits are multiplied by the same factor, so that ratios between CPU, disk and network stay those of the profile.
Disk and network here are what the environment benchmark found. Of each resource a fifth is left free, so that it is
the limit that binds and not the machine.

Limits: a load generator that has too little CPU is late, and its trials do not count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from meshmark.analysis.explain import probed
from meshmark.analysis.hardware_model import BoundSummary, Extrapolation, HardwareSummary, LimitSummary, SingleFlow
from meshmark.analysis.ledger import broker_hosts, client_hosts
from meshmark.analysis.limits import of_limit
from meshmark.analysis.model import NetworkCeiling, ScenarioSummary
from meshmark.data_plane import Place
from meshmark.hardware import CPUS_MIN, Bound, Hardware, LimitProbe
from meshmark.plan import Plan, Scenario
from meshmark.profile import Figure, HostKind, Profile
from meshmark.record import DiskProbe, Limit, NetworkProbe

HEADROOM = 0.8
"""Of what there is, to be given out. Of CPU the rest is for what no quota holds: the kernel's threads, relays, and
meshmark itself, which reads counters and paces the load. With quotas of all CPUs, hosts would wait for those."""
SCALE_DIGITS = 3
NOT_SCALED = (
    "fixed costs of the JVM (garbage collection, compilers, timers)",
    "memory, heap and page cache, which stay as the plan has them",
    "latencies of disk and network, and round trips",
    "the thread that paces the load, and gateways between clusters, which no quota binds",
)
"""Named in every report: what a scaled run does not have in the profile's proportions."""


def limits(profile: Profile, scale: float, scenario: Scenario) -> tuple[Limit, ...]:
    """Of every host, in a fixed order; of clients' CPU where load workers are. Logs in RAM have no disk to limit; what
    a scenario says of its disks itself is not scaled."""
    found: list[Limit] = []
    for hosts, broker in ((broker_hosts(scenario), True), (client_hosts(scenario), False)):
        for host in hosts:
            found += _of_host(host, profile, scale, scenario, broker=broker)
    return tuple(found)


def _of_host(host: str, profile: Profile, scale: float, scenario: Scenario, *, broker: bool) -> list[Limit]:
    kind, found = profile.broker if broker else profile.client, []
    if kind.container_cpus and (broker or host in scenario.load_hosts):
        component = "kafka" if broker else "client"
        amount = kind.container_cpus.value * scale
        found.append(Limit.model_validate({"host": host, "resource": "cpu", "component": component, "amount": amount}))
    if scenario.data_plane.has_sidecar("broker" if broker else "client") and kind.sidecar_cpus:
        amount = kind.sidecar_cpus.value * scale
        found.append(Limit(host=host, resource="cpu", component="sidecar", amount=amount))
    if broker and (disk_bytes_s := disk_cap(kind, scale, scenario)):
        found.append(Limit(host=host, resource="disk", amount=disk_bytes_s))
    if broker and (operations_s := _operations(kind, scale, scenario)):
        found.append(Limit(host=host, resource="operations", amount=operations_s))
    if link_bytes_s := _link(profile.broker) if broker else _client_link(profile, scenario.cluster.brokers):
        found.append(Limit(host=host, resource="network", amount=link_bytes_s * scale))
    return found


def _link(kind: HostKind) -> float:
    return _value(kind.network.bytes_s if kind.network else None)


def _client_link(profile: Profile, brokers: int) -> float:
    """0 where it is never full: a client speaks to brokers alone, and its link is as wide as all of theirs."""
    own, theirs = _link(profile.client), brokers * _link(profile.broker)
    return 0.0 if theirs and own >= theirs else own


def of_load(held: Sequence[Limit]) -> tuple[Limit, ...]:
    """Those of load workers, which come and go with the trials."""
    return tuple(limit for limit in held if limit.component == "client")


def disk_cap(broker: HostKind, scale: float, scenario: Scenario) -> float | None:
    """Bytes a second that a broker's disk takes at most; None without a limit."""
    if scenario.cluster.storage == "ram":
        return None
    if scenario.cluster.disk_write_bytes_s is not None:
        return scenario.cluster.disk_write_bytes_s
    return _value(broker.disk.write_bytes_s if broker.disk else None) * scale or None


def _operations(broker: HostKind, scale: float, scenario: Scenario) -> float | None:
    """Writes a second; a scenario that says itself what its disks take says bytes alone."""
    if scenario.cluster.storage == "ram" or scenario.cluster.disk_write_bytes_s is not None:
        return None
    return _value(broker.disk.operations_s if broker.disk else None) * scale or None


def bounds(
    profile: Profile, plan: Plan, cpus: int, probes: Sequence[DiskProbe | NetworkProbe] = ()
) -> tuple[Bound, ...]:
    """What the machine allows; of disk and network only with `probes`. Sidecars count if any scenario has them."""
    there_is = probed(cpus, probes)
    brokers = max(scenario.cluster.brokers for scenario in plan.scenarios)
    clients = max(scenario.cluster.clients for scenario in plan.scenarios)
    planes = [scenario.data_plane for scenario in plan.scenarios]
    broker, client = profile.broker, profile.client
    hosts: tuple[tuple[int, HostKind, Place], ...] = ((brokers, broker, "broker"), (clients, client, "client"))
    needed_cpus = sum(
        count
        * (
            _value(kind.container_cpus)
            + (_value(kind.sidecar_cpus) if any(plane.has_sidecar(place) for plane in planes) else 0.0)
        )
        for count, kind, place in hosts
    )
    found: list[Bound] = []
    if needed_cpus:
        found.append(Bound(resource="cpu", needed=needed_cpus, available=HEADROOM * cpus))
    disks = any(
        scenario.cluster.storage != "ram" and scenario.cluster.disk_write_bytes_s is None
        for scenario in plan.scenarios
    )
    disk = brokers * _value(broker.disk.write_bytes_s if broker.disk and disks else None)
    if disk and there_is.disk_bytes_s:
        found.append(Bound(resource="disk", needed=disk, available=HEADROOM * there_is.disk_bytes_s))
    operations = brokers * _value(broker.disk.operations_s if broker.disk and disks else None)
    if operations and there_is.disk_operations_s:
        available = HEADROOM * there_is.disk_operations_s
        found.append(Bound(resource="operations", needed=operations, available=available))
    network = max(brokers * _link(broker), _client_link(profile, brokers))
    if network and there_is.link_bytes_s:
        found.append(Bound(resource="network", needed=network, available=HEADROOM * there_is.link_bytes_s))
    return tuple(found)


def most_capped(plan: Plan, cpus: int, probes: Sequence[DiskProbe | NetworkProbe] = ()) -> Bound | None:
    """The most that disks may take together where a scenario says itself what each may, and all that there is; None
    without such a scenario, or before disks are probed. Nothing is left free: each cap is probed anyway."""
    available = probed(cpus, probes).disk_bytes_s
    caps = [(each.cluster.disk_write_bytes_s or 0.0) * each.cluster.brokers for each in plan.scenarios]
    if not available or not any(caps):
        return None
    return Bound(resource="disk", needed=max(caps), available=available)


def _value(figure: Figure | None) -> float:
    return figure.value if figure else 0.0


def largest_scale(found: Sequence[Bound]) -> float:
    """Rounded down; at most the profile itself."""
    least = min([1.0, *(each.scale for each in found)])
    digits = SCALE_DIGITS - 1 - math.floor(math.log10(least))
    return round(math.floor(least * 10.0**digits + 1e-9) / 10.0**digits, digits)


def least_scale(profile: Profile, plan: Plan) -> float:
    """At which every quota of CPU is one that the kernel has; 0 where there is none. Rounded up."""
    quotas = [
        each.amount for scenario in plan.scenarios for each in limits(profile, 1.0, scenario) if each.resource == "cpu"
    ]
    if not quotas:
        return 0.0
    least = CPUS_MIN / min(quotas)
    digits = SCALE_DIGITS - 1 - math.floor(math.log10(least))
    return round(math.ceil(least * 10.0**digits - 1e-9) / 10.0**digits, digits)


def beyond(found: Sequence[Bound], scale: float) -> Bound | None:
    """The resource of which the machine has least for this scale, if it has too little."""
    short = [each for each in found if scale > each.scale * (1 + 1e-9)]
    return min(short, key=lambda each: each.scale) if short else None


def summary(
    hardware: Hardware | None,
    probes: Sequence[LimitProbe],
    plan: Plan,
    rows: Sequence[ScenarioSummary],
    network: Sequence[NetworkCeiling],
) -> HardwareSummary | None:
    """None for a run without a profile. `rows`: what the plan's scenarios carried; `network`: what the environment
    gave."""
    if hardware is None:
        return None
    scenarios = {each.name: each for each in plan.scenarios}
    caps = {each.cluster.disk_write_bytes_s for each in plan.scenarios}
    by_limit: dict[Limit, list[LimitProbe]] = {}
    for probe in probes:
        by_limit.setdefault(probe.limit, []).append(probe)
    return HardwareSummary(
        profile=hardware.profile.name,
        description=hardware.profile.description,
        asked=hardware.asked,
        scale=hardware.scale,
        bounds=tuple(
            BoundSummary(resource=each.resource, needed=each.needed, available=each.available, scale=each.scale)
            for each in hardware.bounds
        ),
        limits=tuple(
            _probed(limit, found, hardware.scale, own=limit.resource == "disk" and limit.amount in caps)
            for limit, found in sorted(by_limit.items(), key=_place)
        ),
        single_flow=_single_flow(hardware.profile, network),
        not_scaled=NOT_SCALED if by_limit else (),
        extrapolated=tuple(_extrapolated(row, scenarios[row.name], hardware) for row in rows) if by_limit else (),
    )


def _single_flow(profile: Profile, network: Sequence[NetworkCeiling]) -> SingleFlow | None:
    link, disk = profile.broker.network, profile.broker.disk
    if link is None or link.single_flow_bytes_s is None:
        return None
    here = next((each for each in network if (each.path, each.flows) == ("direct", 1)), None)
    return SingleFlow(
        profile_bytes_s=link.single_flow_bytes_s.value,
        source=profile.sources[link.single_flow_bytes_s.source],
        here_bytes_s=here.rate_bytes_s if here else None,
        here_spread=here.spread if here else None,
        here_repeats=here.repeats if here else 0,
        full_disk_bytes_s=disk.write_bytes_s.value if disk and disk.write_bytes_s else None,
    )


def _place(item: tuple[Limit, list[LimitProbe]]) -> tuple[str, str, str, float]:
    limit, _ = item
    return limit.host, limit.resource, limit.component, limit.amount


def _probed(limit: Limit, probes: Sequence[LimitProbe], scale: float, *, own: bool) -> LimitSummary:
    """`own`: of a scenario, which is not scaled."""
    return LimitSummary(
        host=limit.host,
        resource=limit.resource,
        component=limit.component if limit.resource == "cpu" else None,
        of_profile=None if own else limit.amount / scale,
        amount=limit.amount,
        measured=fmean(probe.measured for probe in probes),
        error=max((probe.error for probe in probes), key=abs),
        probes=len(probes),
    )


def _extrapolated(row: ScenarioSummary, scenario: Scenario, hardware: Hardware) -> Extrapolation:
    """Only of what a limit of the profile held, which alone is in its proportions."""
    rate, disk, scale = row.rate_msg_s, row.disk_bytes_s_per_broker, hardware.scale
    held = {of_limit(limit) for limit in limits(hardware.profile, scale, scenario)}
    told = scenario.cluster.disk_write_bytes_s is None and not held.isdisjoint(row.limited_by)
    return Extrapolation(
        scenario=row.name,
        rate_msg_s=rate,
        disk_bytes_s_per_broker=disk,
        extrapolated_rate_msg_s=rate / scale if told and rate is not None else None,
        extrapolated_disk_bytes_s_per_broker=disk / scale if told and disk is not None else None,
        limited_by=row.limited_by,
    )
