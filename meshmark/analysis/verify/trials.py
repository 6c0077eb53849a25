"""Does a trial follow from the raw series of its round, and do its own figures follow from each other?

What can be recomputed exactly is held equal. Counters are read some milliseconds beside the marks that count records,
so what joins the two has a tolerance, each with its reason.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from meshmark.analysis.hops import counted_hops
from meshmark.analysis.ledger import broker_hosts, client_hosts, elapsed_s, sum_known
from meshmark.analysis.path import JUDGED_BYTES, check_path, unexplained
from meshmark.analysis.traffic import stored_bytes
from meshmark.analysis.verify.clocks import clock_findings
from meshmark.analysis.verify.model import Finding
from meshmark.analysis.verify.own import account_findings, decoded, latency_findings, lateness_findings
from meshmark.analysis.verify.raw import Raw
from meshmark.histogram import Histogram
from meshmark.nodes import END_TO_END_ERROR
from meshmark.plan import Scenario, Workload
from meshmark.read_back import contradictions
from meshmark.record import HopTime, Latency, LoadInterval, Point, Trial

LOG_SHARE = 0.02
"""The brokers' logs grow by what was acknowledged, and the heads of records and batches: measured within
0.1 %."""
WINDOW_SHARE = 0.5
"""The same in the window alone, a coarse check: its counters are read up to 0.6 s late on a busy machine, whose rate
goes up and down. Measured: up to 22 % in windows of 2 s."""
CPU_SHARE = 0.1
"""The parts of the machine's CPU time add up to elapsed x CPUs; measured: within 2 %."""
OFFERED_SHARE = 0.05
"""A schedule is exact but for the chance of its arrivals; measured: within 2.2 %, where the generator was late."""
EXACT = 1e-9
"""Sums of the same floating-point numbers in another order."""


def trial_findings(round_: Raw, scenario: Scenario, cpus: int) -> Iterator[Finding]:
    for file, trial in round_.trials():
        unreadable = list(_unreadable(file, trial))
        if unreadable:
            yield from unreadable
            continue
        yield from _counts(file, trial, scenario.workload)
        yield from _points(round_, file, trial, scenario.workload)
        yield from _latencies(round_, file, trial, scenario.workload)
        yield from clock_findings(round_, file, trial)
        yield from _readings(round_, file, trial)
        yield from _read_back(file, trial, scenario.workload)
        yield from _faults(file, trial, scenario, round_)
        yield from _path(file, trial, scenario)
        yield from _machine(file, trial, cpus)
        if trial.valid:
            yield from _rates(file, trial, scenario)


def _unreadable(file: str, trial: Trial) -> Iterator[Finding]:
    """What nothing can be reckoned from."""
    if trial.seconds <= 0 or not trial.offered_msg_s > 0:
        yield Finding(
            file=file,
            recorded=f"a window of {trial.seconds:g} s at {trial.offered_msg_s:g} msg/s",
            follows="both are more than nothing",
        )
    for name, told in (("latency", trial.latency), ("endToEnd", trial.end_to_end), ("lateness", trial.lateness)):
        if told is not None and decoded(told.histogram) is None:
            yield Finding(file=file, recorded=f"a histogram in {name}", follows="it cannot be decoded")


def _counts(file: str, trial: Trial, workload: Workload) -> Iterator[Finding]:
    for name, totals in (("window", trial.window), ("total", trial.total)):
        yield from account_findings(file, name, totals, workload)
    if trial.connections != workload.workers:
        yield Finding(
            file=file, recorded=f"{trial.connections} connections", follows=f"the plan asks for {workload.workers}"
        )


