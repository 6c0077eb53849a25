"""A run as flat tables, for spreadsheets and data frames: one row a trial, a reading, or a report of the load workers.

Base units; what was not measured is empty, never 0. Columns are only added: docs/reference/report-formats.md lists
them. CSV is written row by row. Parquet takes pyarrow (extra `parquet`), and each of its columns says what it means.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

from meshmark.analysis.ledger import Cpu, ledger
from meshmark.data_plane import DataPlane
from meshmark.metrics import parts
from meshmark.record import Latency, Trial
from meshmark.store import RoundData, Run

if TYPE_CHECKING:
    import pyarrow

Cell = str | int | float | bool | None
Kind = Literal["text", "integer", "number", "truth"]
ROWS_A_GROUP = 100_000
"""Of a Parquet file; so many are in memory at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """One column."""

    name: str
    kind: Kind
    meaning: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """A table whose rows are made when they are asked for."""

    fields: tuple[Field, ...]
    rows: Callable[[Run], Iterable[tuple[Cell, ...]]]


def _fields(kind: Kind, **meanings: str) -> tuple[Field, ...]:
    return tuple(Field(name=name, kind=kind, meaning=meaning) for name, meaning in meanings.items())


def _quantiles(what: str, of: str) -> tuple[Field, ...]:
    return tuple(
        Field(name=f"{what}_s_{name}", kind="number", meaning=f"{of}: {meaning}")
        for name, meaning in (("p50", "median"), ("p99", "99 % are at most this"), ("p99_9", "99.9 %"), ("max", "all"))
    )


_PLACE = (
    *_fields("text", run_id="which run"),
    *_fields("integer", round_index="which round of it, from 1"),
    *_fields("text", scenario="of the plan", data_plane=f"one of {', '.join(DataPlane)}"),
    *_fields("integer", repeat="from 1"),
)
_LATENCIES = (
    *_quantiles("latency", "intended send to acknowledgement"),
    *_quantiles("end_to_end", "intended send to consumer"),
)
_CPU = ("brokers", "compilers", "sidecars", "gateways", "clients", "meshmark", "kernel", "others", "relays")

TRIAL_FIELDS = (
    *_PLACE,
    *_fields("integer", number="of the trial, within the round"),
    *_fields(
        "text",
        purpose="search, equal-load, fixed-load or explain",
        phase="of search: bracket, refine or confirm",
    ),
    *_fields("number", share="of equal-load: of the lowest ceiling after repeat 1"),
    *_fields("text", tightened_host="of explain: where there was less of something", tightened_resource="of explain"),
    *_fields(
        "number",
        tightened_share="of explain: by which part there was less",
        window_start_at="Unix seconds",
        window_end_at="Unix seconds",
        seconds="length of the window",
        offered_msg_s="messages a second that the schedule offered",
        rate_msg_s="messages a second acknowledged in the window",
    ),
    *_fields(
        "integer",
        offered="records, in the window",
        acknowledged="records, in the window",
        acknowledged_bytes="payload, in the window",
        consumed="records, in the window",
        outstanding="growth of the backlog in the window, in records",
        errors="records of the whole trial that failed or whose fate is unknown",
        connections="of producers",
    ),
    *_fields("number", records_per_batch="in the window"),
    *_LATENCIES,
    *_fields("number", late_share="of records that the generator itself sent more than 10 ms late"),
    *(Field(name=f"cpu_s_{name}", kind="number", meaning="CPU seconds in the window") for name in _CPU),
    *_fields("number", cpu_s_machine="all of the machine that was busy in the window"),
    *_fields("truth", valid="it says something about the system"),
    *_fields("text", reasons="why it does not"),
)
SERIES_FIELDS = (
    *_PLACE,
    *_fields("number", time_at="Unix seconds"),
    *_fields(
        "text",
        host="machine, broker-1, client-1, ...",
        component="kafka, sidecar, client, net, cpu, ...",
        metric="one of docs/reference/metrics.md, with its unit",
    ),
    *_fields("number", value="a counter counts from the start of its component"),
)
INTERVAL_FIELDS = (
    *_PLACE,
    *_fields("number", time_at="Unix seconds"),
    *_fields(
        "integer",
        clients="load workers",
        offered="records since this load began",
        acknowledged="records since this load began",
        failed="records since this load began",
        unknown="records since this load began: timed out",
        outstanding="records at this time",
        acknowledged_bytes="payload since this load began",
        consumed="records since this load began",
        lag="records that consumers have not read yet",
    ),
    *_LATENCIES,
)


