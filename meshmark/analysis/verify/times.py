"""Is everything in order of time, and within what it is a part of? By the machine's clock that never goes back.

The calendar's clock may be set while a run goes on, by a little: it only tells whether a file is of this run at all.
"""

from __future__ import annotations

from collections.abc import Iterator

from meshmark.analysis.verify.model import Finding
from meshmark.store import RoundData, Run

CLOCK_SET_S = 600.0
"""Two machines, or two starts of one, differ by more, but by chance."""
ROUNDING_S = 0.01


def time_findings(run: Run) -> Iterator[Finding]:
    began_s = run.started.started_at - run.started.clock_offset_s
    yield from _calendar(run)
    before_s, what = began_s - ROUNDING_S, "the run's start"
    for line, event in enumerate(run.events, start=1):
        if event.time_s < before_s:
            yield _early(f"events.jsonl:{line}", "an event", event.time_s, what, before_s)
        before_s, what = event.time_s, "the event before it"
    before_s, what = began_s - ROUNDING_S, "the run's start"
    for data in run.rounds:
        for file, told, start_s, end_s in _parts(data):
            if start_s < before_s:
                yield _early(file, told, start_s, what, before_s)
            if end_s < start_s:
                yield Finding(
                    file=file, recorded=f"{told} ends at {end_s:.3f} s", follows=f"it begins at {start_s:.3f} s"
                )
            before_s, what = max(start_s, end_s), f"{told} in {file}"


def _early(file: str, told: str, time_s: float, what: str, before_s: float) -> Finding:
    return Finding(file=file, recorded=f"{told} at {time_s:.3f} s", follows=f"{what} is at {before_s:.3f} s")


def _parts(data: RoundData) -> Iterator[tuple[str, str, float, float]]:
    """(file, what it is, start, end) in the order in which they were."""
    folder, started = f"rounds/{data.directory.name}", data.started
    yield f"{folder}/started.json", "a round", started.time_s, started.time_s
    for line, trial in enumerate(data.trials, start=1):
        file = f"{folder}/trials.jsonl:{line}"
        yield file, "a trial", trial.started_s, trial.started_s
        yield file, "its window", trial.window_start_s, trial.window_end_s
        yield file, "a trial's end", trial.ended_s, trial.ended_s
    if data.finished is not None:
        yield f"{folder}/finished.json", "a round's end", data.finished.time_s, data.finished.time_s


def _calendar(run: Run) -> Iterator[Finding]:
    """Unix times less times of the machine's clock: one offset for all of a run."""
    offset_s = run.started.clock_offset_s
    for data in run.rounds:
        folder, started = f"rounds/{data.directory.name}", data.started
        pairs = [(f"{folder}/started.json", started.started_at - started.time_s)]
        if data.finished is not None:
            pairs.append((f"{folder}/finished.json", data.finished.finished_at - data.finished.time_s))
        for file, own_s in pairs:
            if abs(own_s - offset_s) > CLOCK_SET_S:
                yield Finding(
                    file=file,
                    recorded=f"Unix time less the machine's clock: {own_s:.0f} s",
                    follows=f"started.json says {offset_s:.0f} s: another machine, or another start of it",
                )
    last_s = run.events[-1].time_s + offset_s if run.events else run.started.started_at
    if run.finished is not None and abs(run.finished.finished_at - last_s) > CLOCK_SET_S:
        yield Finding(
            file="finished.json",
            recorded=f"the run ended at {run.finished.finished_at:.0f}",
            follows=f"the last that happened in it was at {last_s:.0f}",
        )