def _points(round_: Raw, file: str, trial: Trial, workload: Workload) -> Iterator[Finding]:
    """The window's series is that of the intervals inside, between two marks that give its totals."""
    points, found = trial.series, round_.within(trial)
    if len(points) < 2:
        yield Finding(file=file, recorded=f"{len(points)} points", follows="a window has two edges at least")
        return
    first, last = points[0], points[-1]
    for name, edge, told in (("begins", first, trial.window_start_s), ("ends", last, trial.window_end_s)):
        if edge.time_s != told:
            yield Finding(
                file=file,
                recorded=f"the window {name} at {told:.6f} s",
                follows=f"its series {name} at {edge.time_s:.6f} s",
            )
    for name in ("offered", "acknowledged", "outstanding"):
        grown, told = getattr(last, name) - getattr(first, name), getattr(trial.window, name)
        if grown != told:
            yield Finding(
                file=file, recorded=f"{told} {name} in the window", follows=f"its series grows by {grown} in it"
            )
    inside = [(line, each) for line, each in found if first.time_s < each.time_s < last.time_s]
    reported = [Point.of(each.time_s, each.totals) for _, each in inside]
    if reported != list(points[1:-1]):
        place = next((n for n, pair in enumerate(zip(reported, points[1:-1], strict=False)) if pair[0] != pair[1]), -1)
        yield Finding(
            file=file,
            recorded=f"{len(points) - 2} points between the edges of the window"
            + (f"; one is {_told(points[1 + place])}" if place >= 0 else ""),
            follows=f"load workers reported {len(reported)}"
            + (f"; that one is {_told(reported[place])}" if place >= 0 else ""),
        )
    # With consumers an instant of all workers is some milliseconds long, so edges and reports may overlap.
    ordered = list(points if not workload.subscriptions_per_topic else points[1:-1])
    for before, after in pairwise(ordered):
        if before.time_s >= after.time_s or before.offered > after.offered or before.acknowledged > after.acknowledged:
            yield Finding(file=file, recorded=_told(after), follows=f"{_told(before)} comes before it in the series")
    yield from _bounds(file, trial, found, wider=1 if workload.subscriptions_per_topic else 0)


def _bounds(file: str, trial: Trial, found: list[tuple[int, LoadInterval]], *, wider: int) -> Iterator[Finding]:
    """Counts of the whole load are at least those of its last report, and marks lie between the reports around, or so
    many reports farther; a load begins with nothing and ends with its totals."""
    seen = [Point.of(each.time_s, each.totals) for _, each in found]
    if not seen:
        yield Finding(file=file, recorded="a trial", follows="load workers reported nothing between its start and end")
        return
    for name in ("offered", "acknowledged"):
        told, least = getattr(trial.total, name), max(getattr(seen[-1], name), getattr(trial.series[-1], name))
        if told < least:
            yield Finding(file=file, recorded=f"{told} {name} in all", follows=f"{least} before the load ended")
    nothing = Point(time_s=trial.started_s, offered=0, acknowledged=0, outstanding=0)
    for edge in (trial.series[0], trial.series[-1]):
        before = [nothing, *(point for point in seen if point.time_s <= edge.time_s)]
        after = [*(point for point in seen if point.time_s >= edge.time_s), Point.of(trial.ended_s, trial.total)]
        low, high = before[-1 - wider :][0], after[: 1 + wider][-1]
        if not (low.acknowledged <= edge.acknowledged <= high.acknowledged) or not (
            low.offered <= edge.offered <= high.offered
        ):
            yield Finding(
                file=file,
                recorded=f"{_told(edge)}, at an edge of the window",
                follows=f"load workers reported {_told(low)} before and {_told(high)} after",
            )


def _told(point: Point) -> str:
    return (
        f"{point.offered} offered, {point.acknowledged} acknowledged, {point.outstanding} outstanding at "
        f"{point.time_s:.3f} s"
    )


