"""How long a run takes and what it is worth: quick, default or full, and the part of a plan that is asked for.

`default` fills in what the plan leaves open, so a plan's own durations and repeats win over it. `quick` and
`full` are said on the command line, later and nearer to the user than the file, so they win over the plan.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Sequence
from typing import Any, Literal

from meshmark.data_plane import CLIENT_BROKER
from meshmark.errors import UsageError
from meshmark.plan import EnvironmentSpec, Method, Plan, Scenario, Slo
from meshmark.planfile.hardware import brokers_have_quota, kinds_limited, limits_operations
from meshmark.planfile.schema import did_you_mean

Effort = Literal["quick", "default", "full"]

# What the parts of a run take on an idle machine of 2 cores, besides what the plan says.
_ROUND_SECONDS = 5 + 3
"""Cluster start and proofs of the path; start and end of the warm-up's load, stop."""
_TRIAL_SECONDS = 2.5
"""Topics, load start, drain and the quiet readings around one window."""
_QUOTA_TRIAL_SECONDS = 9.5
"""The same by brokers that have a quota of CPU."""
_SELF_TEST_SECONDS, _FAR_SELF_TEST_SECONDS, _FAR_S = 10, 30, 0.04
"""Of the first round. Over a link that is so far its second attempt is needed, too."""
_CONNECT_SECONDS = 0.02
"""Of a load, for each producer beyond _MANY whose connections are encrypted (1,000: 15 to 45 s, `load.settings`)."""
_MANY = 100
_TESTBED_SECONDS = 1.5
_DISK_MODES = 2
_FLOW_KINDS = 2

_LIMITS_SECONDS = 5
"""In each round, for each kind of what is limited: every limit is probed."""
_GAUGE_SECONDS = 8
"""Once for each scenario with limits: closed loop under them, its topics, start and end."""

EXPLAIN_BLOCKS = 4
"""Of `--explain`: an interval of four differences is some four times as wide as their standard error."""
_TIGHTENED = 4
"""Trials of a block: CPU of the machine and of a broker, network of a broker and of a client; further ones for a
sidecar's CPU and a disk of a broker's own, and one with nothing taken away."""

CPU_SAMPLES_HZ = 99
"""Of `--perf`: some hundred samples a second of CPU time, out of step with timers that tick 100 or 250 times."""
_SAMPLES_SECONDS = 8
"""Of each round: names from the brokers' JVMs, and the samples of its trials counted."""

# Budgets: a quick run of four scenarios ends within 5 minutes, a default one within 12; more scenarios get more.
_BUDGET_SECONDS = {"quick": (290.0, 72.0), "default": (715.0, 178.0)}
_MARGIN = 1.25

_REPEATS = {"quick": 2, "full": 10}
_METHOD: dict[str, dict[str, Any]] = {
    "quick": {
        "warmup_seconds": 6,
        "warmup_max_seconds": 10,
        "settle_seconds": 0.6,
        "window_seconds": 2,
        "trials": 3,
        "equal_load": (),
    },
    "full": {
        "warmup_seconds": 20,
        "warmup_max_seconds": 60,
        "settle_seconds": 1.5,
        "window_seconds": 10,
        "trials": 8,
        "slos": tuple(Slo(latency_s=seconds) for seconds in (0.02, 0.05, 0.2)),
        "equal_load": (0.25, 0.5, 0.75, 0.9),
    },
}
_ENVIRONMENT: dict[str, dict[str, Any]] = {
    "quick": {"disk_seconds": 1, "network_seconds": 1, "repeats": 1},
    "full": {"disk_seconds": 5, "network_seconds": 5, "repeats": 5},
}

CERTAINTY: dict[Effort, str] = {
    "quick": "quick: 2 repeats of 3 short trials tell only large differences from noise; expect 'cannot tell'",
    "default": "differences are told from noise only where they are well above the spread over repeats",
    "full": "full: 10 repeats of 8 long trials; the interval beside each figure is what it is worth",
}


def effort(plan: Plan, level: Effort) -> Plan:
    """The plan with the durations and repeats of a level."""
    if level == "default":
        if "budget_seconds" in plan.model_fields_set:
            return plan
        return plan.model_copy(update={"budget_seconds": _budget(plan, level)})
    scenarios = tuple(_hurried(scenario, _METHOD[level]) for scenario in plan.scenarios)
    environment = EnvironmentSpec.model_validate(
        {**plan.environment.model_dump(by_alias=False), **_ENVIRONMENT[level]}
    )
    changed = plan.model_copy(update={"repeats": _REPEATS[level], "scenarios": scenarios, "environment": environment})
    return changed.model_copy(update={"budget_seconds": _budget(changed, level)})


def _budget(plan: Plan, level: Effort) -> float:
    if level == "full":
        return min(float(round(estimate_seconds(plan) * _MARGIN)), 86_400.0)
    least, per_scenario = _BUDGET_SECONDS[level]
    return max(least, per_scenario * len(plan.scenarios), float(math.ceil(estimate_seconds(plan))))


def _hurried(scenario: Scenario, values: dict[str, Any]) -> Scenario:
    method = Method.model_validate({**scenario.method.model_dump(by_alias=False), **values})
    return scenario.model_copy(update={"method": method})


