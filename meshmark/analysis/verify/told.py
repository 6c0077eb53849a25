"""Reports that lie beside the record, as JSON: their figures are those of the record.

Compared is what does not depend on wording: numbers, names, verdicts, the plan. Of those that another version of
meshmark computed, differences are told and not held against the run: it may have computed them otherwise.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

from meshmark.analysis.model import ESTIMATOR, SUMMARY_VERSION, Summary
from meshmark.analysis.verify.model import Finding

JUDGED = ("summary.json", "report.json")
ALIKE = 1e-6
"""Another machine's arithmetic differs by much less; no figure is shown with so many digits."""
WORDING = frozenset(
    {
        *("chosen", "contradictions", "counter", "explained", "how", "left_out", "not_scaled", "reason", "reasons"),
        *("recorded_in", "search_ended", "source", "text", "verdict_text", "warnings", "why"),
    }
)
"""Keys whose texts say in words what stands beside them; all other texts are results or names."""
SHOWN = 5


def told_findings(file: str, text: str, summary: Summary) -> Iterator[Finding]:
    """A report as it stands in the directory, against the one that the record gives now. Nothing of one with another
    schema, whose keys mean something else, or by another estimator, whose ceilings differ."""
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        yield Finding(file=file, recorded=f"no JSON: {error}", follows="`meshmark report DIR -o json` writes it anew")
        return
    if _otherwise(told):
        return
    differences = list(_differences(told, json.loads(summary.model_dump_json()), ""))
    for path, one, other in differences[:SHOWN]:
        yield Finding(file=file, recorded=f"{path} = {one}", follows=f"the record gives {other}")
    if len(differences) > SHOWN:
        yield Finding(file=file, recorded=f"{len(differences) - SHOWN} more values", follows="the record gives others")


def not_judged(text: str) -> str:
    """Why a report is not; empty where it is."""
    try:
        return _otherwise(json.loads(text))
    except (ValueError, RecursionError):
        return ""


def _otherwise(told: object) -> str:
    if not isinstance(told, dict) or told.get("schema_version") != SUMMARY_VERSION:
        return "with another schema"
    return "by another estimator of ceilings" if told.get("estimator", 1) != ESTIMATOR else ""


def _differences(told: object, again: object, path: str) -> Iterator[tuple[str, str, str]]:
    """(where, what is told, what follows). Keys that only one of them has are another version's."""
    if isinstance(told, dict) and isinstance(again, dict):
        for key in sorted(told.keys() & again.keys()):
            yield from _differences(told[key], again[key], f"{path}.{key}" if path else str(key))
    elif isinstance(told, list) and isinstance(again, list):
        if len(told) != len(again):
            yield path, f"{len(told)} values", f"{len(again)}"
        for place, (one, other) in enumerate(zip(told, again, strict=False)):
            yield from _differences(one, other, f"{path}[{place}]")
    elif isinstance(told, str) and isinstance(again, str):
        key = path.rpartition(".")[2].partition("[")[0]
        judged = key not in WORDING or path.startswith(("plan.", "started.", "finished."))
        if judged and told != again:
            yield path, repr(told), repr(again)
    elif not _same(told, again):
        yield path, json.dumps(told), json.dumps(again)


def _same(told: object, again: object) -> bool:
    if isinstance(told, bool) or isinstance(again, bool):
        return told is again
    if isinstance(told, int | float) and isinstance(again, int | float):
        return math.isclose(told, again, rel_tol=ALIKE, abs_tol=1e-12)
    return type(told) is type(again) and told == again
