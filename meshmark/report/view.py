"""What a report says: its sentences and its tables, one wording for the terminal and for the page.

Nothing is computed here that a reader could quote: numbers come from the Summary, words follow its verdicts and never
say more than these.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from meshmark.analysis.brief import brief
from meshmark.analysis.likeness import between, flat
from meshmark.analysis.model import Change, Interval, NetworkCeiling, ScenarioSummary, Summary, Verdict
from meshmark.plan import Scenario
from meshmark.report.caveats import one_machine
from meshmark.units import MB, UNKNOWN, column, duration, number, percent, rate_msg_s

ERROR_LENGTH = 160
"""Of what ended a run, on top of its report; all of it is in the record."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """Cells already formatted. `group` is a heading over neighbouring columns that share it."""

    head: str
    cells: tuple[str, ...]
    group: str = ""
    numeric: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """A table; its first column names the rows."""

    title: str
    columns: tuple[Column, ...]
    note: str = ""

    @property
    def rows(self) -> list[tuple[str, ...]]:
        return list(zip(*(each.cells for each in self.columns), strict=True))

    @property
    def groups(self) -> list[tuple[str, int]]:
        """(heading, columns under it) from left to right; neighbours without a heading stay apart."""
        spans: list[tuple[str, int]] = []
        for each in self.columns:
            if spans and each.group and spans[-1][0] == each.group:
                spans[-1] = (each.group, spans[-1][1] + 1)
            else:
                spans.append((each.group, 1))
        return spans

    @property
    def grouped(self) -> bool:
        return any(each.group for each in self.columns)


def text_column(head: str, cells: Iterable[str], group: str = "") -> Column:
    return Column(head=head, cells=tuple(cells), group=group, numeric=False)


def number_column(head: str, values: Iterable[float | None], group: str = "", digits: int = 3) -> Column:
    return Column(head=head, cells=tuple(column(list(values), digits)), group=group)


def listing(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def count(items: Sequence[object], name: str) -> str:
    return f"{len(items)} {name}{'' if len(items) == 1 else 's'}"


def status(summary: Summary) -> str:
    """What stands on top of a run that is not whole; empty for one that is."""
    rounds = f"{summary.rounds_done} of {summary.rounds_planned} rounds"
    if summary.outcome == "complete":
        if summary.rounds_done == summary.rounds_planned:
            return ""
        if summary.finished and summary.finished.sharp:
            return f"After {rounds} every loss was known as well as the plan asked."
        return f"Shortened run: {rounds} fitted into its time budget. The figures are of those."
    how = {
        "interrupted": "it was interrupted",
        "failed": "it failed",
        "unfinished": "it has no last record: it crashed, or still goes on",
    }[summary.outcome]
    first_line = summary.finished.error.partition("\n")[0] if summary.finished else ""
    error = f" ({textwrap.shorten(first_line, ERROR_LENGTH, placeholder=' …')})" if first_line else ""
    return f"Incomplete run: {how} after {rounds}{error}. The figures are of what was measured until then."


def headline(summary: Summary) -> str:
    """The answer in one or two sentences."""
    bases = list(dict.fromkeys(each.baseline for each in summary.scenarios))
    others = [each for each in summary.scenarios if each.name != each.baseline]
    if len(bases) > 1:
        return _headline_of_several(others)
    base = bases[0] if bases else summary.baseline
    if not any(each.repeats_valid for each in summary.scenarios):
        return "No scenario has a valid measurement: this run answers nothing."
    if not any(each.name == base and each.repeats_valid for each in summary.scenarios):
        return f"{base} has no valid measurement, so nothing can be compared with it."
    if not others:
        return f"Only {base} was measured: there is nothing to compare it with."
    parts = [
        sentence.format(listing(names), base=base)
        for verdict, sentence in _SAID
        if (names := [_with_loss(each, verdict) for each in others if each.verdict == verdict])
    ]
    return _sentence(parts)


def _sentence(parts: Sequence[str]) -> str:
    text = "; ".join(parts) + "."
    return text[:1].upper() + text[1:] if text.startswith("for ") else text


def _baselines(count: int) -> str:
    return "its baseline" if count == 1 else "their baselines"


_NAMED = 4
"""So many setups can be told by their names in a sentence."""
_SAID: list[tuple[Verdict, str]] = [
    ("slower", "{} carried less than {base}"),
    ("faster", "{} carried more than {base}"),
    ("cannot tell", "for {} this run cannot tell a difference from {base}"),
    ("no ceiling", "for {} this run cannot tell a ceiling"),
    ("no data", "{} gave too little to compare"),
]


def _headline_of_several(others: Sequence[ScenarioSummary]) -> str:
    """Of setups that are compared with different ones: which, or of many how many and between which losses."""
    if 0 < len(others) <= _NAMED:
        named = []
        for verdict, sentence in _SAID:
            names = [_with_loss(each, verdict) for each in others if each.verdict == verdict]
            if names:
                named.append(sentence.format(listing(names), base=_baselines(len(names))))
        return _sentence(named)
    parts = []
    for verdict, sentence in _SAID:
        losses = [abs(each.loss_vs_plain or 0.0) for each in others if each.verdict == verdict]
        if losses:
            parts.append(sentence.format(len(losses), base=_baselines(len(losses))))
        if losses and verdict in ("slower", "faster"):
            parts[-1] += f" (by {percent(min(losses))} to {percent(max(losses))})"
    if not parts:
        return "Only baselines were measured: there is nothing to compare them with."
    return f"Of {count(others, 'setup')} with baselines of their own, {'; '.join(parts)}."


def _with_loss(scenario: ScenarioSummary, verdict: Verdict) -> str:
    if verdict not in ("slower", "faster") or scenario.loss_vs_plain is None:
        return scenario.name
    return f"{scenario.name} ({percent(abs(scenario.loss_vs_plain))})"


def rate_interval(value: Interval | None) -> str:
    """An interval from few repeats can reach below zero, where no rate is."""
    return UNKNOWN if value is None else f"{rate_msg_s(max(0.0, value.low))} … {rate_msg_s(value.high)}"


def _percent_points(ratio: float) -> str:
    text = f"{ratio * 100:.0f}"
    return "0" if text == "-0" else text.replace("-", "−")


def loss(ratio: float | None) -> str:
    return UNKNOWN if ratio is None else f"{_percent_points(ratio)} %"


def loss_if(asked: bool, ratio: float | None) -> str:
    """Blank where there is nothing to compare with, a dash where it is unknown."""
    return loss(ratio) if asked else ""


def loss_interval(value: Interval | None) -> str:
    return UNKNOWN if value is None else f"{_percent_points(value.low)} … {_percent_points(value.high)} %"


def carried(summary: Summary) -> Grid:
    """The source document's table: what each scenario carried, and what that is against the baseline."""
    rows = summary.scenarios
    per_broker = "MB/s per broker"
    against = f"loss against {_baseline(summary)}"
    return Grid(
        title="What each setup carried",
        columns=(
            text_column("scenario", (row.name for row in rows)),
            Column(head="messages/s", cells=tuple(ceiling(row) for row in rows)),
            Column(head="95 % interval", cells=tuple(rate_interval(row.rate_interval) for row in rows)),
            Column(head="repeats", cells=tuple(f"{row.repeats_valid} of {row.repeats_planned}" for row in rows)),
            Column(head="trials", cells=tuple(str(row.trials_counted) for row in rows)),
            number_column("to log", (_scaled(row.disk_bytes_s_per_broker, MB) for row in rows), per_broker),
            number_column("to device", (_scaled(row.device_bytes_s_per_broker, MB) for row in rows), per_broker),
            Column(
                head="loss", cells=tuple(loss_if(not _base(row), row.loss_vs_plain) for row in rows), group=against
            ),
            Column(
                head="95 % interval",
                cells=tuple("" if _base(row) else loss_interval(row.loss_interval) for row in rows),
                group=against,
            ),
            text_column("verdict", (row.verdict for row in rows), against),
        ),
        note="Messages/s: the highest rate that most trials carry without a growing backlog. The loss is 1 - the "
        "quotient of two rows, and its interval follows from theirs; where trials are noisy, 95 % hold less often "
        f"(docs/explanation/saturation.md). {_client_cpus(summary)} {per_broker}, and packets per second below: for "
        "each message as in trials near the ceiling, times messages/s; without one, as in them.",
    )


