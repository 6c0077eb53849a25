"""What a person is told while a run goes on."""

from __future__ import annotations

import io
import re

import pytest

from meshmark.backends.simulated import SimulatedClock
from meshmark.experiment.progress import Progress
from meshmark.live.progress import RATE_EVERY_S, Lines, LiveLine, counter, progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def play(told: Progress, clock: SimulatedClock) -> None:
    told.phase("environment 1/1: disk")
    told.round(1, 2, "plain", 1, None)
    told.phase("warming up")
    told.note("a search\nof two trials")
    told.rate(1_000.0)
    clock.sleep(RATE_EVERY_S / 2)
    told.rate(2_000.0)
    clock.sleep(RATE_EVERY_S)
    told.rate(3_000.0)
    told.warn("broker-2 is slow")
    told.round(2, 2, "istio", 1, 65.0)


def test_a_log_gets_one_line_for_each_thing_and_a_rate_now_and_then() -> None:
    stream, clock = io.StringIO(), SimulatedClock()
    with progress(stream, clock) as told:
        assert isinstance(told, Lines)
        play(told, clock)
    assert stream.getvalue().splitlines() == [
        "  environment 1/1: disk",
        "[1/2] plain, repeat 1",
        "  warming up",
        "  a search",
        "  of two trials",
        "  1,000 msg/s",
        "  3,000 msg/s",
        "warning: broker-2 is slow",
        "[2/2] istio, repeat 1, about 1 min 5 s left",
    ]


def test_a_terminal_gets_a_live_line_and_keeps_rounds_notes_and_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    stream, clock = Terminal(), SimulatedClock()
    with progress(stream, clock) as told:
        assert isinstance(told, LiveLine)
        play(told, clock)
    text = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", stream.getvalue())
    kept = [line.strip() for line in re.split(r"[\r\n]+", text)]
    assert "[1/2] plain, repeat 1: 3,000 msg/s" in kept
    assert "[2/2] istio, repeat 1" in kept
    assert "warning: broker-2 is slow" in kept
    assert kept.index("plain, repeat 1: a search") + 1 == kept.index("of two trials")
    assert "1 min 5 s left" in text
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", stream.getvalue()), "colours in spite of NO_COLOR"


@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_terminal_that_can_do_nothing_gets_lines(term: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", term)
    with progress(Terminal(), SimulatedClock()) as told:
        assert isinstance(told, Lines)


def test_what_is_counted_is_told_in_quarters() -> None:
    stream = io.StringIO()
    with counter(stream, "jars") as told:
        for done in range(1, 45):
            told(done, 44)
    assert stream.getvalue().splitlines() == [f"jars: {done} of 44" for done in (11, 22, 33, 44)]
