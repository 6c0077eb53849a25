"""What mTLS costs over a distance, and whether it is what binds there. Pure.

Against the like scenario of the same run, equal in all but the data plane: with sidecars that do not encrypt, where
there is one, so that the difference is of mTLS alone; else without a mesh, so that it is of sidecars and mTLS
together.

On established connections mTLS sends no message of its own that would be waited for, so it can bind in two ways only:
by the CPU time of a record, or by what that time, or TLS's records, add to each round trip. By CPU where CPU is among
the terms that bind (`terms.py`) and the CPU time per GB that it adds is known to be above 0: paired by repeat, 95 %
interval. Over the round trip where other terms bind and less is carried than without it: the quotient of the two
ceilings, its 95 % interval below 1; where it is unknown what binds, so is the way. It does not bind where CPU does not
and that interval is above 1 - MOVES, nor where CPU does and it adds none. All else is unknown: one repeat has no
interval.

CPU time is that of brokers without their compilers, sidecars, gateways and load workers; repeats that leave too much
of the machine's time unattributed are out. Where a proxy is the node's, it is unknown.

Laws of distance are set side by side in the same way: quotients of their two constants from the constants' own 95 %
intervals, and the CPU time per GB added, paired by distance.

Limits: CPU per GB falls with the rate, since waiting threads and half-filled batches cost more of it, so it is
compared only while neither side carries more than COMPARABLE times as much. What sidecars and mTLS cost together is no
verdict on mTLS. With another route behind gateways there is no like scenario.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from meshmark.analysis import ceilings, stats
from meshmark.analysis.distance_law import but_distance
from meshmark.analysis.ledger import UNUSABLE_SHARE, sum_known
from meshmark.analysis.model import CpuPerGb, DistanceLaw, Figures, Interval, ScenarioSummary
from meshmark.analysis.settings_tried import MOVES
from meshmark.analysis.wan_model import Binding, LawsApart, MtlsCost, MtlsPrice
from meshmark.data_plane import DataPlane
from meshmark.plan import Plan, Scenario
from meshmark.units import number

COMPARABLE = 2.0
"""Chosen: beyond, a difference says more of the rates than of mTLS."""

Through = Literal["CPU", "time per round trip"]


class Ruled(NamedTuple):
    """Whether it binds, how, and why so; None: unknown."""

    binds: bool | None
    through: Through | None
    explained: str


def cost(
    plan: Plan, scenarios: Sequence[ScenarioSummary], bindings: Sequence[Binding], laws: Sequence[DistanceLaw]
) -> MtlsCost | None:
    """None where no scenario with mTLS has a like one without it, over a distance."""
    rows, found = {row.name: row for row in scenarios}, {each.scenario: each for each in bindings}
    prices = tuple(
        _price(rows[own.name], rows[base.name], found[own.name], found[base.name])
        for own, base in _pairs(plan)
        if {own.name, base.name} <= found.keys()
    )
    return MtlsCost(prices=prices, laws=tuple(_laws(plan, rows, laws))) if prices else None


def _pairs(plan: Plan) -> Iterator[tuple[Scenario, Scenario]]:
    """Of scenarios with mTLS, with the like one without."""
    like = {(_others(scenario), scenario.data_plane): scenario for scenario in plan.scenarios}
    for own in plan.scenarios:
        bases = (like.get((_others(own), plane)) for plane in _without(own.data_plane))
        base = next((each for each in bases if each is not None), None)
        if own.data_plane.mtls and base is not None:
            yield own, base


def _without(plane: DataPlane) -> Iterator[DataPlane]:
    """What its mTLS is held against, the better first: proxies alike that do not encrypt, and none."""
    for each in DataPlane:
        if not each.encrypted_hops and (each.mesh, each.row.proxies, each.row.carries) == (
            plane.mesh,
            plane.row.proxies,
            plane.row.carries,
        ):
            yield each
    yield DataPlane.PLAIN


def _others(scenario: Scenario) -> str:
    """All but the data plane, and what no trial depends on."""
    values = scenario.model_dump(mode="json", exclude={"name", "baseline", "method", "held_out", "data_plane"})
    return json.dumps(values, sort_keys=True)


def _price(own: ScenarioSummary, base: ScenarioSummary, binding: Binding, other: Binding) -> MtlsPrice:
    alone = base.data_plane.sidecars
    ratio = ceilings.quotient(_ceiling(own), _ceiling(base))
    added = _added(own, base) if comparable(binding.rate_msg_s, other.rate_msg_s) else None
    used = _used(own, own.data_plane)
    found = ruled(binding, added, ratio, alone=alone)
    return MtlsPrice(
        scenario=own.name,
        rtt_s=binding.rtt_s,
        against=base.name,
        alone=alone,
        added_s_per_gb=added.mean if added else None,
        added_low=added.low if added else None,
        added_high=added.high if added else None,
        cpu_share=added.mean / used if added and used else None,
        ratio=ratio.mean if ratio else None,
        ratio_low=ratio.low if ratio else None,
        ratio_high=ratio.high if ratio else None,
        binds=found.binds,
        through=found.through,
        explained=found.explained,
    )


def comparable(one: float | None, other: float | None) -> bool:
    """Whether two rates are near enough for their CPU per GB to be compared."""
    return bool(one and other) and max(one or 0, other or 0) <= COMPARABLE * min(one or 0, other or 0)


def _ceiling(row: ScenarioSummary) -> stats.Estimate | None:
    if not row.rate_msg_s:
        return None
    return _known(row.rate_msg_s, row.rate_interval, row.repeats_valid)


def _known(value: float, interval: Interval | None, count: int) -> stats.Estimate:
    low, high = (interval.low, interval.high) if interval and interval.low > 0 else (None, None)
    return stats.Estimate(mean=value, low=low, high=high, count=count)


def _added(own: ScenarioSummary, base: ScenarioSummary) -> stats.Estimate | None:
    """By repeat."""
    theirs = {each.repeat: _used(each, base.data_plane) for each in base.repeats if each.valid}
    pairs = [(_used(each, own.data_plane), theirs.get(each.repeat)) for each in own.repeats if each.valid]
    return stats.estimate([one - other for one, other in pairs if one is not None and other is not None])


def _used(row: Figures, plane: DataPlane) -> float | None:
    """None where the ledger says nothing about components, or has not all of them."""
    if plane.has_sidecar("node"):
        return None
    if row.unattributed_share is not None and abs(row.unattributed_share) > UNUSABLE_SHARE:
        return None
    return _cpu(row.cpu_s_per_gb)


def _cpu(book: CpuPerGb) -> float | None:
    """Of a data plane without proxies these are nothing."""
    if book.brokers is None or book.clients is None:
        return None
    return sum_known([book.brokers, book.sidecars or 0.0, book.gateways or 0.0, book.clients])


def ruled(own: Binding, added: stats.Estimate | None, ratio: stats.Estimate | None, *, alone: bool) -> Ruled:
    """From what binds the scenario with mTLS, and from what was measured against the one without."""
    who = "mTLS" if alone else "sidecars and mTLS together"
    if "CPU" in own.binds:
        return _by_cpu(added, who, alone=alone)
    what = f"{own.binds[0]} binds" if own.binds else "which term binds is unknown"
    rest = f"not through CPU: {what}; whether it adds to round trips is unknown" if own.binds else f"unknown: {what}"
    if ratio is None or ratio.low is None or ratio.high is None:
        return Ruled(None, None, rest)
    seen = f"{number(ratio.mean)} ({number(ratio.low)} … {number(ratio.high)}) times as much is carried"
    if not alone:
        return Ruled(None, None, f"{rest}; with {who} {seen}")
    if ratio.high < 1:
        through: Through | None = "time per round trip" if own.binds else None
        return Ruled(True, through, f"yes{', over the round trip' if through else ''}: {what}, and {seen}")
    if ratio.low > 1 - MOVES:
        return Ruled(False, None, f"no: {what}, and {seen}")
    return Ruled(None, None, f"{rest}: {seen}")


def _by_cpu(added: stats.Estimate | None, who: str, *, alone: bool) -> Ruled:
    if added is None or added.low is None or added.high is None:
        return Ruled(None, None, f"unknown: CPU is at its limit, and how much of it is {who} has no interval")
    seen = f"{who}: {number(added.mean)} ({number(added.low)} … {number(added.high)}) s of CPU per GB"
    if added.low > 0:
        said = (
            "yes, through CPU" if alone else "together with sidecars, through CPU; how much is mTLS alone is unknown"
        )
        return Ruled(True if alone else None, "CPU", f"{said}; {seen}")
    if added.high <= 0:
        return Ruled(False, None, f"no: CPU is at its limit, and nothing of it is added; {seen}")
    return Ruled(None, None, f"unknown: CPU is at its limit, and what is added may be nothing; {seen}")


def _laws(plan: Plan, rows: Mapping[str, ScenarioSummary], laws: Sequence[DistanceLaw]) -> Iterator[LawsApart]:
    """Each law with mTLS, against each without that is of a like workload and cluster."""
    like = {_law_of(plan, law): law for law in laws}
    for law in laws:
        for plane in _without(law.data_plane) if law.data_plane.mtls else ():
            other = like.get((_law_of(plan, law)[0], plane))
            if other is not None:
                yield _apart(plan, law, other, rows)


def _law_of(plan: Plan, law: DistanceLaw) -> tuple[str, DataPlane]:
    scenario = plan.scenario(law.points[0].scenario)
    return but_distance(scenario.model_copy(update={"data_plane": DataPlane.PLAIN})), law.data_plane


def _apart(plan: Plan, law: DistanceLaw, other: DistanceLaw, rows: Mapping[str, ScenarioSummary]) -> LawsApart:
    near = _of_constants(
        (law.rate_at_zero_msg_s, law.rate_at_zero_interval), (other.rate_at_zero_msg_s, other.rate_at_zero_interval)
    )
    held = _of_constants(
        (law.bytes_per_rtt, law.bytes_per_rtt_interval), (other.bytes_per_rtt, other.bytes_per_rtt_interval)
    )
    added = stats.estimate(list(_by_distance(plan, law, other, rows)))
    return LawsApart(
        data_plane=law.data_plane,
        against=other.data_plane,
        rate_at_zero_ratio=near.mean if near else None,
        rate_at_zero_low=near.low if near else None,
        rate_at_zero_high=near.high if near else None,
        bytes_per_rtt_ratio=held.mean if held else None,
        bytes_per_rtt_low=held.low if held else None,
        bytes_per_rtt_high=held.high if held else None,
        added_s_per_gb=added.mean if added else None,
        added_low=added.low if added else None,
        added_high=added.high if added else None,
        distances=added.count if added else 0,
    )


def _of_constants(
    own: tuple[float | None, Interval | None], base: tuple[float | None, Interval | None]
) -> stats.Estimate | None:
    if own[0] is None or base[0] is None:
        return None
    return stats.ratio(_known(own[0], own[1], 1), _known(base[0], base[1], 1))


def _by_distance(
    plan: Plan, law: DistanceLaw, other: DistanceLaw, rows: Mapping[str, ScenarioSummary]
) -> Iterator[float]:
    """CPU per GB added at each distance at which both carried about as much."""
    without = {_others(plan.scenario(point.scenario)): point for point in other.points}
    for own in law.points:
        base = without.get(_others(plan.scenario(own.scenario)))
        if base is not None and comparable(own.rate_msg_s, base.rate_msg_s):
            ours = _used(rows[own.scenario], law.data_plane)
            theirs = _used(rows[base.scenario], other.data_plane)
            if ours is not None and theirs is not None:
                yield ours - theirs
