"""Two plans as one run, in turns: each scenario of the one beside the same scenario of the other."""

from __future__ import annotations

from meshmark.errors import UsageError
from meshmark.plan import Plan, Scenario
from meshmark.planfile.effort import estimate_seconds

SUFFIX = "-versus"
REPEATS = 20
"""At most, unless the plan says otherwise."""
WIDTH = 0.10
"""Of a loss's interval, unless the plan says otherwise: a change of 5 % either way is then told."""
_MARGIN = 1.25


def versus(plan: Plan, other: Plan) -> Plan:
    """Of both plans, with a baseline for each scenario of `other`: the same one of `plan`. It goes on until each loss
    is known as well as `stop_width` says, or the time is over. Raises UsageError where the two cannot stand side by
    side."""
    ours, theirs = ({scenario.name: scenario for scenario in each.scenarios} for each in (plan, other))
    if ours.keys() != theirs.keys():
        alone = ", ".join(sorted(ours.keys() ^ theirs.keys()))
        raise UsageError(f"{plan.name} and {other.name} differ in their scenarios: {alone}", hint="give both the same")
    for name in ours:
        if ours[name].method != theirs[name].method:
            raise UsageError(
                f"{plan.name} and {other.name} measure {name} by different methods",
                hint="give both the same method: cluster, data plane and workload may differ",
            )
    for each in (plan, other):
        if each.explain_blocks or any(scenario.held_out for scenario in each.scenarios):
            raise UsageError(
                f"{each.name} explains limits or holds scenarios out, which needs to know the last repeat",
                hint="leave out explainBlocks and heldOut",
            )
    if (plan.profile, plan.scale) != (other.profile, other.scale):
        raise UsageError(f"{plan.name} and {other.name} ask for different hardware", hint="give both the same profile")
    pairs = tuple(each for name in ours for each in _beside(ours[name], theirs[name]))
    given = plan.model_fields_set
    both = plan.model_copy(
        update={
            "scenarios": pairs,
            "repeats": plan.repeats if "repeats" in given else REPEATS,
            "stop_width": plan.stop_width or WIDTH,
        }
    )
    budget = plan.budget_seconds if "budget_seconds" in given else round(estimate_seconds(both) * _MARGIN)
    return both.model_copy(update={"budget_seconds": min(budget, 86_400)})


def _beside(ours: Scenario, theirs: Scenario) -> tuple[Scenario, Scenario]:
    name = ours.name
    return (
        ours.model_copy(update={"baseline": name}),
        theirs.model_copy(update={"name": name + SUFFIX, "baseline": name}),
    )