def _latencies(round_: Raw, file: str, trial: Trial, workload: Workload) -> Iterator[Finding]:
    """Quantiles are those of the histogram; it counts the window's records, and holds what was reported in it."""
    window = trial.window
    if trial.latency is not None:
        yield from latency_findings(file, "latency", trial.latency)
        if not window.acknowledged - window.negative <= trial.latency.count <= window.acknowledged:
            yield Finding(
                file=file,
                recorded=f"{trial.latency.count} latencies",
                follows=f"{window.acknowledged} records were acknowledged in the window",
            )
        if not workload.subscriptions_per_topic:
            yield from _reported_latencies(round_, file, trial, trial.latency)
    error_s = trial.end_to_end_error_s
    p50_s = trial.end_to_end.p50_s if trial.end_to_end else None
    if p50_s is not None and (error_s is None or error_s > END_TO_END_ERROR * p50_s):
        yield Finding(
            file=file,
            recorded=f"end-to-end latency with a median of {p50_s:g} s",
            follows="its error by clocks is unknown or above a tenth of that",
        )
    if trial.end_to_end is not None:
        yield from latency_findings(file, "end-to-end latency", trial.end_to_end)
        stamped = window.consumed - window.unstamped
        if not stamped - window.negative <= trial.end_to_end.count <= stamped:
            yield Finding(
                file=file,
                recorded=f"{trial.end_to_end.count} end-to-end latencies",
                follows=f"{stamped} records with a send time were consumed in the window",
            )
    if trial.lateness is not None:
        yield from lateness_findings(file, trial.lateness)
    if trial.hops and trial.latency is not None:
        mean_s, parts_s = Histogram.decode(trial.latency.histogram).mean_s or 0.0, sum(h.mean_s for h in trial.hops)
        if not math.isclose(mean_s, parts_s, rel_tol=EXACT, abs_tol=EXACT):
            yield Finding(
                file=file,
                recorded=f"hops of {parts_s:.6g} s in all",
                follows=f"the mean latency is {mean_s:.6g} s",
            )
        yield from _hops(file, trial)


def _hops(file: str, trial: Trial) -> Iterator[Finding]:
    """Those that counters give; clients' own statistics are nowhere else."""
    told = {each.hop: each for each in trial.hops}
    for again in counted_hops(trial.counters_start, trial.counters_end):
        one = told.get(again.hop)
        same = one is not None and math.isclose(one.mean_s, again.mean_s, rel_tol=EXACT, abs_tol=EXACT)
        if one is None or not same or one.count != again.count:
            yield Finding(
                file=file,
                recorded=f"hops: {again.hop}: {_mean(one) if one else 'none'}",
                follows=f"its counters in counters_start and counters_end give {_mean(again)}",
            )


def _mean(hop: HopTime) -> str:
    return f"{hop.mean_s:.6g} s, of {hop.count}"


def _reported_latencies(round_: Raw, file: str, trial: Trial, told: Latency) -> Iterator[Finding]:
    inside = Histogram()
    found = round_.within(trial)
    for (_, before), (line, each) in pairwise(found):
        if each.latency is None:
            continue
        grown = each.totals.acknowledged - before.totals.acknowledged
        negative = each.totals.negative - before.totals.negative
        if not grown - negative <= each.latency.count <= grown:
            yield Finding(
                file=round_.file("intervals.jsonl", line),
                recorded=f"{each.latency.count} latencies",
                follows=f"{grown} records were acknowledged since the line before",
            )
        if before.time_s >= trial.window_start_s and each.time_s <= trial.window_end_s:
            histogram = decoded(each.latency.histogram)
            if histogram is not None:
                inside += histogram
    try:
        Histogram.decode(told.histogram) - inside
    except ValueError:
        yield Finding(
            file=file,
            recorded=f"a histogram of {told.count} latencies",
            follows="load workers reported, within the window, latencies that it does not hold",
        )


