"""The parts of the page below the answer: figures with their tables, accounts, configurations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from meshmark.analysis.model import CpuPerGb, Figures, LedgerLine, RepeatSummary, ScenarioSummary, Summary
from meshmark.report import charts, cost, view
from meshmark.report.caveats import encrypters
from meshmark.report.view import Column, Grid, number_column, text_column
from meshmark.store import Run
from meshmark.units import MB, UNKNOWN, column, percent, rate_msg_s

CPU_COMPONENTS = tuple(CpuPerGb.model_fields)
_HEADS = {"compilers": cost.JIT}
_USED_WIDE, _HOSTS_WIDE = 6, 4
"""Scenarios in one table that has columns for each: so many with long names fit the width of a sheet of paper."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A picture, what it shows in words, and its numbers."""

    title: str
    picture: str
    caption: str
    grid: Grid
    unit: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Configuration:
    """One file's text and the rounds that had it so."""

    name: str
    text: str
    rounds: str


def answer_figures(summary: Summary) -> list[Figure]:
    rows = [row for row in summary.scenarios if row.repeats_valid]
    if not rows:
        return []
    names = [row.name for row in rows]
    cpu = {name: [_cpu(row, name) for row in rows] for name in ("brokers", "sidecars", "clients", "machine")}
    packets = {
        "packets": [row.packets_per_mb for row in rows],
        "TCP segments": [row.wire_segments_per_mb for row in rows],
        "bytes a packet": [row.packet_bytes for row in rows],
    }
    return [
        Figure(
            title="Messages per second",
            picture=charts.rates(rows),
            caption="Tick: the ceiling; line: its 95 % interval; circles: ceilings of the repeats.",
            grid=_rates_grid(rows),
        ),
        Figure(
            title="CPU seconds per GB acknowledged",
            picture=charts.bars(names, cpu),
            caption="Brokers without their JIT compilers, where these are known. Machine: all of it that was busy, "
            f"compilers and the rest of the system included. {cost.unusable_cpu(rows)}",
            grid=_bars_grid("CPU seconds per GB acknowledged", names, cpu),
        ),
        Figure(
            title="Packets per MB acknowledged",
            picture=charts.bars(names, packets, shared=False),
            caption="Offload super-packets on the hosts' interfaces; segments as on a wire, loopback left out. TLS "
            "makes more super-packets: a TLS record (16 KB at most) is mostly a write, and a write is a packet. Each "
            "column has its own scale.",
            grid=_bars_grid("Packets per MB acknowledged", names, packets),
        ),
    ]


def _rates_grid(rows: Sequence[ScenarioSummary]) -> Grid:
    repeats = sorted({each.repeat for row in rows for each in row.repeats})

    def rate(row: ScenarioSummary, repeat: int) -> str:
        return rate_msg_s(next((each.rate_msg_s for each in row.repeats if each.repeat == repeat), None))

    return Grid(
        title="Messages per second of each repeat",
        columns=(
            text_column("scenario", (row.name for row in rows)),
            Column(head="ceiling", cells=tuple(rate_msg_s(row.rate_msg_s) for row in rows)),
            Column(head="95 % interval", cells=tuple(view.rate_interval(row.rate_interval) for row in rows)),
            *(
                Column(head=f"repeat {repeat}", cells=tuple(rate(row, repeat) for row in rows), group="repeats")
                for repeat in repeats
            ),
        ),
    )


def _bars_grid(title: str, names: Sequence[str], values: dict[str, list[float | None]]) -> Grid:
    columns = (number_column(head, cells) for head, cells in values.items())
    return Grid(title=title, columns=(text_column("scenario", names), *columns))


def _cpu(row: Figures, component: str) -> float | None:
    value: float | None = getattr(row.cpu_s_per_gb, component)
    return value


