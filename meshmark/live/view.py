"""A run in a terminal, as it goes on: `python -m meshmark.live.view DIR FD RESUMPTIONS`, a process of its own.

It reads the run's record and nothing else, so a fault here, or a slow terminal, cannot harm a measurement, and it runs
at low priority. FD is the reading end of a pipe whose other end the run holds: when that closes, so does the view.
`q` closes the view alone; Ctrl-C asks the run (the parent) to end, as it would without a view.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import DataTable, Footer, RichLog, Sparkline, Static

from meshmark.clock import Clock, SystemClock
from meshmark.errors import MeshmarkError
from meshmark.live.figures import HISTORY_S, IDLE, Figures, LinkFigures, LoadFigures, figures
from meshmark.live.follow import Following
from meshmark.record import Event, Latency
from meshmark.units import GB, MB, UNKNOWN, duration, mb, number, percent, rate_msg_s

EVERY_S = 1.0
PRIORITY = 10
"""Above a run's processes in niceness, so that it waits for them."""
TRIALS_SHOWN = 6
BAR_WIDTH = 8
WIDE, HIGH = 130, 34
"""Columns and rows from which on there is room for trials, and for the log."""
NAMES = {
    "kafka": "brokers",
    "sidecar": "sidecars",
    "gateway": "gateways",
    "client": "clients",
    "relay": "links",
}
HOST_COLUMNS = ("host", "broker", "sidecar", "client", "log", "in", "out", "conns", "out of sync")
TRIAL_COLUMNS = ("trial", "for", "offered", "acked", "p99 ms", "valid")
Row = Sequence[str]


class LiveView(App[None]):
    """`following` is looked at every EVERY_S; `over` tells when to close."""

    TITLE = "meshmark"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "close the view; the run goes on"),
        Binding("ctrl+c", "end_run", "end the run", priority=True),
    ]
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (WIDE, "-wide")]  # noqa: RUF012 - no ClassVar in the library
    VERTICAL_BREAKPOINTS = [(0, "-low"), (HIGH, "-high")]  # noqa: RUF012
    CSS = """
    Screen { layout: vertical; }
    #head { height: 3; padding: 0 1; background: $panel; }
    #middle { height: 11; }
    .box { border: round $primary; border-title-color: $text; padding: 0 1; height: 100%; }
    #load { width: 1fr; } #cpu { width: 46; }
    #rates { height: auto; } #history { height: 1fr; }
    #tables { height: 1fr; min-height: 9; }
    #hosts { width: 3fr; } #trials { width: 2fr; }
    #host-table, #trial-table, #links { height: auto; }
    #log { height: 8; }
    .-high #middle { height: 13; }
    .-low #log { display: none; }
    .-narrow #trials { display: none; }
    DataTable { background: $surface; }
    """

    def __init__(
        self, following: Following, clock: Clock, over: Callable[[], bool], end_run: Callable[[], None]
    ) -> None:
        super().__init__()
        self._following = following
        self._clock = clock
        self._over = over
        self._end_run = end_run
        self._told: Event | None = None

    def compose(self) -> ComposeResult:
        yield Static(id="head")
        with Horizontal(id="middle"):
            with Vertical(id="load", classes="box") as load:
                load.border_title = "Load"
                yield Static(id="rates")
                yield Sparkline([], id="history")
            with Vertical(id="cpu", classes="box") as cpu:
                cpu.border_title = "CPUs used, of all; s per GB acknowledged"
                yield Static(id="cpus")
        with Horizontal(id="tables"):
            with Vertical(id="hosts", classes="box") as hosts:
                hosts.border_title = "Hosts: CPUs used; MB/s to the log, in and out"
                yield _table("host-table", HOST_COLUMNS)
                yield Static(id="links")
            with Vertical(id="trials", classes="box") as trials:
                trials.border_title = "Trials"
                yield _table("trial-table", TRIAL_COLUMNS)
        with Vertical(id="log", classes="box") as log:
            log.border_title = "Log"
            yield RichLog(id="lines", wrap=True)
        yield Footer()

    def on_ready(self) -> None:
        self.set_interval(EVERY_S, self.look)
        self.call_after_refresh(self.look)

    def look(self) -> None:
        """Reads what is new and shows it."""
        if self._over():
            self.exit()
            return
        self._following.look()
        self._show_log()
        found = figures(self._following, self._clock)
        if found is None:
            self.query_one("#head", Static).update("waiting for the run to begin")
            return
        self.query_one("#head", Static).update(head(found))
        self.query_one("#rates", Static).update(rates(found.load))
        self.query_one("#history", Sparkline).data = list(found.load.history_msg_s) if found.load else []
        self.query_one("#cpus", Static).update(cpus(found))
        _fill(self.query_one("#host-table", DataTable), host_rows(found))
        _fill(self.query_one("#trial-table", DataTable), trial_rows(found))
        self.query_one("#links", Static).update(links(found))
        self.query_one("#trials").border_title = f"Trials of round {found.round_index}: msg/s"

    def action_end_run(self) -> None:
        self._end_run()

    def _show_log(self) -> None:
        lines = self.query_one("#lines", RichLog)
        events = list(self._following.events)
        new = events[events.index(self._told) + 1 :] if self._told in events else events
        for event in new:
            lines.write(log_line(event))
        self._told = events[-1] if events else None


