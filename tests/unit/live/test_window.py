"""Beside a run: lines while there is no view, silence while there is one, the terminal as it was afterwards."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path

from meshmark.backends.simulated import SimulatedClock
from meshmark.live.progress import Lines
from meshmark.live.window import Behind, live_view

from .test_progress import play

SLEEPS = [sys.executable, "-c", "import sys; sys.stdin.read()"]
RUN = """
import sys
from meshmark.cli.app import main
sys.exit(main(sys.argv[1:]))
"""


def test_without_a_terminal_there_are_lines(tmp_path: Path) -> None:
    stream = io.StringIO()
    with live_view(tmp_path, stream, SimulatedClock()) as told:
        assert isinstance(told, Lines)
        play(told, SimulatedClock())
    assert "[1/2] plain, repeat 1" in stream.getvalue()


def test_lines_are_silent_while_the_view_is_open_and_go_on_when_it_is_closed() -> None:
    stream, clock = io.StringIO(), SimulatedClock()
    with subprocess.Popen(SLEEPS, stdin=subprocess.PIPE) as view:
        told = Behind(view, Lines(stream, clock))
        play(told, clock)
        assert stream.getvalue() == ""
        view.communicate(timeout=60)
        play(told, clock)
    assert "warning: broker-2 is slow" in stream.getvalue()


def test_a_whole_run_with_a_view_leaves_the_terminal_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(
        "name: small\nrepeats: 1\nenvironment: {diskSeconds: 0, networkSeconds: 0}\n"
        "method: {warmupSeconds: 1, windowSeconds: 2, trials: 2}\nscenarios: [plain]\n",
        encoding="utf-8",
    )
    outside, inside = pty.openpty()
    before = termios.tcgetattr(inside)
    argv = [sys.executable, "-c", RUN, "run", str(tmp_path / "plan.yaml"), "--backend", "simulated", "--live"]
    argv += ["--out", str(tmp_path / "run")]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    with subprocess.Popen(
        argv, stdin=inside, stdout=subprocess.PIPE, stderr=inside, env=environment, text=True
    ) as running:
        drawn = drain(outside, running)
        assert running.stdout is not None
        table = running.stdout.read()
    assert running.returncode == 0, drawn
    assert "WHAT EACH SETUP CARRIED" in table
    assert drawn.rfind("\x1b[?1049h") < drawn.rfind("\x1b[?1049l")
    assert termios.tcgetattr(inside) == before
    os.close(outside)
    os.close(inside)


def drain(terminal: int, running: subprocess.Popen[str]) -> str:
    """What is drawn until the process ends; a terminal that nobody reads would block it."""
    os.set_blocking(terminal, False)
    drawn = b""
    while True:
        ended = running.poll() is not None
        try:
            drawn += os.read(terminal, 65_536)
        except BlockingIOError:
            if ended:
                return drawn.decode("utf-8", "replace")
            with suppress(subprocess.TimeoutExpired):
                running.wait(0.05)
