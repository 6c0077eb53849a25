"""The search on simulated systems whose truth is known. Seeded: the same every time."""

from __future__ import annotations

from bench.saturation import TRIAL_S, search
from meshmark.backends.simulated_open import random_system, true_ceiling


def test_most_stable_systems_have_their_ceiling_in_a_narrow_interval() -> None:
    covered = []
    for seed in range(1, 9):
        system = random_system(seed)
        result, warm_s, span_s = search(system)
        found = result.ceilings[0]
        truth = true_ceiling(system, TRIAL_S, None, span_s=span_s, warm_s=warm_s)
        if found.low_msg_s and found.high_msg_s and truth.rate_msg_s:
            narrow = found.high_msg_s < 1.35 * found.low_msg_s
            covered.append(narrow and found.low_msg_s <= truth.rate_msg_s <= found.high_msg_s)
    assert sum(covered) >= 6


def test_most_unstable_systems_are_said_to_be_unstable() -> None:
    reasons = [search(random_system(seed, kind="unstable"))[0].ceilings[0].reason or "" for seed in range(1, 9)]
    assert sum("unstable" in reason for reason in reasons) > len(reasons) / 2


def test_a_client_that_cannot_reach_the_ceiling_is_named() -> None:
    for seed in (1, 2, 3):
        result, _, _ = search(random_system(seed, kind="client"))
        assert "the client was the limit" in (result.ceilings[0].reason or "")