def _readings(round_: Raw, file: str, trial: Trial) -> Iterator[Finding]:
    """Every reading of counters that a trial has is one of the series, from that moment."""
    for name, counters, low_s, high_s in (
        ("quiet_start", trial.quiet_start, trial.started_s, trial.started_s),
        ("counters_start", trial.counters_start, trial.window_start_s, trial.window_end_s),
        ("counters_end", trial.counters_end, trial.window_end_s, trial.ended_s),
        ("quiet_end", trial.quiet_end, trial.window_end_s, trial.ended_s),
    ):
        if not round_.read_between(counters, low_s, high_s):
            yield Finding(
                file=file,
                recorded=f"{name}: {len(counters)} counters",
                follows=f"series.jsonl has no such reading between {low_s:.3f} s and {high_s:.3f} s",
            )


def _faults(file: str, trial: Trial, scenario: Scenario, round_: Raw) -> Iterator[Finding]:
    """A trial that counts has none of the faults that can be seen in its record."""
    if trial.faults:
        return
    total, groups = trial.total, scenario.workload.subscriptions_per_topic
    seen = []
    if total.outstanding:
        seen.append(f"{total.outstanding} records were outstanding at its end")
    if trial.window.acknowledged <= 0:
        seen.append("nothing was acknowledged in its window")
    if not groups * total.acknowledged <= total.consumed <= groups * (total.acknowledged + total.unknown):
        seen.append(f"consumers read {total.consumed} records of {groups} x {total.acknowledged}")
    seen += contradictions(trial.read_back, total.unknown)
    if trial.purpose != "explain":
        seen += [f"{proof.name} does not hold at {proof.host}" for proof in round_.data.proofs if not proof.holds]
    for text in seen:
        yield Finding(file=file, recorded="no fault", follows=text)


def _read_back(file: str, trial: Trial, workload: Workload) -> Iterator[Finding]:
    """Of each consumer group it tells of every record that was acknowledged; of all, of every one that was read."""
    if not trial.read_back:
        return
    groups = range(1, workload.subscriptions_per_topic + 1)
    if {each.group for each in trial.read_back} - set(groups):
        yield Finding(
            file=file, recorded="what consumer groups read back", follows=f"the plan has {len(groups)} such groups"
        )
    for group in groups:
        of = sum(each.acknowledged * each.records for each in trial.read_back if each.group == group)
        if of != trial.total.acknowledged:
            yield Finding(
                file=file,
                recorded=f"group {group} was to read back {of} records",
                follows=f"{trial.total.acknowledged} were acknowledged",
            )
    read, told = sum(each.read * each.records for each in trial.read_back), trial.total.consumed
    if read != told - trial.total.unstamped:
        yield Finding(
            file=file,
            recorded=f"{read} records read back",
            follows=f"consumers read {told}, {trial.total.unstamped} of them of another load",
        )


def _path(file: str, trial: Trial, scenario: Scenario) -> Iterator[Finding]:
    """Sidecars' counters against what Kafka moved, from the two quiet readings."""
    again = check_path(
        start=trial.quiet_start,
        end=trial.quiet_end,
        scenario=scenario,
        broker_hosts=broker_hosts(scenario),
        client_hosts=client_hosts(scenario),
        batch=trial.batch,
    )
    told = {(check.host, check.direction): check.counted_bytes for check in trial.path}
    counted = {(check.host, check.direction): check.counted_bytes for check in again}
    for host, direction in sorted(told.keys() | counted.keys()):
        one, other = told.get((host, direction)), counted.get((host, direction))
        # An older record has no row of what counted nothing, as it should.
        if one != other and (one is not None or other):
            yield Finding(
                file=file,
                recorded=f"path: {direction} of {host}: {_bytes(one)}",
                follows=f"its counters in quiet_start and quiet_end give {_bytes(other)}",
            )
    errors = {(check.host, check.direction): check.error for check in again}
    for check in trial.path:
        nothing = errors.get((check.host, check.direction), -1)
        error = check.counted_bytes / check.expected_bytes - 1 if check.expected_bytes else nothing
        if check.error != error:
            yield Finding(
                file=file,
                recorded=f"path: {check.direction} of {check.host}: off by {check.error:+.4%}",
                follows=f"{_bytes(check.counted_bytes)} of {check.expected_bytes:.0f} expected are {error:+.4%}",
            )
    if not trial.faults:
        for text in unexplained(again):
            yield Finding(file=file, recorded="no fault", follows=text)


