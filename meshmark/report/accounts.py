"""The accounts of the page: bytes, and latencies of known stops, as predicted and as counted; CPU by kind of work."""

from __future__ import annotations

from meshmark.analysis.model import CpuSplit, ScenarioSummary, Summary
from meshmark.record import StopCheck, WorkKind
from meshmark.report.view import Column, Grid, number_column, text_column
from meshmark.store import Run
from meshmark.units import MB, UNKNOWN, percent, rate_msg_s

UNKNOWN_NAMED = 4
"""Programs and libraries that most samples without a name are in."""


def traffic(summary: Summary) -> Grid | None:
    """Every path and every interface: what it should have carried, and what was counted."""
    rows = [
        (scenario, repeat, row)
        for scenario in summary.scenarios
        for repeat in scenario.repeats
        for row in repeat.traffic
    ]
    if not rows:
        return None
    judged = [row for _, _, row in rows if row.holds is not None]
    held = sum(row.holds is True for row in judged)
    return Grid(
        title="Bytes as predicted from records, replication and readers, and as counted",
        columns=(
            text_column("scenario", (scenario.name for scenario, _, _ in rows)),
            Column(head="repeat", cells=tuple(str(repeat.repeat) for _, repeat, _ in rows)),
            text_column("path", (row.path for _, _, row in rows)),
            number_column("predicted MB", (row.predicted_bytes / MB for _, _, row in rows), digits=5),
            number_column("counted MB", (_mb(row.counted_bytes) for _, _, row in rows), digits=5),
            Column(head="difference", cells=tuple(_signed(row.error) for _, _, row in rows)),
            number_column("slack MB", (row.slack_bytes / MB for _, _, row in rows)),
            text_column("counted by", (row.counter for _, _, row in rows)),
            text_column("arithmetic", (row.explained for _, _, row in rows)),
        ),
        note=f"{held} of {len(judged)} counters that moved enough to judge are within 2 % and their slack.",
    )


KINDS: dict[WorkKind, str] = {
    "crypto": "crypto",
    "copy": "copy",
    "network": "kernel network",
    "kernel": "other kernel",
    "jvm": "JVM's own",
    "user": "other code",
    "unknown": "no name",
}


def cpu_splits(summary: Summary) -> list[Grid]:
    """Of each scenario that was sampled."""
    return [_cpu_split(scenario, scenario.cpu_split) for scenario in summary.scenarios if scenario.cpu_split]


def _cpu_split(scenario: ScenarioSummary, found: CpuSplit) -> Grid:
    rows = found.components
    unknown = ", ".join(f"{file} {count}" for file, count in list(found.unknown_in.items())[:UNKNOWN_NAMED])
    return Grid(
        title=f"CPU seconds per GB acknowledged by kind of work: {scenario.name}",
        columns=(
            text_column("component", (row.component for row in rows)),
            Column(head="samples", cells=tuple(f"{row.samples:,}" for row in rows)),
            *(
                number_column(head, (row.s_per_gb[kind] if row.s_per_gb else None for row in rows))
                for kind, head in KINDS.items()
            ),
            number_column("all", (sum(row.s_per_gb.values()) if row.s_per_gb else None for row in rows)),
        ),
        note=f"Windows: {found.windows}; {found.hz} samples a second of each CPU. Of n samples a share p is known to "
        f"about +-2 sqrt(p (1 - p) / n). CPUs were busy in {percent(found.busy_share)} of all samples; by the ledger, "
        f"{percent(scenario.machine_cpu_share)} of the time. Samples without a name: {unknown or 'none'}.",
    )


def self_tests(run: Run) -> Grid | None:
    """The last attempt of each round that had one."""
    last = [data.self_tests[-1] for data in run.rounds if data.self_tests]
    rows = [(done, check) for done in last for check in done.checks]
    if not rows:
        return None
    contradictions = [text for done in last for text in done.contradictions]
    held = sum(check.holds for _, check in rows)
    return Grid(
        title="Stops of known length, and the latencies above half of them",
        columns=(
            text_column("scenario", (done.scenario for done, _ in rows)),
            Column(head="offered/s", cells=tuple(rate_msg_s(done.rate_msg_s) for done, _ in rows)),
            text_column("stood still", (f"{check.target} on {check.host}" for _, check in rows)),
            Column(head="for", cells=tuple(f"{check.seconds:.3f} s" for _, check in rows)),
            text_column("counted", (f"{check.value} above {check.above_s:g} s" for _, check in rows)),
            Column(head="at least", cells=tuple(f"{check.low:,}" for _, check in rows)),
            Column(head="counted records", cells=tuple(f"{check.counted:,}" for _, check in rows)),
            Column(head="at most", cells=tuple(f"{check.high:,}" for _, check in rows)),
            text_column("holds", (_verdict(check) for _, check in rows)),
        ),
        note=" ".join([f"{held} of {len(rows)} counts are what arithmetic says.", *contradictions]),
    )


def _verdict(check: StopCheck) -> str:
    if not check.holds:
        return "NO"
    return "yes" if check.caught_up else "cannot tell: the load did not catch up"


def _mb(value: float | None) -> float | None:
    return None if value is None else value / MB


def _signed(error: float | None) -> str:
    return UNKNOWN if error is None else f"{error * 100:+.2f} %"
