"""What limits, by experiment: a part of one resource is taken away, and less is carried, or not. Pure.

    elasticity = (1 - carried / carried with everything) / (1 - amount / amount there is)

1: throughput goes with the resource. 0: there is enough of it. Trials come in blocks, each with one trial that had
everything; differences are taken within a block, so that a machine that slows down does so for both, and the block is
the unit of the interval (Student's t). A resource limits if its elasticity is above zero and above every other one's,
both beyond chance, and costs more than the means of taking it away might by themselves.

A block whose trial with everything carried all that was offered does not count.

Limits: amounts are of what a host could use at most: on a machine shared by all, a broker that uses half a CPU of two
is not limited by its CPU, but by the machine's. Taking a third away finds what binds at once, not what would next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from meshmark.analysis import stats
from meshmark.analysis.ledger import broker_hosts, client_hosts, cpu_of, sidecar_hosts
from meshmark.analysis.limits import MACHINE, UNKNOWN
from meshmark.analysis.model import Elasticity, Explanation, Interval
from meshmark.plan import Scenario
from meshmark.record import DiskProbe, Limit, NetworkProbe, Tightened, Trial
from meshmark.units import percent

SHARE = 0.5
"""Taken away of what there is: enough to stand out from a noise of ten per cent, within few trials."""
ELASTICITY_MIN = 0.25
"""A limit has a cost of its own: packets pass a token bucket, periods end with a stop. Less than this is not told from
that."""
OVERLOAD = 1.2
"""More is offered than the most that is known to have been carried, so that what is carried is what the system can."""
FULL = 0.98


@dataclass(frozen=True, kw_only=True, slots=True)
class Ceilings:
    """What there is of each resource; None where it was not probed."""

    cpus: int
    link_bytes_s: float | None
    disk_bytes_s: float | None
    disk_operations_s: float | None = None


def probed(cpus: int, probes: Sequence[DiskProbe | NetworkProbe]) -> Ceilings:
    """Of the environment: several TCP flows past all sidecars, buffered writes with their flush, and single pages."""
    links = [each for each in probes if isinstance(each, NetworkProbe) and each.path == "direct"]
    flows = max((each.flows for each in links), default=0)
    disks = [each for each in probes if isinstance(each, DiskProbe)]
    pages = [each.rate_bytes_s / each.write_bytes for each in disks if each.mode == "direct"]
    return Ceilings(
        cpus=cpus,
        link_bytes_s=stats.mean([each.rate_bytes_s for each in links if each.flows == flows]),
        disk_bytes_s=stats.mean([each.rate_bytes_s for each in disks if each.mode == "buffered"]),
        disk_operations_s=stats.mean(pages),
    )


def candidates(trial: Trial, scenario: Scenario, there_is: Ceilings) -> tuple[Tightened, ...]:
    """What to take away, one of each kind: from that host of the kind which used most of it in a trial."""
    brokers, clients = broker_hosts(scenario), client_hosts(scenario)
    cpus = float(there_is.cpus)
    found = [
        _less(Limit(host=MACHINE, resource="cpu", amount=cpus)),
        _less(Limit(host=_most(trial, brokers, ("kafka/cpu",)), resource="cpu", amount=cpus)),
    ]
    if scenario.data_plane.sidecars:
        threads = min(cpus, float(scenario.cluster.sidecar_concurrency))
        host = _most(trial, sidecar_hosts(scenario), ("sidecar/cpu",))
        found.append(_less(Limit(host=host, resource="cpu", component="sidecar", amount=threads)))
    if scenario.cluster.storage == "image" and there_is.disk_bytes_s:
        host = _most(trial, brokers, ("kafka/log_bytes",))
        found.append(_less(Limit(host=host, resource="disk", amount=there_is.disk_bytes_s)))
    if there_is.link_bytes_s:
        for hosts in (brokers, clients):
            host = _most(trial, hosts, ("net/rx_bytes", "net/tx_bytes"))
            found.append(_less(Limit(host=host, resource="network", amount=there_is.link_bytes_s)))
    return tuple(found)


def _less(everything: Limit) -> Tightened:
    limit = everything.model_copy(update={"amount": everything.amount * (1 - SHARE)})
    return Tightened(block=0, limit=limit, available=everything.amount)


def _most(trial: Trial, hosts: Sequence[str], counters: Sequence[str]) -> str:
    def use(host: str) -> float:
        if counters[0].endswith("/cpu"):
            cpu = cpu_of(trial, f"{host}/{counters[0].removesuffix('/cpu')}")
            return cpu.total_s if cpu else 0.0
        return max(trial.delta(f"{host}/{counter}") or 0.0 for counter in counters)

    return max(hosts, key=use)


def title(limit: Limit) -> str:
    """The resource with its host, as the evidence of utilisation names it."""
    if limit.host == MACHINE:
        return "machine CPU"
    return f"{limit.host}/{limit.component} CPU" if limit.resource == "cpu" else f"{limit.host} {limit.resource}"


def explanation(trials: Sequence[Trial]) -> Explanation | None:
    """Of the trials of one scenario that were made to explain; None without any. Lateness of the load generator does
    not count against them: it has less CPU in some, which is what they are for."""
    counted = [(trial.tightened, trial) for trial in trials if trial.tightened and not trial.faults]
    if not any(trial.tightened for trial in trials):
        return None
    # Who carried all that was offered might have carried more.
    whole = {
        each.block: trial.rate_msg_s
        for each, trial in counted
        if each.limit is None and trial.rate_msg_s < FULL * trial.offered_msg_s
    }
    lost: dict[str, dict[int, float]] = {}
    less: dict[str, Tightened] = {}
    for each, trial in counted:
        if each.limit and whole.get(each.block):
            name = title(each.limit)
            lost.setdefault(name, {})[each.block] = 1 - trial.rate_msg_s / whole[each.block]
            less[name] = each
    found = {name: {block: loss / less[name].share for block, loss in losses.items()} for name, losses in lost.items()}
    verdict = limiting(found)
    rows = [_row(name, less[name], lost[name], found[name], name in verdict) for name in found]
    rows.sort(key=lambda row: -row.elasticity)
    return Explanation(
        limited_by=verdict,
        text=_text(verdict, rows),
        blocks=len(whole),
        carried_msg_s=fmean(whole.values()) if whole else None,
        elasticities=tuple(rows),
    )


def limiting(elasticities: dict[str, dict[int, float]]) -> tuple[str, ...]:
    """Resource -> block -> elasticity. The one that limits; several where they cannot be told apart; or unknown."""
    means = {name: fmean(blocks.values()) for name, blocks in elasticities.items()}
    costly = [name for name in means if means[name] >= ELASTICITY_MIN and _above(elasticities[name], {})]
    if not costly:
        return (UNKNOWN,)
    top = max(costly, key=lambda name: means[name])
    beside = [name for name in means if name != top and not _above(elasticities[top], elasticities[name])]
    if any(name not in costly for name in beside):
        return (UNKNOWN,)
    return (top, *sorted(beside, key=lambda name: -means[name]))


def _above(one: dict[int, float], other: dict[int, float]) -> bool:
    """Beyond chance; block by block."""
    blocks = one.keys() & other.keys() if other else one.keys()
    found = stats.estimate([one[block] - other.get(block, 0.0) for block in sorted(blocks)])
    return found is not None and found.low is not None and found.low > 0


def _row(
    name: str, less: Tightened, lost: dict[int, float], elasticities: dict[int, float], limits: bool
) -> Elasticity:
    estimate = stats.estimate(list(elasticities.values()))
    assert estimate is not None
    assert less.limit is not None
    return Elasticity(
        resource=name,
        host=less.limit.host,
        available=less.available or 0.0,
        amount=less.limit.amount,
        lost=fmean(lost.values()),
        elasticity=estimate.mean,
        interval=Interval.of(estimate),
        blocks=estimate.count,
        limits=limits,
    )


def _text(verdict: Sequence[str], rows: Sequence[Elasticity]) -> str:
    if not rows:
        return "unknown: no trial of this counts"
    share = percent(SHARE)
    if verdict == (UNKNOWN,):
        return f"unknown: with {share} less of one resource at a time, no loss stands out from others and from chance"
    said = [f"{row.resource} (elasticity {row.elasticity:.2f})" for row in rows if row.limits]
    if len(said) == 1:
        row = next(row for row in rows if row.limits)
        bounds = f", 95 % interval {row.interval.low:.2f} to {row.interval.high:.2f}" if row.interval else ""
        return (
            f"{row.resource} limits: with {share} less of it, {percent(row.lost)} less was carried (elasticity "
            f"{row.elasticity:.2f}{bounds}), more than for any other"
        )
    return f"one of these limits, and these trials cannot tell which: {', '.join(said)}"