def _bytes(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.0f} bytes"


def _machine(file: str, trial: Trial, cpus: int) -> Iterator[Finding]:
    parts = ("user", "system", "idle", "iowait", "steal", "irq", "softirq")
    spent_s = sum_known(trial.delta(f"machine/cpu/{part}_s") for part in parts)
    if spent_s is not None and not math.isclose(spent_s, elapsed_s(trial) * cpus, rel_tol=CPU_SHARE):
        yield Finding(
            file=file,
            recorded=f"{spent_s:.4g} s of CPU time, idle included, in {elapsed_s(trial):.4g} s",
            follows=f"that is a machine of {spent_s / elapsed_s(trial):.3g} CPUs; started.json says {cpus}",
        )


def _rates(file: str, trial: Trial, scenario: Scenario) -> Iterator[Finding]:
    """The rate that a trial says, from the brokers' logs and from the schedule."""
    offered = trial.offered_msg_s * trial.seconds
    if abs(trial.window.offered - offered) > OFFERED_SHARE * offered + 5 * math.sqrt(offered):
        yield Finding(
            file=file,
            recorded=f"{trial.offered_msg_s:.0f} msg/s offered",
            follows=f"{trial.window.offered} records came due in {trial.seconds:.3f} s: {offered:.0f} should have",
        )
    workload, config = scenario.workload, scenario.workload.producer_config
    acks = str(config.get("acks", config.get("request.required.acks", "all")))
    per_batch = trial.batch.records_per_batch
    if str(config.get("compression.type", "none")) != "none" or acks == "0" or not per_batch:
        return
    keys = [f"{host}/kafka/leader_log_bytes" for host in broker_hosts(scenario)]
    size = stored_bytes(1, workload.message_size, per_batch, workload.key_bytes)
    logged = _grown(trial, keys)
    least = size * trial.total.acknowledged
    most = size * (trial.total.acknowledged + trial.errors)
    if logged is None or least < JUDGED_BYTES:
        return
    if not least * (1 - LOG_SHARE) <= logged <= most * (1 + LOG_SHARE):
        yield Finding(
            file=file,
            recorded=f"{trial.total.acknowledged} records acknowledged",
            follows=f"the leaders' logs grew by {logged:.0f} bytes, which is {logged / size:.0f} records",
        )
        return
    copied = _grown(trial, [key.replace("leader_log_bytes", "log_bytes") for key in keys])
    if copied is not None and abs(copied / logged - workload.replication_factor) > LOG_SHARE:
        yield Finding(
            file=file,
            recorded=f"all logs grew {copied / logged:.3g} times as much as their leaders'",
            follows=f"the plan's replication factor is {workload.replication_factor}",
        )
    window = sum_known(trial.delta(key) for key in keys)
    told = size * trial.rate_msg_s * elapsed_s(trial)
    waiting = size * max(point.outstanding for point in trial.series)
    if window is not None and told >= JUDGED_BYTES and abs(window - told) > WINDOW_SHARE * told + waiting:
        yield Finding(
            file=file,
            recorded=f"{trial.rate_msg_s:.0f} msg/s in the window",
            follows=f"the leaders' logs grew at {window / size / elapsed_s(trial):.0f} msg/s in it",
        )


def _grown(trial: Trial, keys: Sequence[str]) -> float | None:
    """Between the two quiet readings; None if one of these counters was not read."""
    if not all(key in trial.quiet_start and key in trial.quiet_end for key in keys):
        return None
    return sum(trial.quiet_end[key] - trial.quiet_start[key] for key in keys)