def _client_cpus(summary: Summary) -> str:
    own = [(scenario.name, scenario.cluster.client_cpus) for scenario in summary.plan.scenarios]
    if not any(cpus for _, cpus in own):
        shared = "All share the CPUs, so a ceiling is the machine's, load workers included."
        return shared if one_machine(summary) else ""
    return f"CPUs that load workers had for themselves: {listing([f'{name} {cpus}' for name, cpus in own])}."


def _baseline(summary: Summary) -> str:
    """Its name, where all scenarios have the same one and a heading has room for it."""
    names = {row.baseline for row in summary.scenarios} or {summary.baseline}
    name = names.pop()
    return "baseline" if names or len(name) >= 20 else name


def ceiling(row: ScenarioSummary) -> str:
    """The rate, or why there is none."""
    if row.rate_msg_s is None and row.ceilings[0].reason and row.repeats_valid:
        return row.ceilings[0].reason.partition(":")[0]
    return rate_msg_s(row.rate_msg_s)


def service_levels(summary: Summary) -> Grid | None:
    """The ceiling for each service level; None where the plan has none."""
    rows = [(row, each) for row in summary.scenarios for each in row.ceilings[1:]]
    if not rows:
        return None
    return Grid(
        title="What each setup carried within a service level",
        columns=(
            text_column("scenario", (row.name for row, _ in rows)),
            text_column("service level", (each.target for _, each in rows)),
            Column(
                head="messages/s",
                cells=tuple((each.reason or "").partition(":")[0] or rate_msg_s(each.rate_msg_s) for _, each in rows),
            ),
            Column(head="95 % interval", cells=tuple(rate_interval(each.interval) for _, each in rows)),
            text_column("trials", (each.explained for _, each in rows)),
        ),
        note="Latency from the intended send to the acknowledgement.",
    )


