"""Opens the live view beside a run: a child process that has the terminal until the run ends, or a person closes it.

    with live_view(directory, sys.stderr, clock) as told: conduct(..., progress=told)

Where standard input or standard error is no terminal, a run is told in lines as without a view. While the view is
open nothing else is written to the terminal; when it has been closed, or failed, lines take over.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

import textual  # noqa: F401 - if it is missing, that is told here and not by a child that ends at once

from meshmark.clock import Clock
from meshmark.live.progress import Lines, LiveLine, is_terminal, progress

CLOSING_S = 5.0
LEAVE = "\x1b[?1049l\x1b[?25h\x1b[?1000l\x1b[?1003l\x1b[?1006l\x1b[?2004l"
"""Back from the alternate screen, cursor shown, mouse and bracketed paste off: what a view that died left on."""


class Behind:
    """Lines, held back while the view is open: it has them from the record. Warnings and rounds of that time are in
    the report."""

    def __init__(self, view: subprocess.Popen[bytes], lines: Lines) -> None:
        self._view = view
        self._lines = lines

    def round(self, index: int, total: int, scenario: str, repeat: int, seconds_left: float | None) -> None:
        if self._closed:
            self._lines.round(index, total, scenario, repeat, seconds_left)

    def phase(self, text: str) -> None:
        if self._closed:
            self._lines.phase(text)

    def note(self, text: str) -> None:
        if self._closed:
            self._lines.note(text)

    def rate(self, msg_s: float) -> None:
        if self._closed:
            self._lines.rate(msg_s)

    def warn(self, text: str) -> None:
        if self._closed:
            self._lines.warn(text)

    @property
    def _closed(self) -> bool:
        return self._view.poll() is not None


@contextmanager
def live_view(
    directory: Path, stream: TextIO, clock: Clock, resumptions: int = 0
) -> Iterator[Behind | Lines | LiveLine]:
    """What tells of the run in that directory, which need not be there yet, from so many resumptions on."""
    if not (is_terminal(stream) and sys.stdin.isatty()):
        with progress(stream, clock) as told:
            yield told
        return
    reading, writing = os.pipe()
    argv = [sys.executable, "-m", "meshmark.live.view", str(directory), str(reading), str(resumptions)]
    with (
        _terminal_kept(),
        os.fdopen(writing, "wb") as held,
        os.fdopen(reading, "rb") as given,
        subprocess.Popen(argv, pass_fds=[reading], stdout=subprocess.DEVNULL) as view,
    ):
        given.close()
        try:
            yield Behind(view, Lines(stream, clock))
        finally:
            held.close()
            _close(view)
            if view.returncode:
                stream.write(LEAVE)
                stream.flush()


@contextmanager
def _terminal_kept() -> Iterator[None]:
    """A view that was killed leaves the terminal as it needed it."""
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _close(view: subprocess.Popen[bytes]) -> None:
    """It closes by itself when the pipe does."""
    for number in (0, signal.SIGTERM, signal.SIGKILL):
        view.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            view.wait(CLOSING_S)
            return
