"""From run directories: how the rate that a system acknowledges under full load differs, as a noise for simulations.

    python -m bench.record_noise meshmark-runs/20261120-* > bench/noise.json
    python -m bench.saturation --noise bench/noise.json

A trial is under full load if it was in closed loop, or if it acknowledged less than it was offered. Its rates, each
over `INTERVAL_S` of the window, are divided by the median of its scenario's trials in its run: what is left is how
trials and moments differ. Scenarios with fewer than `TRIALS_MIN` such trials are left out.

Limits: under open-loop overload the queue of the client is full, and an interval's rate is what the system gave. A
trial that kept up shows the schedule and not the system, so it is not used; nor is one that was invalid, or had less
of a resource in order to explain what limits.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from meshmark.store import Run, load

INTERVAL_S = 0.5
"""Two reports of a load worker: shorter steps would show when reports came."""
FULL = 0.97
TRIALS_MIN = 3


def full_load(*, valid: bool, offered_msg_s: float | None, rate_msg_s: float) -> bool:
    """Was it the system that decided the rate? `offered_msg_s` is None in closed loop."""
    return valid and (offered_msg_s is None or rate_msg_s < FULL * offered_msg_s)


def rates(reports: Sequence[tuple[float, int]], start_s: float, end_s: float) -> list[float]:
    """Acknowledged a second, for each step of a window. `reports`: time, acknowledged so far."""
    if len(reports) < 2:
        return []
    times = np.arange(start_s, end_s + 1e-9, INTERVAL_S)
    counts = np.interp(times, [time_s for time_s, _ in reports], [count for _, count in reports])
    return [float(rate) for rate in np.diff(counts) / INTERVAL_S]


def relative(run: Run) -> Iterator[list[float]]:
    """Of each trial under full load."""
    by_scenario: dict[str, list[list[float]]] = defaultdict(list)
    for one in run.rounds:
        intervals = one.intervals()
        for trial in one.trials:
            if trial.tightened and trial.tightened.limit:
                continue
            if not full_load(valid=trial.valid, offered_msg_s=trial.offered_msg_s, rate_msg_s=trial.rate_msg_s):
                continue
            reports = [
                (report.time_s, report.totals.acknowledged)
                for report in intervals
                if trial.started_s <= report.time_s <= trial.window_end_s + INTERVAL_S
            ]
            seen = rates(reports, trial.window_start_s, trial.window_end_s)
            if len(seen) >= 2:
                by_scenario[trial.scenario].append(seen)
    for trials in by_scenario.values():
        if len(trials) >= TRIALS_MIN:
            middle = statistics.median(statistics.fmean(seen) for seen in trials)
            yield from ([round(rate / middle, 4) for rate in seen] for seen in trials)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.record_noise", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("runs", type=Path, nargs="+", help="run directories")
    options = parser.parse_args()
    trials = [trial for directory in options.runs for trial in relative(load(directory))]
    if not trials:
        raise SystemExit("no scenario of these runs has enough trials under full load")
    print(json.dumps({"interval_s": INTERVAL_S, "trials": trials}))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