def latencies(summary: Summary) -> tuple[Grid | None, ...]:
    """All that a report says of latency before it goes into parts."""
    return service_levels(summary), equal_load(summary), end_to_end(summary)


def equal_load(summary: Summary) -> Grid | None:
    """Latency at the same offered rate; None where it was not measured."""
    rows = [(row, each) for row in summary.scenarios for each in row.equal_loads]
    if not rows:
        return None
    added = f"added to {_baseline(summary)}, ms"
    rates = sorted({(each.share, each.offered_msg_s) for _, each in rows})
    said = listing([f"{rate_msg_s(rate)} msg/s ({percent(share)})" for share, rate in rates])
    return Grid(
        title="Latency at equal load",
        columns=(
            text_column("scenario", (row.name for row, _ in rows)),
            Column(head="load", cells=tuple(percent(each.share) for _, each in rows)),
            Column(head="repeats", cells=tuple(str(each.repeats_valid) for _, each in rows)),
            number_column("p50", (milliseconds(each.latency.p50_s) for _, each in rows), "latency, ms"),
            number_column("p99", (milliseconds(each.latency.p99_s) for _, each in rows), "latency, ms"),
            number_column("p99.9", (milliseconds(each.latency.p99_9_s) for _, each in rows), "latency, ms"),
            Column(head="p50", cells=tuple(change(each.added_p50) for _, each in rows), group=added),
            Column(head="p99", cells=tuple(change(each.added_p99) for _, each in rows), group=added),
            Column(head="p99.9", cells=tuple(change(each.added_p99_9) for _, each in rows), group=added),
        ),
        note=f"At {said}, in per cent of the lowest ceiling known after the first repeat; from the intended send to "
        "the acknowledgement. In brackets: 95 % interval over repeats; one that holds 0 tells no difference.",
    )