def explained(plan: Plan) -> Plan:
    """The plan with an explanation of each scenario's limit at its end, and the time for it."""
    asked = plan.model_copy(update={"explain_blocks": EXPLAIN_BLOCKS})
    budget = min(plan.budget_seconds + round(explain_seconds(asked) * _MARGIN), 86_400.0)
    return asked.model_copy(update={"budget_seconds": budget})


def sampled(plan: Plan) -> Plan:
    """The plan with samples of the CPU, and the time to count them."""
    asked = plan.model_copy(update={"cpu_samples_hz": CPU_SAMPLES_HZ})
    budget = min(plan.budget_seconds + round(samples_seconds(asked, len(asked.order())) * _MARGIN), 86_400.0)
    return asked.model_copy(update={"budget_seconds": budget})


def samples_seconds(plan: Plan, rounds: int) -> float:
    """What counting the CPU's samples takes at the end of so many rounds."""
    return _SAMPLES_SECONDS * rounds if plan.cpu_samples_hz else 0.0


def explain_trials(scenario: Scenario) -> int:
    """Of one block."""
    return 1 + _TIGHTENED + scenario.data_plane.sidecars + (scenario.cluster.storage == "image")


def explain_seconds(plan: Plan, scenarios: Sequence[Scenario] | None = None) -> float:
    """What telling what limits takes; of all scenarios, if these are not given."""
    asked = plan.scenarios if scenarios is None else scenarios
    return plan.explain_blocks * sum(explain_trials(scenario) * trial_seconds(plan, scenario) for scenario in asked)


def estimate_seconds(plan: Plan) -> float:
    """What the whole plan takes on an idle machine, its budget aside; set-up on a cold cache comes on top."""
    rounds = sum(_round_seconds(plan, scenario) for scenario in plan.scenarios)
    rounds += sum(_LIMITS_SECONDS * kinds_limited(plan, scenario) for scenario in plan.scenarios)
    rounds += samples_seconds(plan, len(plan.scenarios))
    gauges = _GAUGE_SECONDS * sum(kinds_limited(plan, scenario) > 0 for scenario in plan.scenarios)
    around = gauges + _environment_seconds(plan) + _self_test_seconds(plan)
    return around + plan.repeats * rounds + explain_seconds(plan)


def _self_test_seconds(plan: Plan) -> float:
    first = plan.scenario(plan.order()[0].scenario)
    return _FAR_SELF_TEST_SECONDS if first.cluster.topology.farthest_s() >= _FAR_S else _SELF_TEST_SECONDS


def _environment_seconds(plan: Plan) -> float:
    """The network is probed directly and on each path of the plan's data planes."""
    environment = plan.environment
    paths = {"direct", *(scenario.data_plane.path for scenario in plan.scenarios)}
    network = len(paths) * (_FLOW_KINDS * environment.network_seconds + _TESTBED_SECONDS)
    modes = _DISK_MODES + limits_operations(plan)
    return environment.repeats * (modes * environment.disk_seconds + network)


def _round_seconds(plan: Plan, scenario: Scenario) -> float:
    """On average: equal loads are measured from the second repeat on."""
    method, repeats = scenario.method, plan.repeats
    trials = method.trials + len(method.equal_load) * (repeats - 1) / repeats + (method.load_bytes_s is not None)
    around = _ROUND_SECONDS + _connect_seconds(scenario)
    return around + _warmup_seconds(method) + trials * trial_seconds(plan, scenario)


def trial_seconds(plan: Plan, scenario: Scenario) -> float:
    """Of one trial, with what comes before and after its load."""
    around = _QUOTA_TRIAL_SECONDS if brokers_have_quota(plan) else _TRIAL_SECONDS
    around += _connect_seconds(scenario)
    return scenario.method.settle_seconds + scenario.method.window_seconds + around


def _connect_seconds(scenario: Scenario) -> float:
    many = max(0, scenario.workload.workers - _MANY)
    return _CONNECT_SECONDS * many if scenario.data_plane.encrypts(CLIENT_BROKER) else 0.0


def _warmup_seconds(method: Method) -> float:
    """Mostly some seconds above the least; under Kafka's own TLS up to the most."""
    return method.warmup_seconds + min(6.0, max(0.0, method.warmup_max_seconds - method.warmup_seconds))


def select(plan: Plan, only: Sequence[str]) -> Plan:
    """The plan with only these scenarios, in its own order; all of them if none is named. `*` stands for anything.
    A baseline that a scenario itself names comes with it; without the plan's among them, losses stay unknown."""
    names = [scenario.name for scenario in plan.scenarios]
    unknown = [name for name in only if not fnmatch.filter(names, name)]
    if unknown:
        guesses = ", ".join(f"{name}{did_you_mean(name, names)}" for name in unknown)
        raise UsageError(
            f"the plan {plan.name} has no scenario {guesses}", hint=f"its scenarios are: {', '.join(names)}"
        )
    if not only:
        return plan
    named = {name for each in only for name in fnmatch.filter(names, each)}
    kept = named | {scenario.baseline for scenario in plan.scenarios if scenario.name in named}
    return plan.model_copy(
        update={"scenarios": tuple(scenario for scenario in plan.scenarios if scenario.name in kept)}
    )
