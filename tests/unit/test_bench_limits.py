"""Blind cases: what is drawn, and what a verdict on one is worth."""

from __future__ import annotations

from collections import Counter

import pytest

from bench.limits import ANSWERS, NOTHING, PARTS, Case, answer, cases

HOSTS = ("broker-1", "broker-2", "broker-3")


def test_every_kind_is_drawn_as_often_and_the_seed_decides_the_rest() -> None:
    drawn = cases(7, 12, HOSTS, PARTS)
    assert Counter(case.resource for case in drawn) == dict.fromkeys(("cpu", "disk", "network", NOTHING), 3)
    assert all(PARTS[0] <= case.part <= PARTS[1] and case.host in HOSTS for case in drawn if case.resource != NOTHING)
    assert drawn == cases(7, 12, HOSTS, PARTS) != cases(8, 12, HOSTS, PARTS)


@pytest.mark.parametrize(
    ("resource", "named", "worth"),
    [
        ("cpu", ("broker-2/kafka CPU quota",), "right"),
        ("disk", ("broker-2 disk",), "right"),
        ("network", ("broker-2 network",), "right"),
        ("network", ("broker-2 network", "machine CPU"), "right, and others"),
        ("network", ("broker-1 network",), "right, wrong host"),
        ("disk", ("machine CPU",), "machine CPU"),
        ("disk", ("broker-2 request handlers",), "another"),
        ("cpu", ("unknown",), "unknown"),
        (NOTHING, ("machine CPU",), "machine CPU"),
        (NOTHING, ("broker-2 disk",), "another"),
    ],
)
def test_a_verdict_is_right_if_it_names_the_resource_its_host_and_nothing_else(
    resource: str, named: tuple[str, ...], worth: str
) -> None:
    case = Case(resource=resource) if resource == NOTHING else Case(resource=resource, host="broker-2", part=0.4)
    assert answer(case, named) == worth
    assert worth in ANSWERS