def _table(ident: str, columns: Row) -> DataTable[Text]:
    table: DataTable[Text] = DataTable(id=ident, show_cursor=False, zebra_stripes=True)
    for place, name in enumerate(columns):
        table.add_column(Text(name, justify="right" if place else "left"))
    return table


def _fill(table: DataTable[Text], rows: Sequence[Row]) -> None:
    table.clear()
    for row in rows:
        table.add_row(*(Text(cell, justify="right" if place else "left") for place, cell in enumerate(row)))


def head(found: Figures) -> Text:
    """Which round of which run, what it does now, how long it takes yet; and how far each data plane is."""
    left = "" if found.seconds_left is None else f"about {duration(found.seconds_left)} left"
    place = f"round {found.round_index} of {found.rounds}" if found.round_index else "before the first round"
    name = f"{found.scenario}, repeat {found.repeat}" if found.scenario else ""
    first = " · ".join(part for part in (found.plan, place, name, found.outcome or left) if part)
    planes = "   ".join(f"{name} {'●' * done}{'○' * (found.repeats - done)}" for name, done in found.scenarios)
    if found.repeats > 10:
        planes = "   ".join(f"{name} {done}/{found.repeats}" for name, done in found.scenarios)
    return Text("\n").join([Text(first, style="bold"), Text(found.phase), Text(planes)])


def rates(load: LoadFigures | None) -> str:
    """Rate against offered, backlog, latencies."""
    if load is None:
        return "no load"
    share = f" ({percent(load.acknowledged_msg_s / load.offered_msg_s)})" if load.offered_msg_s else ""
    lag = "" if load.lag is None else f"   consumers behind by {number(float(load.lag))}"
    lines = [
        f"offered       {rate_msg_s(load.offered_msg_s):>12} msg/s",
        f"acknowledged  {rate_msg_s(load.acknowledged_msg_s):>12} msg/s{share}",
        f"outstanding   {number(float(load.outstanding)):>12}{lag}",
        _latency("latency", load.latency),
    ]
    if load.end_to_end:
        lines.append(_latency("end to end", load.end_to_end))
    lines.append(f"acknowledged in each of the last {HISTORY_S} s, up to {rate_msg_s(max(load.history_msg_s))}:")
    return "\n".join(lines)


def _latency(name: str, found: Latency | None) -> str:
    if found is None:
        return f"{name:13} none yet: in closed loop there is no intended send"
    values = (
        (label, getattr(found, field)) for label, field in (("p50", "p50_s"), ("p99", "p99_s"), ("p99.9", "p99_9_s"))
    )
    return f"{name:13} " + "   ".join(
        f"{label} {UNKNOWN if value is None else number(value * 1e3)} ms" for label, value in values
    )


