"""Links that flap: when they are down, and what is told of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from meshmark.analysis.outages import outages, still_s
from meshmark.analysis.summary import summarize
from meshmark.cli.plans import remarks
from meshmark.data_plane import DataPlane
from meshmark.errors import MissingRequirement, PlanError
from meshmark.experiment.outages import _flap, flapping
from meshmark.itemized import compared
from meshmark.plan import ClusterSpec, Scenario, Workload
from meshmark.planfile import loads
from meshmark.record import Outage, Point
from meshmark.report.geography import outages as grid
from meshmark.topology import Flap, Link, MeshCluster, Topology
from tests.unit.report.conftest import METHOD, PLAN, told

LINK = Link(ends=("near", "far"), rtt_ms=24, flap=Flap(up_seconds=2, down_seconds=1))
STEADY = (LINK.model_copy(update={"flap": Flap()}),)
TOPOLOGY = Topology(clusters=(MeshCluster(name="near", brokers=3, clients=1), MeshCluster(name="far")), links=(LINK,))


class System:
    """Cuttable; time passes only while something is waited for, and the load ends at a time."""

    def __init__(self, until_s: float) -> None:
        self.time_s = 0.0
        self._until_s = until_s
        self.told: list[tuple[str, float]] = []

    @contextmanager
    def cut(self, link: str) -> Iterator[None]:
        self.told.append((f"{link} down", self.time_s))
        try:
            yield
        finally:
            self.told.append((f"{link} up", self.time_s))

    def now(self) -> float:
        return self.time_s

    def wait(self, seconds: float) -> bool:
        self.time_s = min(self.time_s + seconds, self._until_s)
        return self.time_s >= self._until_s


def test_a_link_goes_down_and_comes_back_until_the_load_ends() -> None:
    system = System(until_s=7)
    found = _flap(system, LINK, 3, cast(Any, system), cast(Any, system))
    assert system.told == [("near-far down", 2), ("near-far up", 3), ("near-far down", 5), ("near-far up", 6)]
    assert [(each.trial, each.link, each.began_s, each.seconds) for each in found] == [
        (3, "near-far", 2, 1),
        (3, "near-far", 5, 1),
    ]


def test_a_link_that_is_down_when_the_load_ends_comes_back_then() -> None:
    system = System(until_s=2.5)
    (found,) = _flap(system, LINK, 1, cast(Any, system), cast(Any, system))
    assert system.told[-1] == ("near-far up", 2.5)
    assert found.seconds == 0.5


def test_links_that_stay_up_ask_for_no_power() -> None:
    steady = TOPOLOGY.model_copy(update={"links": STEADY})
    nothing = cast(Any, None)
    with flapping(nothing, steady, 1, nothing, nothing):
        pass
    with (
        pytest.raises(MissingRequirement, match="no links that could be cut"),
        flapping(nothing, TOPOLOGY, 1, nothing, nothing),
    ):
        pass


def test_a_plan_says_when_a_link_is_down() -> None:
    text = """name: x
cluster:
  topology:
    clusters: [{name: near, brokers: 2, clients: 1}, {name: far, brokers: 1}]
    links: [{ends: [near, far], rttMs: 24, flap: {upSeconds: 4, downSeconds: 2}}]