def environment(summary: Summary) -> list[Figure]:
    found = []
    disk, network = summary.environment.disk, summary.environment.network
    if disk:
        values = {"MB/s": [row.rate_bytes_s / MB for row in disk]}
        found.append(
            Figure(
                title="Disk under the brokers' logs",
                picture=charts.bars([row.mode for row in disk], values),
                caption="Buffered: plain writes, then one flush inside the measured time. Synced: every write waits "
                "for the device. Direct: single pages past the page cache, eight at a time.",
                grid=view.disk(summary),
            )
        )
    if network:
        paths = list(dict.fromkeys(row.path for row in network))
        flows = sorted({row.flows for row in network})
        rates = {(row.path, row.flows): row.rate_bytes_s / MB for row in network}
        columns: dict[str, list[float | None]] = {
            f"{view.flow_count(count)}, MB/s": [rates.get((path, count)) for path in paths] for count in flows
        }
        found.append(
            Figure(
                title="Network between two hosts",
                picture=charts.bars(paths, columns),
                caption="TCP payload from a client host to a broker host, before any broker runs.",
                grid=view.network(summary),
            )
        )
    return found


def _parts(rows: Sequence[ScenarioSummary], title: str, most: int) -> Iterator[tuple[str, Sequence[ScenarioSummary]]]:
    """Titles and scenarios of tables that have columns for each of them, `most` at most."""
    for start in range(0, len(rows), most):
        part = rows[start : start + most]
        yield title if len(rows) <= most else f"{title}: {part[0].name} to {part[-1].name}", part


def evidence(summary: Summary) -> list[Grid]:
    """Every resource looked at, and how much of it each scenario used."""
    parts = _parts(summary.scenarios, "How much of each resource was used", _USED_WIDE)
    return [grid for title, rows in parts if (grid := _evidence(title, rows))]


def _evidence(title: str, rows: Sequence[ScenarioSummary]) -> Grid | None:
    resources = list(dict.fromkeys(each.resource for row in rows for each in row.evidence))
    if not resources:
        return None
    shares = {(row.name, each.resource): each for row in rows for each in row.evidence}
    any_of = {each.resource: each for each in shares.values()}
    limits = [any_of[resource].limit for resource in resources]

    def share(name: str, resource: str) -> str:
        each = shares.get((name, resource))
        return UNKNOWN if each is None else percent(each.share)

    return Grid(
        title=title,
        columns=(
            text_column("resource", resources),
            *(Column(head=row.name, cells=tuple(share(row.name, resource) for resource in resources)) for row in rows),
            Column(
                head="said to limit from",
                cells=tuple("never by itself" if limit is None else percent(limit) for limit in limits),
            ),
            text_column("share", (any_of[resource].text for resource in resources)),
        ),
    )


def searches(summary: Summary) -> list[Figure]:
    """Offered rate against what was acknowledged, one picture a scenario, all on one scale."""
    trials = [trial for row in summary.scenarios for each in row.repeats for trial in each.trials]
    top = max((max(trial.offered_msg_s, trial.rate_msg_s) for trial in trials), default=0.0)
    return [
        Figure(
            title=row.name,
            picture=charts.search(row, top),
            caption=f"{row.ceilings[0].explained}; {row.search_ended}.",
            grid=_search_grid(row),
        )
        for row in summary.scenarios
        if any(each.trials for each in row.repeats)
    ]


def _search_grid(row: ScenarioSummary) -> Grid:
    trials = [(each, trial) for each in row.repeats for trial in each.trials]
    return Grid(
        title=f"Trials of {row.name}",
        columns=(
            text_column("repeat", (str(each.repeat) for each, _ in trials)),
            text_column("for", (trial.phase or trial.purpose for _, trial in trials)),
            Column(head="offered/s", cells=tuple(rate_msg_s(trial.offered_msg_s) for _, trial in trials)),
            Column(head="acknowledged/s", cells=tuple(rate_msg_s(trial.rate_msg_s) for _, trial in trials)),
            Column(head="backlog grew by", cells=tuple(percent(trial.growth) for _, trial in trials)),
            number_column("p99, ms", (view.milliseconds(trial.latency.p99_s) for _, trial in trials)),
            Column(head="generator late", cells=tuple(percent(trial.late_share) for _, trial in trials)),
            text_column(
                "verdict", (trial.verdict if trial.valid else "; ".join(trial.reasons) for _, trial in trials)
            ),
        ),
    )