def cpus(found: Figures) -> str:
    """The ledger of the last seconds: a bar for each kind of component, of all CPUs, and what it takes for a GB."""
    if not found.cpus:
        return "not read yet"
    bytes_s = found.load.acknowledged_bytes_s if found.load else 0.0
    lines = []
    for name, used in found.cpus.items():
        share = used / found.machine_cpus
        bar = "█" * round(BAR_WIDTH * min(1.0, share))
        per_gb = number(used / (bytes_s / GB)) if bytes_s and name != IDLE else ""
        lines.append(
            f"{NAMES.get(name, name):12} {used:5.2f}  {bar:{BAR_WIDTH}} {percent(share):>5} {per_gb:>6}".rstrip()
        )
    return "\n".join(lines)


def host_rows(found: Figures) -> list[Row]:
    """Of HOST_COLUMNS. A link's relay is no host."""
    return [
        (
            each.host,
            *(_two(each.cpus.get(name)) for name in ("kafka", "sidecar", "client")),
            *(_scaled(value) for value in (each.log_bytes_s, each.rx_bytes_s, each.tx_bytes_s)),
            "" if each.connections is None else f"{each.connections:.0f}",
            "" if each.out_of_sync is None else f"{each.out_of_sync:.0f}",
        )
        for each in found.hosts
        if each.rx_bytes_s is not None
    ]


def links(found: Figures) -> str:
    """A line for each way between two clusters: its round trip, and what passes and is lost now."""
    return "\n".join(f"{link.source} → {link.target}: {', '.join(_of_link(link))}" for link in found.links)


def _of_link(link: LinkFigures) -> Iterator[str]:
    rtt = UNKNOWN if link.rtt_s is None else number(link.rtt_s * 1e3)
    yield f"round trip {rtt} ms (asked {number(link.asked_rtt_s * 1e3)})"
    if link.bytes_s is not None:
        most = link.asked_bandwidth_bytes_s
        yield f"{mb(link.bytes_s)} MB/s" + (f" (at most {mb(most)})" if most else "")
    if link.lost is not None:
        yield f"lost {number(100 * link.lost, 2)} % (asked {number(100 * link.asked_loss, 2)})"


def _two(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _scaled(value: float | None) -> str:
    return "" if value is None else f"{value / MB:.1f}"


def trial_rows(found: Figures) -> list[Row]:
    """Of TRIAL_COLUMNS, the last ones."""
    return [
        (
            str(trial.number),
            trial.phase or trial.purpose,
            rate_msg_s(trial.offered_msg_s),
            rate_msg_s(trial.rate_msg_s),
            UNKNOWN if not trial.latency or trial.latency.p99_s is None else number(trial.latency.p99_s * 1e3),
            "yes" if trial.valid else "no",
        )
        for trial in found.trials[-TRIALS_SHOWN:]
    ]


def log_line(event: Event) -> Text:
    """In words, not in colour alone."""
    style = {"info": "", "warning": "yellow", "error": "bold red"}[event.level]
    level = "" if event.level == "info" else f"{event.level}: "
    return Text(f"{event.phase}: {level}{event.text}", style=style)


def closed(pipe: int) -> bool:
    """Has the run closed its end?"""
    return bool(select.select([pipe], [], [], 0)[0])


def main(directory: Path, pipe: int, resumptions: int) -> None:
    """Until the run is over, or the person closes the view."""
    os.nice(PRIORITY)
    run = os.getppid()
    following = Following(directory, resumptions)
    app = LiveView(following, SystemClock(), lambda: closed(pipe), lambda: os.kill(run, signal.SIGINT))
    app.run()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal's group; the run has its own
    try:
        main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    except MeshmarkError as error:
        sys.exit(str(error))