def end_to_end(summary: Summary) -> Grid | None:
    """To the consumer, at the same offered rate; None without consumers."""
    loads = [(row, each) for row in summary.scenarios for each in row.equal_loads]
    rows = [(row, each) for row, each in loads if each.end_to_end.p50_s is not None or each.end_to_end_error_s != 0]
    if not rows:
        return None
    apart, note = any(each.end_to_end_error_s != 0 for _, each in rows), "on one clock"
    if apart:
        note = "within the error by clocks of several machines; unknown where that is above a tenth of the median"
    latency = "latency to the consumer, ms"
    return Grid(
        title="End to end at equal load",
        columns=(
            text_column("scenario", (row.name for row, _ in rows)),
            Column(head="load", cells=tuple(percent(each.share) for _, each in rows)),
            Column(head="repeats", cells=tuple(str(each.repeats_valid) for _, each in rows)),
            number_column("p50", (milliseconds(each.end_to_end.p50_s) for _, each in rows), latency),
            number_column("p99", (milliseconds(each.end_to_end.p99_s) for _, each in rows), latency),
            number_column("p99.9", (milliseconds(each.end_to_end.p99_9_s) for _, each in rows), latency),
            number_column("largest", (milliseconds(each.end_to_end.max_s) for _, each in rows), latency),
            *(
                [number_column("clocks ±", (milliseconds(each.end_to_end_error_s) for _, each in rows), latency)]
                if apart
                else []
            ),
            Column(head="negative", cells=tuple(f"{each.negative:,}" for _, each in rows)),
            Column(head="of others", cells=tuple(f"{each.unstamped:,}" for _, each in rows)),
        ),
        note=f"From the intended send until a consumer has read the record, {note}. Values below zero, and records of "
        "others, are counted here and in no latency.",
    )


def milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1e3


def change(found: Change | None) -> str:
    """Milliseconds with their interval; blank where there is nothing to compare with."""
    if found is None:
        return ""
    text = ("+" if found.mean_s > 0 else "") + _signed_ms(found.mean_s)
    if found.interval is None:
        return f"{text} (one pair)"
    return f"{text} ({_signed_ms(found.interval.low)} … {_signed_ms(found.interval.high)})"


def _signed_ms(seconds: float) -> str:
    return number(seconds * 1e3).replace("-", "−")


def _base(row: ScenarioSummary) -> bool:
    return row.verdict == "baseline"


def _scaled(value: float | None, unit: float) -> float | None:
    return None if value is None else value / unit


def hops(row: ScenarioSummary) -> str:
    known = row.encrypted_hops or row.plain_hops
    return (", ".join(row.encrypted_hops) or "none") if known else UNKNOWN


def disk(summary: Summary) -> Grid:
    rows = summary.environment.disk
    return Grid(
        title="Disk under the brokers' logs",
        columns=(
            text_column("writes", (row.mode for row in rows)),
            number_column("MB/s", (row.rate_bytes_s / MB for row in rows)),
            *(
                [number_column("writes/s", (row.rate_bytes_s / row.write_bytes for row in rows))]
                if any(row.mode == "direct" for row in rows)
                else []
            ),
            Column(head="spread", cells=tuple(percent(row.spread) for row in rows)),
            Column(head="repeats", cells=tuple(str(row.repeats) for row in rows)),
            Column(head="bytes a write", cells=tuple(f"{row.write_bytes:,}" for row in rows)),
            text_column("measured with", (row.tool for row in rows)),
        ),
    )


def network(summary: Summary) -> Grid:
    rows = summary.environment.network
    return Grid(
        title="Network between two hosts, one TCP flow and several",
        columns=(
            text_column("path", (row.path for row in rows)),
            Column(head="flows", cells=tuple(str(row.flows) for row in rows)),
            number_column("MB/s", (row.rate_bytes_s / MB for row in rows)),
            number_column("Gbit/s", (row.rate_bytes_s * 8 / 1e9 for row in rows)),
            Column(head="spread", cells=tuple(percent(row.spread) for row in rows)),
            Column(head="repeats", cells=tuple(str(row.repeats) for row in rows)),
            Column(
                head="loss against direct",
                cells=tuple(loss_if(row.path != "direct", row.loss_vs_direct) for row in rows),
            ),
            Column(
                head="loss by mTLS alone",
                cells=tuple(loss_if(row.path == "sidecars-mtls", row.loss_vs_sidecars) for row in rows),
            ),
            text_column("measured with", (row.tool for row in rows)),
        ),
        note=mtls_without_kafka(rows),
    )


