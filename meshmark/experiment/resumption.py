"""Whether a run that was cut can go on here, and what its record says of where it was.

    kept = whole_rounds(run)              # or a refusal, before anything is changed
    require_same(run, backend, clock)     # the same, once the backend is prepared

A run goes on as the same run: its plan, seed and order, what its rounds so far have told of each search. It does not
where the machine, the versions, or the clock of its record are others: then a new run is the honest answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from meshmark import seal
from meshmark.analysis.model import ESTIMATOR
from meshmark.analysis.verify.times import CLOCK_SET_S
from meshmark.clock import Clock
from meshmark.cluster import Backend
from meshmark.errors import RecordError, UsageError
from meshmark.experiment.hardware import with_recorded_profile
from meshmark.record import RoundFinished, Started
from meshmark.store import RoundData, Run
from meshmark.values import Model

ANEW = "measure anew, in another directory"


def whole_rounds(run: Run) -> tuple[RoundData, ...]:
    """Those that stay. UsageError where there is nothing to go on from, RecordError where the record is not as it was
    sealed."""
    if run.finished is not None and run.finished.outcome == "complete":
        raise UsageError(f"{run.directory} is complete: there is nothing to go on with")
    kept = tuple(data for data in run.rounds if data.finished is not None)
    order = [(slot.index, slot.scenario, slot.repeat) for slot in run.plan.order()]
    if [(data.started.index, data.started.scenario, data.started.repeat) for data in kept] != order[: len(kept)]:
        raise RecordError(f"{run.directory}: its rounds are not the first of its plan", hint=ANEW)
    if not kept:
        raise UsageError(f"{run.directory} has no whole round to go on from", hint=ANEW)
    for broken in seal.check(run.directory).breaks:
        raise RecordError(f"{run.directory}/{broken.file}: {broken.recorded}, but {broken.found}", hint=ANEW)
    return kept


def as_begun(run: Run) -> Run:
    """With the profile that it began with, whatever has become of the file: the record has it."""
    return replace(run, plan=with_recorded_profile(run.plan, run.directory)) if run.hardware else run


def seconds_so_far(started: Started, kept: Sequence[RoundData]) -> float:
    """Of the time budget: until the first round, and in those that stay."""
    first_s = kept[0].started.time_s - (started.started_at - started.clock_offset_s)
    return first_s + sum(map(seconds, kept))


def seconds(data: RoundData) -> float:
    """That a whole round took."""
    return finished(data).time_s - data.started.time_s


def finished(data: RoundData) -> RoundFinished:
    assert data.finished is not None, "a whole round"
    return data.finished


def require_same(run: Run, backend: Backend, clock: Clock) -> None:
    """UsageError where it would be another run, as far as its record says what it was."""
    pairs: tuple[tuple[Model, Model], ...] = (
        (run.started.versions, backend.versions()),
        (run.started.host, backend.facts()),
    )
    others = [
        f"{name} was {getattr(then, name)}, and is {getattr(now, name)}"
        for then, now in pairs
        for name in type(then).model_fields
        if getattr(then, name) not in (None, getattr(now, name))
    ]
    if run.started.estimator != ESTIMATOR:
        others.append(f"its ceilings were by estimator {run.started.estimator}, and would be by {ESTIMATOR}")
    if others:
        raise UsageError(f"{run.directory} cannot go on here: {'; '.join(others)}", hint=ANEW)
    _require_clock(run, clock)


def _require_clock(run: Run, clock: Clock) -> None:
    """The monotonic clock begins anew with the machine, and all times of a record are of one. Against the calendar's
    it then moves by more than it had come to, and while a machine sleeps it stands still."""
    last_s = max([run.rounds[-1].started.time_s, *(event.time_s for event in run.events)])
    moved_s = clock.wall() - clock.now() - run.started.clock_offset_s
    if clock.now() < last_s or abs(moved_s) > min(CLOCK_SET_S, last_s):
        raise UsageError(
            f"{run.directory} cannot go on: this machine was started anew or slept since, or its clock was set",
            hint=f"times of a record are of one clock; {ANEW}, and report the whole rounds of this one",
        )
