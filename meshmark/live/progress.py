"""Tells on standard error how far a run is: one live line on a terminal, plain lines elsewhere.

Both take what the conductor says (`round`, `phase`, `note`, `rate`, `warn`); neither starts a thread, so the live line
is redrawn only when something is said. Anything but a terminal gets no control characters, and rates only now and
then.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from meshmark.clock import Clock
from meshmark.units import duration, rate_msg_s

BAR_WIDTH = 16
RATE_EVERY_S = 10.0
"""In a log file one rate in ten seconds tells enough."""


class Lines:
    """One line for each thing that is said."""

    def __init__(self, stream: TextIO, clock: Clock) -> None:
        self._stream = stream
        self._clock = clock
        self._rate_told_s = float("-inf")

    def round(self, index: int, total: int, scenario: str, repeat: int, seconds_left: float | None) -> None:
        left = "" if seconds_left is None else f", about {duration(seconds_left)} left"
        self._say(f"[{index}/{total}] {scenario}, repeat {repeat}{left}")
        self._rate_told_s = float("-inf")

    def phase(self, text: str) -> None:
        self._say(f"  {text}")

    def note(self, text: str) -> None:
        for line in text.splitlines():
            self._say(f"  {line}")

    def rate(self, msg_s: float) -> None:
        now = self._clock.now()
        if now - self._rate_told_s >= RATE_EVERY_S:
            self._rate_told_s = now
            self._say(f"  {_rate(msg_s)}")

    def warn(self, text: str) -> None:
        self._say(f"warning: {text}")

    def _say(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


class LiveLine:
    """A line at the bottom of a terminal; what must stay readable (rounds done, notes, warnings) scrolls above it."""

    def __init__(self, console: Console, live: Live, clock: Clock) -> None:
        self._console = console
        self._live = live
        self._clock = clock
        self._index, self._total = 0, 0
        self._name = ""
        self._phase = ""
        self._rate = ""
        self._ends_s: float | None = None

    def round(self, index: int, total: int, scenario: str, repeat: int, seconds_left: float | None) -> None:
        self.done()
        self._index, self._total = index, total
        self._name = f"{scenario}, repeat {repeat}"
        self._phase, self._rate = "", ""
        if seconds_left is not None:
            self._ends_s = self._clock.now() + seconds_left
        self._draw()

    def phase(self, text: str) -> None:
        self._phase = text
        self._draw()

    def note(self, text: str) -> None:
        self._console.print(Text(f"{self._name}: {text}" if self._name else text))

    def rate(self, msg_s: float) -> None:
        self._rate = _rate(msg_s)
        self._draw()

    def warn(self, text: str) -> None:
        self._console.print(Text(f"warning: {text}", style="yellow"))

    def done(self) -> None:
        """Leaves a line for the round that ends, if there was one."""
        if self._name:
            last = f": {self._rate}" if self._rate else ""
            self._console.print(Text(f"[{self._index}/{self._total}] {self._name}{last}"))

    def _draw(self) -> None:
        self._live.update(self._line(), refresh=True)

    def _line(self) -> RenderableType:
        left = ""
        if self._ends_s is not None:
            left = f"about {duration(max(0.0, self._ends_s - self._clock.now()))} left"
        place = f"{self._index}/{self._total}" if self._total else ""
        # A narrow terminal cuts the end off, so the end is what matters least.
        parts = (place, left, self._name, self._rate, self._phase)
        text = Text(" · ".join(part for part in parts if part), no_wrap=True, overflow="ellipsis")
        return _bar(self._console, self._index - 1, self._total, text) if self._total else text


@contextmanager
def progress(stream: TextIO, clock: Clock) -> Iterator[Lines | LiveLine]:
    """What suits the stream. Colours follow NO_COLOR; TERM=dumb gets lines."""
    if not is_terminal(stream):
        yield Lines(stream, clock)
        return
    console = Console(file=stream, highlight=False)
    with _live(console) as live:
        line = LiveLine(console, live, clock)
        yield line
        line.done()


@contextmanager
def counter(stream: TextIO, what: str) -> Iterator[Callable[[int, int], None]]:
    """For work that is counted: a bar on a terminal, a line for each quarter elsewhere."""
    if not is_terminal(stream):

        def tell(done: int, total: int) -> None:
            if done * 4 // total > (done - 1) * 4 // total:
                print(f"{what}: {done} of {total}", file=stream, flush=True)

        yield tell
        return
    console = Console(file=stream, highlight=False)
    with _live(console) as live:

        def draw(done: int, total: int) -> None:
            live.update(_bar(console, done, total, Text(f"{what}: {done} of {total}")), refresh=True)

        yield draw


def _bar(console: Console, done: int, total: int, text: Text) -> RenderableType:
    row = Table.grid(padding=(0, 1))
    text.truncate(max(1, console.width - BAR_WIDTH - 1), overflow="ellipsis")
    row.add_row(ProgressBar(total=total, completed=done, width=BAR_WIDTH), text)
    return row


def is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb")


def _live(console: Console) -> Live:
    # Without redirection: standard output is for data, and goes where the user sends it.
    return Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False)


def _rate(msg_s: float) -> str:
    return f"{rate_msg_s(msg_s)} msg/s"
