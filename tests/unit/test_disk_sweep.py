"""A sweep of the disks' cap: what is limited, what is refused, and where the report says that the curves part."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meshmark import planfile
from meshmark.analysis import hardware
from meshmark.analysis.model import Interval, Sensitivity, Summary
from meshmark.analysis.sensitivity import parting
from meshmark.analysis.summary import summarize
from meshmark.backends.simulated import SimulatedBackend, SimulatedClock, Truth
from meshmark.errors import MissingRequirement, UsageError
from meshmark.experiment.conductor import conduct
from meshmark.experiment.hardware import settle_hardware
from meshmark.experiment.progress import Silent
from meshmark.plan import Plan
from meshmark.record import DiskProbe
from meshmark.report.sensitivity import figures
from meshmark.report.table import table
from meshmark.store import Run, load

EKS = "eks-r5.4xlarge-io1"


def swept_plan(*only: str, **changes: Any) -> Plan:
    plan = planfile.select(planfile.builtin("disk-sweep"), only)
    return planfile.furnished(planfile.effort(plan.model_copy(update=changes), "quick"))


def run(directory: Path, plan: Plan) -> Run:
    clock = SimulatedClock()
    backend = SimulatedBackend(clock, Truth(noise=0.005))
    conduct(plan, backend, directory, command=("t",), effort="quick", progress=Silent(), clock=clock)
    return load(directory)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(tmp_path_factory.mktemp("runs") / "swept", swept_plan())


@pytest.fixture(scope="module")
def summary(done: Run) -> Summary:
    return summarize(done)


def only_sweep(summary: Summary) -> Sensitivity:
    (sweep,) = summary.sensitivity
    return sweep


def test_each_cap_is_a_pair_and_the_sweep_goes_from_the_least_to_none(summary: Summary) -> None:
    sweep = only_sweep(summary)
    assert sweep.factor == "disk cap"
    assert [point.value for point in sweep.points] == ["10 MB/s", "25 MB/s", "60 MB/s", "no cap"]
    assert [(point.baseline, point.scenario) for point in sweep.points] == [
        (f"{cap}-plain", f"{cap}-istio-mtls") for cap in ("10mb", "25mb", "60mb", "nocap")
    ]


def test_under_a_cap_both_carry_what_the_disks_take(summary: Summary) -> None:
    for point, cap in zip(only_sweep(summary).points, (10e6, 25e6, 60e6), strict=False):
        for taken in (point.disk_bytes_s_per_broker, point.baseline_disk_bytes_s_per_broker):
            assert taken == pytest.approx(cap, rel=0.03)


def test_the_report_says_up_to_which_cap_the_disks_hide_the_mesh_and_where_the_curves_part(summary: Summary) -> None:
    sweep = only_sweep(summary)
    assert (sweep.hidden_to, sweep.apart_from) == ("60 MB/s", "no cap")
    shown = " ".join(table(summary).split())
    assert "WHAT ISTIO-MTLS COSTS, BY DISK CAP" in shown
    assert (
        "Up to 60 MB/s per broker the disks limit both, and no loss can be told. Without a cap istio-mtls carries"
        in shown
    )
    assert "each scenario says itself what its disks take" in shown


def test_the_page_draws_a_curve_for_each_data_plane_over_the_caps(summary: Summary) -> None:
    (figure,) = figures(summary)
    assert [text for text in (">plain<", ">istio-mtls<", ">10 MB/s<", ">no cap<") if text not in figure.picture] == []
    assert figure.picture.count('stroke="var(--c1)"') > 0 < figure.picture.count('stroke="var(--c2)"')


def test_caps_are_set_and_probed_in_every_round_that_has_one(done: Run) -> None:
    for data in done.rounds:
        caps = {probe.limit.amount for probe in data.limits}
        cap = done.plan.scenario(data.started.scenario).cluster.disk_write_bytes_s
        assert caps == (set() if cap is None else {cap})
        assert all(probe.limit.resource == "disk" and probe.holds for probe in data.limits)


@pytest.mark.parametrize(
    ("lost", "disks", "expected"),
    [
        ([False, False, True, True], [True, True, False, False], ("1", "2")),
        ([False, False, False, True], [True, False, False, False], ("0", "3")),
        ([False, False, False, False], [True, True, True, True], ("3", None)),
        ([False, True, False, False], [True, False, False, False], ("0", None)),
        ([True, True, True, True], [False, False, False, False], (None, "0")),
        ([False, False, False, False], [False, False, False, False], (None, None)),
    ],
    ids=["part", "cannot tell between", "never", "not monotonous", "from the start", "neither"],
)
def test_curves_part_where_a_loss_is_told_at_every_cap_from_there(
    summary: Summary, lost: list[bool], disks: list[bool], expected: tuple[str | None, str | None]
) -> None:
    one = only_sweep(summary).points[0]
    points = [
        one.model_copy(
            update={
                "value": str(place),
                "loss_interval": Interval(low=0.1 if loses else -0.1, high=0.2),
                "limited_by": ("broker-1 disk",) if disk else ("machine CPU",),
            }
        )
        for place, (loses, disk) in enumerate(zip(lost, disks, strict=True))
    ]
    assert parting(points) == expected


def test_a_loss_that_is_not_known_is_not_hidden(summary: Summary) -> None:
    one = only_sweep(summary).points[0].model_copy(update={"limited_by": ("broker-1 disk",)})
    told = one.model_copy(update={"loss_interval": Interval(low=-0.1, high=0.2)})
    unknown = one.model_copy(update={"loss_interval": None})
    assert parting([told, unknown, told]) == (told.value, None)
    assert parting([unknown, told]) == (None, None)


def test_a_cap_takes_the_place_of_a_profile_s_disk_and_is_not_scaled() -> None:
    plan = swept_plan("10mb-plain", "nocap-plain", profile=EKS)
    capped, other = plan.scenarios
    profile = planfile.find_profile(EKS)
    found = [
        {each.amount for each in hardware.limits(profile, 0.1, scenario) if each.resource == "disk"}
        for scenario in (capped, other)
    ]
    assert found == [{10e6}, {43.75e6}]


def test_with_a_profile_the_sweep_is_ordered_by_what_disks_really_had(done: Run) -> None:
    profile = planfile.find_profile(EKS)
    assert done.hardware is not None
    scaled = replace(done, hardware=done.hardware.model_copy(update={"profile": profile, "scale": 0.1}))
    assert [point.value for point in only_sweep(summarize(scaled)).points] == [
        "10 MB/s",
        "25 MB/s",
        "43.8 MB/s",
        "60 MB/s",
    ]


def test_more_than_this_machine_s_disk_carries_is_refused_before_the_first_round() -> None:
    probe = DiskProbe(tool="t", mode="buffered", write_bytes=1, rate_bytes_s=160e6, seconds=1, repeat=1)
    with pytest.raises(
        MissingRequirement, match="gives out 180 MB/s of disk to all brokers; this machine has 160 MB/s"
    ):
        settle_hardware(swept_plan(), 2, [probe])
    assert settle_hardware(swept_plan("25mb-*"), 2, [probe]) is not None


def test_a_quick_sweep_takes_some_minutes_and_says_so_before() -> None:
    plan = swept_plan()
    assert planfile.estimate_seconds(plan) <= plan.budget_seconds < 12 * 60
    assert planfile.estimate_seconds(swept_plan("25mb-*", "nocap-*")) < 7 * 60


CAPPED = "cluster: {diskWriteBytesS: 10000000}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CAPPED, "goes with a profile"),
        ("profile: unlimited\ncluster: {diskWriteBytesS: 10000000, storage: ram}\n", "has its logs in RAM"),
        ("profile: unlimited\nenvironment: {diskSeconds: 0}\n" + CAPPED, "scale auto needs"),
    ],
    ids=["no profile", "RAM", "no probe of what there is"],
)
def test_a_cap_that_cannot_be_is_refused(text: str, expected: str) -> None:
    plan = planfile.loads(f"name: x\nscenarios: [plain]\n{text}", "f")
    with pytest.raises(UsageError, match=expected):
        planfile.furnished(plan)


def test_logs_in_ram_and_a_cap_exclude_each_other_on_the_command_line() -> None:
    with pytest.raises(UsageError, match="RAM takes what it can"):
        planfile.unmasked(planfile.builtin("disk-sweep"), "both")
