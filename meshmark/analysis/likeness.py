"""Are runs alike enough to be compared? Machine, versions and what the plan asked, fact by fact. Pure.

Only what can change what is measured is a fact: not a plan's name, the seed of its order, its time budget, its
thresholds or the benchmark of the environment before the first round.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence

from pydantic import Field

from meshmark.analysis.brief import brief
from meshmark.analysis.model import Summary
from meshmark.analysis.value import Value
from meshmark.errors import UsageError

UNSET = "–"
SHOWN = 60
"""Characters of a value in a message."""


class Difference(Value):
    """A fact that is not the same on both sides."""

    key: str = Field(description="`host.cpus`, `versions.kafka`, `plan.workload.producerConfig.acks`, ...")
    contender: str
    baseline: str


def facts(summary: Summary, scenario: str) -> dict[str, str]:
    """`host.cpus` -> `2`, `plan.workload.producerConfig.acks` -> `all`, ..."""
    asked = summary.plan.scenario(scenario).model_dump(mode="json")
    asked["workload"] = brief(asked["workload"])
    plan = {
        "repeats": summary.repeats,
        "logBudgetBytes": summary.plan.log_budget_bytes,
        **{key: asked[key] for key in ("dataPlane", "cluster", "workload", "method")},
    }
    started = summary.started
    whole = {"host": started.host.model_dump(mode="json"), "versions": started.versions.model_dump(mode="json")}
    return dict(flat({**whole, "plan": plan}))


def flat(value: object, key: str = "") -> Iterator[tuple[str, str]]:
    """JSON as dotted keys and texts. What is in a list of its own parts goes by its name, or by its ends: a cluster of
    a topology, a link."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from flat(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        for number, each in enumerate(value, start=1):
            yield from flat(each, f"{key}.{each.get('name') or '-'.join(each.get('ends', ())) or number}")
    else:
        yield key, value if isinstance(value, str) else UNSET if value is None else json.dumps(value)


def differences(contender: Summary, baseline: Summary, scenarios: Sequence[tuple[str, str]]) -> tuple[Difference, ...]:
    """Of each of these pairs of scenarios, each difference once."""
    found = [each for ours, theirs in scenarios for each in between(facts(contender, ours), facts(baseline, theirs))]
    return tuple(dict.fromkeys(found))


def between(contender: Mapping[str, str], baseline: Mapping[str, str]) -> Iterator[Difference]:
    """What `flat` makes of two sides."""
    for key in dict.fromkeys((*contender, *baseline)):
        ours, theirs = contender.get(key, UNSET), baseline.get(key, UNSET)
        if ours != theirs:
            yield Difference(key=key, contender=ours, baseline=theirs)


def under(key: str, section: str) -> bool:
    """Is it this fact, or one inside this section?"""
    return key == section or key.startswith(f"{section}.")


def require_alike(
    runs: Sequence[tuple[Summary, Summary]], scenarios: Sequence[tuple[str, str]], differs: Sequence[str]
) -> tuple[Difference, ...]:
    """The differences within the pairs of runs, all of which `differs` names; else UsageError with all of them. Runs
    of one side may be on several machines (each pair on one), and are otherwise alike."""
    _require_known(runs, scenarios, differs)
    for side, names in enumerate(zip(*scenarios, strict=True)):
        first, *others = [pair[side] for pair in runs]
        pairs = [(name, name) for name in names]
        apart = [each for other in others for each in differences(first, other, pairs) if not under(each.key, "host")]
        if apart:
            raise UsageError(
                _told("runs of one side differ:", apart), hint="one side is several runs of the same; compare in pairs"
            )
    found = tuple(dict.fromkeys(each for ours, theirs in runs for each in differences(ours, theirs, scenarios)))
    unsaid = [each for each in found if not any(under(each.key, key) for key in differs)]
    if unsaid:
        options = " ".join(f"--differs {key}" for key in dict.fromkeys(each.key for each in unsaid))
        raise UsageError(
            _told("the runs differ in what was not said to differ:", unsaid),
            hint=f"what is meant to differ is said with --differs KEY; all of these: {options}",
        )
    return found


def _require_known(
    runs: Sequence[tuple[Summary, Summary]], scenarios: Sequence[tuple[str, str]], differs: Sequence[str]
) -> None:
    known = [
        key
        for both in runs
        for names in scenarios
        for summary, name in zip(both, names, strict=True)
        for key in facts(summary, name)
    ]
    for key in differs:
        if not any(under(each, key) for each in known):
            near = difflib.get_close_matches(key, dict.fromkeys(known), n=1)
            raise UsageError(
                f"there is no {key} in these runs" + (f" (did you mean {near[0]}?)" if near else ""),
                hint="KEY is host, versions or plan, or a key within, e.g. plan.workload.producerConfig.acks",
            )


def _told(head: str, found: Sequence[Difference]) -> str:
    return "\n".join(
        [head, *(f"    {each.key}: {_short(each.contender)} against {_short(each.baseline)}" for each in found)]
    )


def _short(value: str) -> str:
    return value if len(value) <= SHOWN else value[: SHOWN - 1] + "…"
