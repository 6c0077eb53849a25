"""The rounds of a page: what each was, and pictures of its series over time with their tables."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from meshmark.errors import UsageError
from meshmark.report import view
from meshmark.report.lines import Window, lines
from meshmark.report.panels import Panel, load_panels, panels
from meshmark.report.sections import Figure
from meshmark.report.view import Grid, number_column, text_column
from meshmark.store import RoundData, Run
from meshmark.units import UNKNOWN, number, percent, rate_msg_s

PICTURED_MOST = 12
"""Rounds with pictures, some 0.3 MB each, unless others are asked for."""
TABLE_ROWS_MAX = 60
"""Rows of the table under a picture of a series; the record holds every sample."""
LOG_LINES = 40
"""Last lines shown of each log of a round that did not end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundPage:
    """`end_s`: of its pictures' time, seconds since the round began."""

    title: str
    ident: str
    facts: tuple[tuple[str, str], ...]
    logs: tuple[tuple[str, str], ...]
    opened: bool = False
    end_s: float = 0.0
    figures: tuple[Figure, ...] = ()
    still: tuple[str, ...] = ()


def rounds(run: Run, chosen: Collection[int] = ()) -> list[RoundPage]:
    """Every round, with pictures of those that were chosen by their index; else of one that did not end and of the
    first repeats, PICTURED_MOST in all. UsageError for an index that the run has not."""
    in_order = sorted(run.rounds, key=lambda each: (each.finished is not None, each.started.repeat))
    known = [data.started.index for data in in_order]
    if missing := sorted(set(chosen) - set(known)):
        raise UsageError(
            f"this run has no round {missing[0]}",
            hint=f"It has {view.count(known, 'round')}: {min(known)} to {max(known)}." if known else "It has none.",
        )
    pictured = set(chosen) or set(known[:PICTURED_MOST])
    seen: set[str] = set()
    pages = []
    for data in run.rounds:
        if data.started.index in pictured:
            pages.append(_round(data, opened=data.started.scenario not in seen))
            seen.add(data.started.scenario)
        else:
            pages.append(_bare(data))
    return pages


def _bare(data: RoundData) -> RoundPage:
    number = data.started.index
    told = ("pictures", f"not on this page; `meshmark report DIR -o html --round {number}` draws them")
    return RoundPage(title=_title(data), ident=f"round-{number}", facts=(*_facts(data), told), logs=_logs(data))


def _title(data: RoundData) -> str:
    return f"Round {data.started.index}: {data.started.scenario}, repeat {data.started.repeat}"


def _logs(data: RoundData) -> tuple[tuple[str, str], ...]:
    """Of a round that did not end."""
    return () if data.finished else tuple((name, _tail(text)) for name, text in data.logs().items())


def _round(data: RoundData, *, opened: bool) -> RoundPage:
    samples, intervals = data.series(), data.intervals()
    origin = data.started.time_s
    last = max([origin + 1.0, *(each.time_s for each in samples[-1:]), *(each.time_s for each in intervals[-1:])])
    shown = [*load_panels(intervals, origin), *panels(samples, origin)]
    windows = [
        Window(
            start_s=trial.window_start_s - origin,
            end_s=trial.window_end_s - origin,
            label=rate_msg_s(trial.offered_msg_s),
            counted=trial.valid and trial.purpose == "search",
        )
        for trial in data.trials
    ]
    return RoundPage(
        title=_title(data),
        ident=f"round-{data.started.index}",
        opened=opened,
        end_s=round(last - origin, 3),
        facts=_facts(data),
        figures=tuple(_panel_figure(panel, last - origin, windows) for panel in shown if panel.lines),
        still=tuple(_still(panel) for panel in shown if panel.silent),
        logs=_logs(data),
    )


def _facts(data: RoundData) -> tuple[tuple[str, str], ...]:
    end = data.finished
    if end is None:
        return (("end", "none recorded: the run ended inside this round"), ("trials", str(len(data.trials))))
    warm = (
        " → ".join(rate_msg_s(rate) for rate in (end.warmup_rates_msg_s[0], end.warmup_rates_msg_s[-1]))
        if (end.warmup_rates_msg_s)
        else UNKNOWN
    )
    share = percent(end.warmup_compiling[-1]) if end.warmup_compiling else UNKNOWN
    return (
        ("trials", str(len(data.trials))),
        ("cluster start", f"{number(end.startup_s, 2)} s"),
        ("warm-up, first and last second", f"{warm} messages/s"),
        ("JVM compilers in its last second", f"{share} of the brokers' CPU time"),
    )


def _still(panel: Panel) -> str:
    return f"{panel.title}: {view.listing(panel.silent)}"


def _tail(text: str) -> str:
    return "\n".join(text.splitlines()[-LOG_LINES:])


def _panel_figure(panel: Panel, end_s: float, windows: Sequence[Window]) -> Figure:
    return Figure(
        title=panel.title,
        unit=panel.unit,
        picture=lines(panel, end_s, windows),
        caption="",
        grid=_panel_grid(panel, windows),
    )


def _panel_grid(panel: Panel, windows: Sequence[Window]) -> Grid:
    """First the means over the windows, then the series, thinned."""
    step = -(-len(panel.times_s) // TABLE_ROWS_MAX)
    heads = [f"window {place}, {window.label} msg/s offered" for place, window in enumerate(windows, start=1)]
    times = [f"{time_s:.1f} s" for time_s in panel.times_s[::step]]
    return Grid(
        title=f"{panel.title}, {panel.unit}",
        columns=(
            text_column("time in the round", [*heads, *times]),
            *(
                number_column(
                    line.label, [*(_mean(panel, line.values, window) for window in windows), *line.values[::step]]
                )
                for line in panel.lines
            ),
        ),
    )


def _mean(panel: Panel, values: Sequence[float | None], window: Window) -> float | None:
    inside = [
        value
        for time_s, value in zip(panel.times_s, values, strict=True)
        if value is not None and window.start_s < time_s <= window.end_s
    ]
    return sum(inside) / len(inside) if inside else None
