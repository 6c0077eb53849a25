"""How the price of a data plane depends on the workload, or on the disks: sweeps of one setting, found in the plan.

A pair is a scenario and its baseline with the same cluster and the same workload, so that they differ in their data
planes alone. Pairs that differ from each other in one factor (FACTORS), of the workload or of the brokers' disks, and
in nothing else are a sweep of it; one pair may be in several. `queue.buffering.max.messages` is no difference: how
much a client may hold follows from the size of its records and the number of its connections.

Of each value there are the two ceilings, and what limits there. CPU, packets, batches and memory are those of the
trials at a fixed load (`loadBytesS`), if the plan has it: the same payload a second for both of a pair and, where the
plan says so, for all values. A price is a difference paired by repeat. Where one of a pair did not carry the load,
that repeat is left out and said so: at saturation CPU per GB is another figure. Losses of rate are those of the
ceilings, as everywhere.

Limits: factors are varied one at a time, so what two of them do together is not seen. Memory is resident memory at the
end of the window. Envoy keeps memory that it needed before, in the trials at saturation too; what sockets hold is the
kernel's and not in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from meshmark.analysis import stats
from meshmark.analysis.figures import figures, mean_figures
from meshmark.analysis.hardware import disk_cap
from meshmark.analysis.ledger import sidecar_hosts, sum_known
from meshmark.analysis.model import (
    AddedCpu,
    CpuPerGb,
    Figures,
    Interval,
    Mean,
    ScenarioSummary,
    Sensitivity,
    SensitivityPoint,
)
from meshmark.plan import ConfigValue, Scenario
from meshmark.record import Trial
from meshmark.store import Run
from meshmark.units import MB, number

CARRIED_SHARE = 0.95
"""Of what was offered in the window; below, it was not carried. What is missing above may be under way at its end."""

DISK_CAP, NO_CAP, PLACE = "disk cap", "no cap", "place of the logs"
COMPONENTS = ("brokers", "sidecars", "clients")
_FOLLOWS = "queue.buffering.max.messages"
_BATCH = ("batch.size", "linger.ms", "batch.num.messages")
_COMPRESSION = "compression.type"
_NO_LIMIT = 1e12
_PEERS = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Factor:
    """One thing that a sweep varies. `keys`: of the workload, `settings`: of its producers, `cluster`: of its
    cluster."""

    name: str
    keys: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    cluster: tuple[str, ...] = ()
    rank: Callable[[Scenario], tuple[float | str, ...]]
    label: Callable[[Scenario], str]

    def others(self, scenario: Scenario) -> str:
        """All that is not this factor."""
        workload = scenario.workload
        values: dict[str, Any] = workload.model_dump(mode="json", exclude=set(self.keys))
        ignored = (*self.settings, _FOLLOWS)
        config = {key: value for key, value in workload.producer_config.items() if key not in ignored}
        cluster = scenario.cluster.model_dump(mode="json", exclude=set(self.cluster))
        return json.dumps({**values, "producerConfig": config, "cluster": cluster}, sort_keys=True)


def _setting(scenario: Scenario, key: str, otherwise: ConfigValue) -> ConfigValue:
    return scenario.workload.producer_config.get(key, otherwise)


def _batch_label(scenario: Scenario) -> str:
    units = {"batch.size": "B", "batch.num.messages": "records", "linger.ms": "ms"}
    config = scenario.workload.producer_config
    given = [(config[key], unit) for key, unit in units.items() if key in config]
    return ", ".join(f"{value} {unit}" for value, unit in given) or "client's own"


def _cap_label(scenario: Scenario) -> str:
    cap = scenario.cluster.disk_write_bytes_s
    return NO_CAP if cap is None else f"{number(cap / MB)} MB/s"


FACTORS = (
    Factor(
        name="record size",
        keys=("message_size",),
        rank=lambda scenario: (scenario.workload.message_size,),
        label=lambda scenario: f"{scenario.workload.message_size:,} B",
    ),
    Factor(
        name="batch fill",
        settings=_BATCH,
        rank=lambda scenario: (
            float(_setting(scenario, "batch.size", _NO_LIMIT)),
            float(_setting(scenario, "batch.num.messages", _NO_LIMIT)),
            float(_setting(scenario, "linger.ms", 0)),
        ),
        label=_batch_label,
    ),
    Factor(
        name="compression",
        settings=(_COMPRESSION,),
        rank=lambda scenario: (
            str(_setting(scenario, _COMPRESSION, "none")) != "none",
            str(_setting(scenario, _COMPRESSION, "none")),
        ),
        label=lambda scenario: str(_setting(scenario, _COMPRESSION, "none")),
    ),
    Factor(
        name="connections",
        keys=("workers",),
        rank=lambda scenario: (scenario.workload.workers,),
        label=lambda scenario: f"{scenario.workload.workers:,}",
    ),
    Factor(
        name=DISK_CAP,
        cluster=("disk_write_bytes_s",),
        rank=lambda scenario: (scenario.cluster.disk_write_bytes_s or _NO_LIMIT,),
        label=_cap_label,
    ),
    Factor(
        name=PLACE,
        cluster=("storage", "disk_write_bytes_s"),
        rank=lambda scenario: (scenario.cluster.storage == "ram",),
        label=lambda scenario: "RAM" if scenario.cluster.storage == "ram" else f"disk, {_cap_label(scenario)}",
    ),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pair:
    scenario: Scenario
    baseline: Scenario


def sensitivities(run: Run, scenarios: Sequence[ScenarioSummary]) -> tuple[Sensitivity, ...]:
    """One for each factor that the plan varies, by data plane."""
    rows = {each.name: each for each in scenarios}
    return tuple(_sweep(run, factor, pairs, rows) for factor in FACTORS for pairs in _sweeps(factor, _pairs(run)))


def _asked(run: Run) -> list[Scenario]:
    """All scenarios, each with the cap that its disks had."""
    if run.hardware is None:
        return list(run.plan.scenarios)
    broker, scale = run.hardware.profile.broker, run.hardware.scale
    return [_capped(scenario, disk_cap(broker, scale, scenario)) for scenario in run.plan.scenarios]


def _capped(scenario: Scenario, bytes_s: float | None) -> Scenario:
    cluster = scenario.cluster.model_copy(update={"disk_write_bytes_s": bytes_s})
    return scenario.model_copy(update={"cluster": cluster})


def _pairs(run: Run) -> list[_Pair]:
    known = {scenario.name: scenario for scenario in _asked(run)}
    pairs = []
    for scenario in known.values():
        base = known.get(run.plan.baseline_of(scenario))
        alike = base is not None and (base.workload, base.cluster) == (scenario.workload, scenario.cluster)
        if base is not None and base is not scenario and alike:
            pairs.append(_Pair(scenario=scenario, baseline=base))
    return pairs


def _sweeps(factor: Factor, pairs: Sequence[_Pair]) -> Iterator[list[_Pair]]:
    """Pairs that differ in the factor alone, by its value; nothing where it has but one."""
    groups: dict[tuple[str, ...], list[_Pair]] = {}
    for pair in pairs:
        planes = pair.scenario.data_plane.value, pair.baseline.data_plane.value
        groups.setdefault((*planes, factor.others(pair.scenario)), []).append(pair)
    for group in groups.values():
        if len({factor.rank(pair.scenario) for pair in group}) > 1:
            yield sorted(group, key=lambda pair: factor.rank(pair.scenario))


def _sweep(run: Run, factor: Factor, pairs: Sequence[_Pair], rows: Mapping[str, ScenarioSummary]) -> Sensitivity:
    first, last = pairs[0].scenario, pairs[-1].scenario
    points = tuple(_point(run, pair, factor.label(pair.scenario), rows) for pair in pairs)
    hidden_to, apart_from = parting(points) if factor.name == DISK_CAP else (None, None)
    return Sensitivity(
        factor=factor.name,
        data_plane=first.data_plane,
        baseline_data_plane=pairs[0].baseline.data_plane,
        points=points,
        hidden_to=hidden_to,
        apart_from=apart_from,
        memory_bytes_per_connection=_memory_slope(run, first, last),
    )


def parting(points: Sequence[SensitivityPoint]) -> tuple[str | None, str | None]:
    """Of caps, the least first: the last one up to which the disks limit both and the loss is known, and none that can
    be told; and the first one from which on a loss is told everywhere."""
    hidden = list(takewhile(lambda each: _disks(each) and each.loss_interval and not _lost(each), points))
    apart = list(takewhile(_lost, reversed(points)))
    return hidden[-1].value if hidden else None, apart[-1].value if apart else None


def _disks(point: SensitivityPoint) -> bool:
    """Whether a disk is named for both sides."""
    sides = (point.limited_by, point.baseline_limited_by)
    return all(any(name.endswith("disk") for name in names) for names in sides)


def _lost(point: SensitivityPoint) -> bool:
    """Whether a loss is told: its interval is above zero."""
    return point.loss_interval is not None and point.loss_interval.low > 0


def _point(run: Run, pair: _Pair, label: str, rows: Mapping[str, ScenarioSummary]) -> SensitivityPoint:
    row, base_row = rows[pair.scenario.name], rows[pair.baseline.name]
    own, base = _at_load(run, pair.scenario), _at_load(run, pair.baseline)
    repeats = sorted(own.carried.keys() & base.carried.keys())
    ours, theirs = ([side.carried[repeat] for repeat in repeats] for side in (own, base))
    cpus = run.started.host.cpus
    measured = [[figures(trial, pair.scenario, cpus) for trial in ours]]
    measured.append([figures(trial, pair.baseline, cpus) for trial in theirs])
    mean_own, mean_base = (mean_figures(each) for each in measured)
    memory = [sidecar_memory(trial, pair.scenario) for trial in ours]
    return SensitivityPoint(
        value=label,
        scenario=pair.scenario.name,
        baseline=pair.baseline.name,
        client=pair.scenario.workload.client,
        load_bytes_s=pair.scenario.method.load_bytes_s,
        repeats=len(repeats),
        left_out=(*own.left_out, *base.left_out),
        loss=row.loss_vs_plain,
        loss_interval=row.loss_interval,
        rate_msg_s=row.rate_msg_s,
        baseline_rate_msg_s=base_row.rate_msg_s,
        disk_bytes_s_per_broker=row.disk_bytes_s_per_broker,
        baseline_disk_bytes_s_per_broker=base_row.disk_bytes_s_per_broker,
        limited_by=row.limited_by,
        baseline_limited_by=base_row.limited_by,
        cpu_s_per_gb=mean_own.cpu_s_per_gb,
        baseline_cpu_s_per_gb=mean_base.cpu_s_per_gb,
        added_cpu_s_per_gb=_added(*measured, whole=not pair.scenario.data_plane.has_sidecar("node")),
        packets_per_mb=mean_own.packets_per_mb,
        baseline_packets_per_mb=mean_base.packets_per_mb,
        records_per_batch=mean_own.records_per_batch,
        baseline_records_per_batch=mean_base.records_per_batch,
        bytes_per_batch=mean_own.bytes_per_batch,
        sidecar_memory_bytes=stats.mean([each.memory_bytes for each in memory]),
        sidecar_connections=stats.mean([each.connections for each in memory]),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _AtLoad:
    """Trials at the fixed load by repeat, and why others do not count."""

    carried: Mapping[int, Trial]
    left_out: tuple[str, ...]


def _at_load(run: Run, scenario: Scenario) -> _AtLoad:
    carried: dict[int, Trial] = {}
    left_out = []
    for trial in _fixed(run, scenario):
        share = trial.window.acknowledged / trial.window.offered if trial.window.offered else 0.0
        if not trial.valid:
            left_out.append(f"{scenario.name}, repeat {trial.repeat}: {'; '.join(trial.reasons)}")
        elif share < CARRIED_SHARE:
            left_out.append(f"{scenario.name}, repeat {trial.repeat}: carried {share * 100:.0f} % of the load")
        else:
            carried[trial.repeat] = trial
    return _AtLoad(carried=carried, left_out=tuple(left_out))


def _fixed(run: Run, scenario: Scenario) -> list[Trial]:
    rounds = [data for data in run.rounds if data.started.scenario == scenario.name]
    return [trial for data in rounds for trial in data.trials if trial.purpose == "fixed-load"]


def _added(own: Sequence[Figures], base: Sequence[Figures], *, whole: bool) -> AddedCpu:
    """A component that the baseline has not used nothing there. `whole`: no proxy is left out of them."""
    found = {name: [] for name in (*COMPONENTS, "together")}  # type: dict[str, list[float]]
    for ours, theirs in zip(own, base, strict=True):
        parts = [_difference(ours.cpu_s_per_gb, theirs.cpu_s_per_gb, name) for name in COMPONENTS]
        for name, value in zip(found, (*parts, sum_known(parts) if whole else None), strict=True):
            if value is not None:
                found[name].append(value)
    return AddedCpu(**{name: mean_of(values) for name, values in found.items()})


def _difference(own: CpuPerGb, base: CpuPerGb, component: str) -> float | None:
    ours, theirs = getattr(own, component), getattr(base, component)
    if component == "sidecars":
        theirs = theirs or 0.0
    return None if ours is None or theirs is None else float(ours - theirs)


def mean_of(values: Sequence[float]) -> Mean | None:
    found = stats.estimate(values)
    if found is None:
        return None
    return Mean(mean=found.mean, interval=Interval.of(found), repeats=found.count)


@dataclass(frozen=True, kw_only=True, slots=True)
class SidecarMemory:
    """Of all sidecars at the end of a window; None where one was not read, or there is none."""

    memory_bytes: float | None
    connections: float | None


def sidecar_memory(trial: Trial, scenario: Scenario) -> SidecarMemory:
    hosts = sidecar_hosts(scenario)
    memory, connections = (
        sum_known(trial.counters_end.get(f"{host}/sidecar/{metric}") for host in hosts)
        for metric in ("memory_rss_bytes", "connections")
    )
    return SidecarMemory(memory_bytes=memory, connections=connections)


def _memory_slope(run: Run, first: Scenario, last: Scenario) -> Mean | None:
    """What a connection through a sidecar takes, from the values with the fewest and the most of them, by repeat."""
    if last.workload.workers < _PEERS * first.workload.workers:
        return None
    few, many = _at_load(run, first).carried, _at_load(run, last).carried
    slopes = []
    for repeat in sorted(few.keys() & many.keys()):
        less, more = sidecar_memory(few[repeat], first), sidecar_memory(many[repeat], last)
        memory = _grown(less.memory_bytes, more.memory_bytes)
        connections = _grown(less.connections, more.connections)
        if memory is not None and connections:
            slopes.append(memory / connections)
    return mean_of(slopes)


def _grown(less: float | None, more: float | None) -> float | None:
    return None if less is None or more is None else more - less
