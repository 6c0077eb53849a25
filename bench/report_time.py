"""How long a report of a thousand trials takes: read, computed and rendered. One run, made on the simulated system.

    python -m bench.report_time            some minutes, most of them to make the run

Goal: 3 s for 1,000 trials. Each figure is the least of three; the ratio is that to a run of a tenth of its size.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from meshmark.analysis.summary import summarize
from meshmark.backends.simulated import SimulatedBackend, SimulatedClock
from meshmark.cli.reports import write_html, write_json
from meshmark.experiment.conductor import conduct
from meshmark.experiment.progress import Silent
from meshmark.plan import EnvironmentSpec, Method, Plan, Scenario
from meshmark.planfile.openmessaging import PLANES
from meshmark.store import load

TRIES = 3
METHOD = Method(
    warmup_seconds=8, settle_seconds=0.5, window_seconds=2, trials=1, equal_load=(0.25, 0.5, 0.75, 0.9, 0.95, 0.97)
)


def made(directory: Path, repeats: int) -> int:
    """A run with so many repeats; how many trials it has."""
    scenarios = tuple(Scenario(name=str(plane), data_plane=plane, method=METHOD) for plane in PLANES)
    nothing = EnvironmentSpec(disk_seconds=0, network_seconds=0)
    plan = Plan(name="many", repeats=repeats, budget_seconds=86_400, environment=nothing, scenarios=scenarios)
    clock = SimulatedClock()
    backend = SimulatedBackend(clock)
    conduct(plan, backend, directory, command=(), effort="default", progress=Silent(), clock=clock)
    return sum(len(data.trials) for data in load(directory).rounds)


def least_s(doing: Callable[[], object]) -> float:
    times = []
    for _ in range(TRIES):
        begun = time.perf_counter()
        doing()
        times.append(time.perf_counter() - begun)
    return min(times)


def told(directory: Path, repeats: int) -> float:
    """Prints what each part took; seconds of all."""
    trials = made(directory, repeats)
    record = load(directory)
    summary = summarize(record)
    parts = {
        "read": least_s(lambda: load(directory)),
        "computed": least_s(lambda: summarize(record)),
        "written as JSON": least_s(lambda: write_json(summary, directory / "summary.json")),
        "rendered as HTML": least_s(lambda: write_html(record, summary, directory / "report.html")),
    }
    whole = sum(parts.values())
    each = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in parts.items())
    print(f"{trials} trials: {whole:.2f} s ({each})", flush=True)
    return whole


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.report_time", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=37, help="of four scenarios of seven trials")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        few = told(Path(name) / "few", max(2, options.repeats // 10))
        many = told(Path(name) / "many", options.repeats)
    print(f"ratio: {many / few:.1f}")


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
