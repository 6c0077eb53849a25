"""Predictions of what is held out, against the rounds that were there before: the same law, and said in time.

A run that another meshmark resumed may have predictions by two laws; each is held against its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from meshmark.analysis.distance_law import Errors, predictions
from meshmark.analysis.model import ESTIMATOR
from meshmark.analysis.summary import summarize
from meshmark.analysis.verify.model import Finding
from meshmark.record import Prediction
from meshmark.store import Run

FILE = "predictions.jsonl"


def prediction_findings(run: Run) -> Iterator[Finding]:
    """Nothing to recompute where nothing was predicted, and nothing measured that was to be; nor where the law went
    through ceilings by another estimator."""
    if run.started.estimator != ESTIMATOR:
        return
    held_out = {scenario.name for scenario in run.plan.scenarios if scenario.held_out}
    measured = any(data.started.scenario in held_out for data in run.rounds)
    if not run.predictions and not measured:
        return
    before = replace(run, rounds=tuple(data for data in run.rounds if data.started.scenario not in held_out))
    scenarios = summarize(before).scenarios
    laws: set[Errors] = {told.errors for told in run.predictions} or {"log"}
    follows = {(law, each.scenario): each for law in laws for each in predictions(before, scenarios, 0.0, law)}
    if measured and (lacking := sorted({name for _, name in follows} - {told.scenario for told in run.predictions})):
        yield Finding(
            file=FILE,
            recorded=f"no prediction of {', '.join(lacking)}",
            follows="the rounds before have a law of it, and it is predicted before it is measured",
        )
    for line, told in enumerate(run.predictions, start=1):
        file, found = f"{FILE}:{line}", follows.get((told.errors, told.scenario))
        if found is None or not _same(told, found):
            yield Finding(
                file=file,
                recorded=f"{told.scenario}: {_words(told)}",
                follows="the rounds before it have no such law" if found is None else f"they say {_words(found)}",
            )
        for data in run.rounds:
            if data.started.scenario == told.scenario and data.started.time_s < told.time_s:
                yield Finding(
                    file=file,
                    recorded=f"{told.scenario}: predicted at {told.time_s:.1f} s",
                    follows=f"rounds/{data.directory.name} had begun by then",
                )


def _same(told: Prediction, found: Prediction) -> bool:
    numbers = [
        (each.rate_msg_s, each.low_msg_s, each.high_msg_s or math.inf, each.rtt_s, each.lives)
        for each in (told, found)
    ]
    return (told.errors, set(told.law_of)) == (found.errors, set(found.law_of)) and all(
        math.isclose(*pair, rel_tol=1e-6) for pair in zip(*numbers, strict=True)
    )


def _words(prediction: Prediction) -> str:
    high = "open" if prediction.high_msg_s is None else f"{prediction.high_msg_s:.1f}"
    return (
        f"{prediction.rate_msg_s:.1f} ({prediction.low_msg_s:.1f} … {high}) msg/s at an RTT of "
        f"{prediction.rtt_s * 1e3:g} ms, by {prediction.lives} lives of {', '.join(prediction.law_of)}"
    )