def mtls_without_kafka(rows: Sequence[NetworkCeiling]) -> str:
    """The document's remark that mTLS costs 20 % in iperf too, for this machine."""
    parts = [
        f"{loss(row.loss_vs_sidecars)} with {flow_count(row.flows)}"
        for row in rows
        if row.loss_vs_sidecars is not None
    ]
    if not parts:
        return ""
    return f"Without Kafka, mTLS between sidecars costs {listing(parts)} (the 2019 document found 20 % with iperf)."


def flow_count(flows: int) -> str:
    return "one flow" if flows == 1 else f"{flows} flows"


def verdicts(summary: Summary) -> list[str]:
    """One line for each scenario but the baseline."""
    return [f"{row.name}: {row.verdict_text}." for row in summary.scenarios if not _base(row) and row.verdict_text]


def unlike(summary: Summary) -> list[str]:
    """What differs between scenarios besides the data plane, so that they are not compared like for like."""
    measured = {each.name: each for each in summary.scenarios}
    asked = {each.name: each for each in summary.plan.scenarios}
    found: list[str] = []
    for row in summary.scenarios:
        base = measured.get(row.baseline)
        if base is None or row is base or not row.repeats_valid or not base.repeats_valid:
            continue
        if row.name in asked and base.name in asked:
            found += asked_apart(asked[base.name], asked[row.name])
        found += _measured_apart(base, row)
    return found


_PARTS = ("cluster", "workload", "method")


def asked_apart(base: Scenario, other: Scenario) -> list[str]:
    """Settings of the plan that differ, data plane and name apart."""
    theirs, ours = (
        dict(flat({part: brief(getattr(each, part).model_dump(mode="json")) for part in _PARTS}))
        for each in (other, base)
    )
    return [
        f"{other.name} has {apart.key} {apart.contender}, {base.name} has {apart.baseline}"
        for apart in between(theirs, ours)
    ]


def _measured_apart(base: ScenarioSummary, row: ScenarioSummary) -> list[str]:
    found = []
    if row.repeats_valid != base.repeats_valid:
        found.append(f"{row.name} counts {row.repeats_valid} repeats, {base.name} {base.repeats_valid}")
    if base.records_per_batch and row.records_per_batch:
        ratio = row.records_per_batch / base.records_per_batch
        if abs(ratio - 1) > 0.1:
            found.append(
                f"{row.name} filled batches with {row.records_per_batch:,.0f} records, {base.name} with "
                f"{base.records_per_batch:,.0f}: batching is part of the difference"
            )
    if set(row.limited_by) != set(base.limited_by):
        found.append(
            f"{row.name} was limited by {listing(row.limited_by) or 'nothing known'}, {base.name} by "
            f"{listing(base.limited_by) or 'nothing known'}: where another resource is the limit, the cost of "
            "a data plane shows in CPU per GB rather than in throughput"
        )
    return found


def machine(summary: Summary) -> str:
    """The machine in one line."""
    host = summary.started.host
    return (
        f"{host.cpus} CPUs ({host.cpu_model}), {host.memory_bytes / 1e9:.0f} GB memory, Linux {host.kernel}, "
        f"Kafka {summary.started.versions.kafka}, Envoy {summary.started.versions.envoy}"
    )


def started(summary: Summary) -> str:
    return f"{datetime.fromtimestamp(summary.started.started_at, UTC):%Y-%m-%d %H:%M} UTC"


def extent(summary: Summary) -> str:
    """How much was done, and with what effort."""
    seconds = duration(summary.seconds)
    return (
        f"{summary.rounds_done} of {summary.rounds_planned} rounds in {seconds}, effort {summary.started.effort}, "
        f"seed {summary.plan.seed}"
    )