def _trials(run: Run) -> Iterator[tuple[Cell, ...]]:
    for data in run.rounds:
        for trial in data.trials:
            yield (*_place(run, data), *_asked(run, trial), *_counted(trial), *_cpu(run, trial), *_judged(trial))


def _place(run: Run, data: RoundData) -> tuple[Cell, ...]:
    started = data.started
    return (run.started.run_id, started.index, started.scenario, str(started.data_plane), started.repeat)


def _asked(run: Run, trial: Trial) -> tuple[Cell, ...]:
    less = trial.tightened
    offset = run.started.clock_offset_s
    return (
        trial.number,
        trial.purpose,
        trial.phase or None,
        trial.share,
        less.limit.host if less and less.limit else None,
        less.limit.resource if less and less.limit else None,
        less.share if less else None,
        trial.window_start_s + offset,
        trial.window_end_s + offset,
        trial.seconds,
        trial.offered_msg_s,
        trial.rate_msg_s,
    )


def _counted(trial: Trial) -> tuple[Cell, ...]:
    window = trial.window
    return (
        window.offered,
        window.acknowledged,
        window.acknowledged_bytes,
        window.consumed,
        window.outstanding,
        trial.errors,
        trial.connections,
        trial.batch.records_per_batch,
        *_latencies(trial.latency),
        *_latencies(trial.end_to_end),
        trial.lateness.late_share if trial.lateness else None,
    )


def _latencies(each: Latency | None) -> tuple[Cell, ...]:
    return (each.p50_s, each.p99_s, each.p99_9_s, each.max_s) if each else (None, None, None, None)


def _cpu(run: Run, trial: Trial) -> tuple[Cell, ...]:
    book = ledger(trial, run.plan.scenario(trial.scenario), run.started.host.cpus)
    parts: list[Cpu | None] = [getattr(book, name) for name in _CPU]
    return (*(part.total_s if part else None for part in parts), book.busy_s)


def _judged(trial: Trial) -> tuple[Cell, ...]:
    return (trial.valid, "; ".join(trial.reasons) or None)


def _series(run: Run) -> Iterator[tuple[Cell, ...]]:
    for data in run.rounds:
        place = _place(run, data)
        for sample in data.series():
            time_at = sample.time_s + run.started.clock_offset_s
            for key, value in sample.values.items():
                yield (*place, time_at, *parts(key), value)


def _intervals(run: Run) -> Iterator[tuple[Cell, ...]]:
    for data in run.rounds:
        place = _place(run, data)
        for each in data.intervals():
            totals = each.totals
            yield (
                *place,
                each.time_s + run.started.clock_offset_s,
                each.clients,
                totals.offered,
                totals.acknowledged,
                totals.failed,
                totals.unknown,
                totals.outstanding,
                totals.acknowledged_bytes,
                totals.consumed,
                each.lag,
                *_latencies(each.latency),
                *_latencies(each.end_to_end),
            )


FRAMES = {
    "trials": Frame(fields=TRIAL_FIELDS, rows=_trials),
    "series": Frame(fields=SERIES_FIELDS, rows=_series),
    "intervals": Frame(fields=INTERVAL_FIELDS, rows=_intervals),
}


def write_csv(frame: Frame, run: Run, stream: TextIO) -> None:
    """A line of names, then one for each row; numbers in full precision, `true` and `false`, nothing for nothing."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(field.name for field in frame.fields)
    writer.writerows([_text(cell) for cell in row] for row in frame.rows(run))


def _text(cell: Cell) -> Cell:
    return str(cell).lower() if isinstance(cell, bool) else cell


def write_parquet(frame: Frame, run: Run, path: Path) -> None:
    """Columns carry their meaning as metadata. Raises ModuleNotFoundError without pyarrow, OSError from the file."""
    import pyarrow
    from pyarrow import parquet

    schema = pyarrow.schema(_arrow(field) for field in frame.fields)
    rows = iter(frame.rows(run))
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while some := list(islice(rows, ROWS_A_GROUP)):
            columns = [
                pyarrow.array(cells, each.type) for cells, each in zip(zip(*some, strict=True), schema, strict=True)
            ]
            writer.write_table(pyarrow.Table.from_arrays(columns, schema=schema))


def _arrow(field: Field) -> pyarrow.Field:
    import pyarrow

    kinds = {
        "text": pyarrow.string(),
        "integer": pyarrow.int64(),
        "number": pyarrow.float64(),
        "truth": pyarrow.bool_(),
    }
    return pyarrow.field(field.name, kinds[field.kind], metadata={"meaning": field.meaning})