def repeats(summary: Summary) -> Grid | None:
    """What each repeat came to, and why."""
    each = [(row, repeat) for row in summary.scenarios for repeat in row.repeats]
    if not each:
        return None
    return Grid(
        title="Repeats",
        columns=(
            text_column("scenario", (row.name for row, _ in each)),
            Column(head="repeat", cells=tuple(str(repeat.repeat) for _, repeat in each)),
            Column(head="round", cells=tuple(str(repeat.round_index) for _, repeat in each)),
            Column(head="messages/s", cells=tuple(rate_msg_s(repeat.rate_msg_s) for _, repeat in each)),
            Column(head="clients", cells=tuple(_count(repeat.clients) for _, repeat in each)),
            number_column("records a batch", (repeat.records_per_batch for _, repeat in each)),
            number_column("start, s", (repeat.startup_s for _, repeat in each), digits=2),
            text_column("which trial stands for it", (repeat.chosen for _, repeat in each)),
        ),
    )


def _count(value: int | None) -> str:
    return UNKNOWN if value is None else str(value)


def ledgers(summary: Summary) -> list[Grid]:
    """CPU seconds per GB by component: all, user, system; how busy that left the machine; each host's part."""
    picks: tuple[tuple[str, Callable[[ScenarioSummary], CpuPerGb]], ...] = (
        ("CPU seconds per GB acknowledged", lambda row: row.cpu_s_per_gb),
        ("Of which user", lambda row: row.cpu_user_s_per_gb),
        ("Of which system, interrupts inside", lambda row: row.cpu_system_s_per_gb),
    )
    rows = summary.scenarios
    return [*(_ledger(rows, title, pick) for title, pick in picks), _machine(rows), *_by_host(rows)]


def _machine(rows: Sequence[ScenarioSummary]) -> Grid:
    return Grid(
        title="Of the whole machine",
        columns=(
            text_column("scenario", (row.name for row in rows)),
            Column(head="busy", cells=tuple(percent(row.machine_cpu_share) for row in rows)),
            Column(head="unattributed share", cells=tuple(cost.tenths(row.unattributed_share) for row in rows)),
            Column(head="steal", cells=tuple(cost.tenths(row.steal_share) for row in rows)),
            number_column("softirq, s per GB", (row.softirq_s_per_gb for row in rows)),
        ),
    )


def _by_host(rows: Sequence[ScenarioSummary]) -> Iterator[Grid]:
    """User and system of every component of every host; nothing if no repeat counts."""
    for title, part in _parts(rows, "CPU seconds per GB acknowledged, by host", _HOSTS_WIDE):
        keys = sorted({(line.host, line.component) for row in part for line in row.ledger})
        if not keys:
            continue
        columns = []
        for row in part:
            found = {(line.host, line.component): line for line in row.ledger}
            columns += [
                number_column("user", (_used(found.get(key), "user_s_per_gb") for key in keys), row.name),
                number_column("system", (_used(found.get(key), "system_s_per_gb") for key in keys), row.name),
            ]
        yield Grid(
            title=title,
            columns=(
                text_column("host", (host for host, _ in keys)),
                text_column("component", (component for _, component in keys)),
                *columns,
            ),
            note="`others:NAME` are the largest processes within `others`; `kafka` includes its JIT compilers.",
        )


def _used(line: LedgerLine | None, kind: str) -> float | None:
    value: float | None = getattr(line, kind, None)
    return value


def _ledger(rows: Sequence[ScenarioSummary], title: str, pick: Callable[[ScenarioSummary], CpuPerGb]) -> Grid:
    """Components that no scenario has are left out."""
    values = [[getattr(pick(row), component) for component in CPU_COMPONENTS] for row in rows]
    flat = column([value for line in values for value in line])
    width = len(CPU_COMPONENTS)
    columns = [
        Column(head=_HEADS.get(component, component), cells=tuple(flat[place::width]))
        for place, component in enumerate(CPU_COMPONENTS)
        if any(line[place] is not None for line in values)
    ]
    return Grid(title=title, columns=(text_column("scenario", (row.name for row in rows)), *columns))


