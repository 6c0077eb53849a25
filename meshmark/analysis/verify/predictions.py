"""Predictions of what is held out, against the rounds that were there before: the same law, and said in time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from meshmark.analysis.distance_law import predictions
from meshmark.analysis.summary import summarize
from meshmark.analysis.verify.model import Finding
from meshmark.record import Prediction
from meshmark.store import Run

FILE = "predictions.jsonl"


def prediction_findings(run: Run) -> Iterator[Finding]:
    """Nothing to recompute where nothing was predicted."""
    if not run.predictions:
        return
    held_out = {scenario.name for scenario in run.plan.scenarios if scenario.held_out}
    before = replace(run, rounds=tuple(data for data in run.rounds if data.started.scenario not in held_out))
    follows = {each.scenario: each for each in predictions(before, summarize(before).scenarios, 0.0)}
    for line, told in enumerate(run.predictions, start=1):
        file, found = f"{FILE}:{line}", follows.get(told.scenario)
        if found is None or not math.isclose(told.rate_msg_s, found.rate_msg_s, rel_tol=1e-6):
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


def _words(prediction: Prediction) -> str:
    return f"{prediction.rate_msg_s:.1f} msg/s at an RTT of {prediction.rtt_s * 1e3:g} ms"
