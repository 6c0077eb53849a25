"""Does the error by clocks of a trial's end-to-end latency follow from how its load workers' clocks were compared?"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

from meshmark.analysis.verify.model import Finding
from meshmark.analysis.verify.raw import Raw
from meshmark.nodes import error_between_s
from meshmark.record import Trial

ELSEWHERE = "elsewhere"
"""A host that goes by the conductor's clock."""
ALIKE = 1e-9


def clock_findings(round_: Raw, file: str, trial: Trial) -> Iterator[Finding]:
    """Which hosts without a clock of their own had load is not recorded; so, where one host alone has one, both are
    held possible: that all load was on it, and that it was not. A round that was cut has no account of its clocks."""
    nodes = round_.data.nodes
    if nodes is None and round_.data.finished is None:
        return
    checks = [each for each in nodes.clocks if trial.started_s < each.ended_s <= trial.ended_s] if nodes else []
    hosts = {each.host for each in checks}
    possible = [error_between_s(hosts, checks), error_between_s({*hosts, ELSEWHERE}, checks)]
    if not any(_same(trial.end_to_end_error_s, each) for each in possible):
        yield Finding(
            file=file,
            recorded=f"endToEndErrorS {json.dumps(trial.end_to_end_error_s)}",
            follows=f"its load workers' clocks give {json.dumps(possible[-1])} ({round_.file('nodes.json')})",
        )


def _same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=ALIKE, abs_tol=ALIKE)