def path(summary: Summary) -> Grid | None:
    """Every sidecar's own byte counters against what Kafka moved."""
    checks = [(row, repeat, check) for row, repeat in _all(summary) for check in repeat.path]
    if not checks:
        return None
    largest = max(abs(check.error) for _, _, check in checks)
    return Grid(
        title="Sidecars' byte counters against what Kafka moved",
        columns=(
            text_column("scenario", (row.name for row, _, _ in checks)),
            Column(head="repeat", cells=tuple(str(repeat.repeat) for _, repeat, _ in checks)),
            text_column("host", (check.host for _, _, check in checks)),
            text_column("direction", (check.direction.replace("_", ", ") for _, _, check in checks)),
            number_column("expected MB", (check.expected_bytes / MB for _, _, check in checks), digits=5),
            number_column("counted MB", (check.counted_bytes / MB for _, _, check in checks), digits=5),
            Column(head="difference", cells=tuple(f"{check.error * 100:+.2f} %" for _, _, check in checks)),
            text_column("what it holds", (check.explained for _, _, check in checks)),
        ),
        note=f"{len(checks)} counters; the largest difference is {largest * 100:.2f} %.",
    )


def _all(summary: Summary) -> list[tuple[ScenarioSummary, RepeatSummary]]:
    return [(row, repeat) for row in summary.scenarios for repeat in row.repeats]


def proofs(summary: Summary) -> Grid | None:
    shown = [(row, repeat, proof) for row, repeat in _all(summary) for proof in repeat.proofs]
    if not shown:
        return None
    held = sum(proof.holds for _, _, proof in shown)
    return Grid(
        title="What was shown before any load",
        columns=(
            text_column("scenario", (row.name for row, _, _ in shown)),
            Column(head="repeat", cells=tuple(str(repeat.repeat) for _, repeat, _ in shown)),
            text_column("proof", (proof.name for _, _, proof in shown)),
            text_column("host", (proof.host for _, _, proof in shown)),
            text_column("holds", ("yes" if proof.holds else "NO" for _, _, proof in shown)),
            text_column("what happened", (proof.detail for _, _, proof in shown)),
        ),
        note=" ".join([f"{held} of {len(shown)} hold.", *(f"{each}." for each in encrypters(summary))]),
    )


def configurations(run: Run) -> list[Configuration]:
    """Every distinct text once, with the rounds that had it."""
    found: dict[tuple[str, str], list[str]] = {}
    for data in run.rounds:
        for name, text in data.configurations().items():
            found.setdefault((name, text), []).append(f"{data.started.index} ({data.started.scenario})")
    return [
        Configuration(name=name, text=text, rounds=", ".join(where))
        for (name, text), where in sorted(found.items(), key=lambda each: each[0][0])
    ]


def asked_apart(summary: Summary) -> list[str]:
    """What the plan sets apart between the baseline and the others."""
    asked = summary.plan.scenarios
    pairs = [(each, base) for each in asked for base in asked if base.name == summary.plan.baseline_of(each)]
    if not pairs:
        return []
    found = [f"{each.name} runs on {each.data_plane.value}" for each in asked if each.name != each.data_plane]
    found += [line for each, base in pairs if each is not base for line in view.asked_apart(base, each)]
    return found or ["By the plan, they differ in nothing but their data planes, whose names they have."]


def events(run: Run) -> Grid | None:
    if not run.events:
        return None
    origin = run.started.started_at - run.started.clock_offset_s
    return Grid(
        title="Events",
        columns=(
            text_column("since start", (f"{event.time_s - origin:.1f} s" for event in run.events)),
            text_column("level", (event.level for event in run.events)),
            text_column("phase", (event.phase for event in run.events)),
            text_column("what happened", (event.text for event in run.events)),
        ),
    )


def machine(summary: Summary) -> list[tuple[str, str]]:
    host = summary.started.host
    features = ", ".join(f"{name}: {'yes' if there else 'no'}" for name, there in host.features.items())
    return [
        ("host", host.hostname),
        ("CPUs", f"{host.cpus} × {host.cpu_model}"),
        ("memory", f"{host.memory_bytes / 1e9:.1f} GB"),
        ("kernel", host.kernel),
        ("control groups", host.cgroup),
        ("file system of the logs", host.file_system),
        ("privileges", host.privileges),
        ("kernel features", features or UNKNOWN),
    ]


def versions(summary: Summary) -> list[tuple[str, str]]:
    said = summary.started.versions
    return [*said.model_dump(exclude={"proxies"}).items(), *said.proxies.items()]