scenarios: [plain]
"""
    (link,) = loads(text, "f").scenarios[0].cluster.topology.flapping()
    assert link.flap == Flap(up_seconds=4, down_seconds=2)
    with pytest.raises(PlanError, match="downSeconds: -2 is not allowed"):
        loads(text.replace("downSeconds: 2", "downSeconds: -2"), "f")


@pytest.mark.parametrize(
    ("counts", "expected"),
    [([5], None), ([0, 10, 20, 30], 0), ([0, 10, 10, 10, 30], 2), ([0, 10, 10, 10], 2), ([7, 7, 8], 1)],
)
def test_standing_still_is_the_longest_time_without_an_acknowledgement(
    counts: list[int], expected: float | None
) -> None:
    points = [
        Point(time_s=float(number), offered=99, acknowledged=count, outstanding=0)
        for number, count in enumerate(counts)
    ]
    assert still_s(points) == expected


def flapping_scenario(up_seconds: float, groups: int) -> Scenario:
    """Load of 2.5 s."""
    link = LINK.model_copy(update={"flap": Flap(up_seconds=up_seconds, down_seconds=1)})
    clusters = (MeshCluster(name="near", brokers=2, clients=1), MeshCluster(name="far", brokers=1))
    return Scenario(
        name="it",
        data_plane=DataPlane.PLAIN,
        cluster=ClusterSpec(topology=Topology(clusters=clusters, links=(link,))),
        workload=Workload(subscriptions_per_topic=groups),
        method=METHOD,
    )


@pytest.mark.parametrize(
    ("up_seconds", "groups", "expected"),
    [
        (2.4, 1, []),
        (2.5, 1, ["the link near-far stays up for 2.5 s (flap.upSeconds), and a trial's load takes 2.5 s"]),
        (2.4, 0, ["links go down and nothing is read back"]),
        (5, 0, ["never goes down", "nothing is read back"]),
    ],
)
def test_flaps_that_show_nothing_are_told_before_a_run(up_seconds: float, groups: int, expected: list[str]) -> None:
    assert METHOD.settle_seconds + METHOD.window_seconds == 2.5
    plan = PLAN.model_copy(update={"scenarios": (flapping_scenario(up_seconds, groups),), "baseline": "it"})
    told_of = [text for text in remarks(plan) if text.startswith("it: ")]
    assert len(told_of) == len(expected)
    assert [part for part, text in zip(expected, told_of, strict=True) if part not in text] == []


@pytest.mark.parametrize(
    ("up_seconds", "why"),
    [(2.4, ""), (2.5, ": it stays up for 2.5 s, and a trial's load takes 2.5 s")],
)
def test_a_link_that_was_to_flap_and_never_went_down_is_a_warning(tmp_path: Path, up_seconds: float, why: str) -> None:
    asked = flapping_scenario(up_seconds, 1)
    cluster = asked.cluster.model_copy(
        update={"topology": asked.cluster.topology.model_copy(update={"links": STEADY})}
    )
    steady = PLAN.model_copy(
        update={"scenarios": (asked.model_copy(update={"cluster": cluster}),), "baseline": "it", "repeats": 1}
    )
    done = told(tmp_path / "run", steady).run  # no simulated link goes down
    run = replace(done, plan=steady.model_copy(update={"scenarios": (asked,)}))
    (only,) = run.rounds
    assert only.outages == ()
    warning = "it: the link near-far was to flap and never went down"
    assert f"{warning}{why}" in summarize(run).warnings
    down = Outage(trial=1, link="near-far", began_s=5, ended_s=6)
    changed = replace(run, rounds=(replace(only, outages=(down,)),))
    assert not any(text.startswith(warning) for text in summarize(changed).warnings)


def test_a_trial_in_which_a_link_was_down_has_a_line(tmp_path: Path) -> None:
    run = told(tmp_path / "run", PLAN.model_copy(update={"scenarios": PLAN.scenarios[:1], "repeats": 1})).run
    first = run.rounds[0]
    assert outages(run) == ()
    assert grid(summarize(run)) is None
    down = tuple(
        Outage(trial=1, link="near-far", began_s=began, ended_s=began + took) for began, took in ((5, 1), (9, 2))
    )
    other = Outage(trial=99, link="near-far", began_s=0, ended_s=1)  # of a trial that was never finished
    changed = replace(run, rounds=(replace(first, outages=(*down, other)), *run.rounds[1:]))
    (found,) = outages(changed)
    assert (found.outages, found.down_s, found.longest_s, found.read_back) == (2, 3, 2, None)
    assert found.acknowledged == first.trials[0].total.acknowledged
    assert (found.missing, found.duplicated) == (None, None)
    table = grid(summarize(changed))
    assert table is not None
    assert "no consumers" in table.rows[0]


def test_what_was_not_read_back_is_told_apart_from_what_was_read_twice(tmp_path: Path) -> None:
    run = told(tmp_path / "run", PLAN.model_copy(update={"scenarios": PLAN.scenarios[:1], "repeats": 1})).run
    first = run.rounds[0]
    read_back = compared([np.array([1, 2, 3], dtype=np.int64)], [np.array([1, 2, 2, 2], dtype=np.int64)])
    trial = first.trials[0].model_copy(update={"read_back": read_back})
    outage = Outage(trial=1, link="near-far", began_s=5, ended_s=6)
    changed = replace(run, rounds=(replace(first, outages=(outage,), trials=(trial,)), *run.rounds[1:]))
    (found,) = outages(changed)
    assert (found.missing, found.duplicated) == (1, 2)
    table = grid(summarize(changed))
    assert table is not None
    shown = dict(zip((column.head for column in table.columns), table.rows[0], strict=True))
    assert (shown["missing"], shown["read twice"]) == ("1", "2")
    assert "stored twice, or delivered again" in table.note
