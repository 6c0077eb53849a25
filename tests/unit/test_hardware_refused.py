"""What of a profile is refused, and that it is before anything is fetched, or started."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from meshmark import planfile
from meshmark.backends.lab import limits as lab_limits
from meshmark.backends.simulated import SimulatedBackend, SimulatedClock, Truth
from meshmark.cli import app
from meshmark.errors import MissingRequirement, UsageError
from meshmark.experiment.conductor import conduct
from meshmark.experiment.hardware import settle_hardware
from meshmark.experiment.progress import Silent
from meshmark.kafka import distribution
from meshmark.plan import ClusterSpec, EnvironmentSpec, Plan
from meshmark.record import HostFacts
from meshmark.store import load
from tests.unit.test_hardware import EKS, PLAIN, plan_of, probes


def test_a_scale_that_gives_less_than_the_kernel_s_least_quota_is_told_with_one_that_does_not() -> None:
    """4 CPUs of brokers, 2 of sidecars where a scenario has some: the least quota is 0.01 CPUs."""
    for plan, least in ((plan_of(PLAIN), 0.0025), (plan_of(), 0.005)):
        with pytest.raises(MissingRequirement, match=r"gives a container less than 0\.01 CPUs") as refused:
            settle_hardware(plan.model_copy(update={"scale": 0.99 * least}), 2)
        assert refused.value.hint == f"Use --scale {least:g} or more."
        assert settle_hardware(plan.model_copy(update={"scale": least}), 2) is not None
    with pytest.raises(MissingRequirement) as small:
        settle_hardware(plan_of(), 64, probes(1, 90_000))
    assert small.value.hint == "This machine has too little for it: it takes a scale of 0.005 or more."


def test_a_disk_with_operations_alone_is_refused_before_a_run(tmp_path: Path) -> None:
    file = tmp_path / "small-writes.yaml"
    file.write_text(
        "name: small-writes\nsources: {me: me}\nclient: {machine: box}\n"
        "broker: {machine: box, disk: {kind: disk, operationsS: {value: 100, source: me}}}\n",
        encoding="utf-8",
    )
    plan = plan_of(PLAIN, scale=0.5).model_copy(update={"profile": str(file)})
    with pytest.raises(UsageError, match=r"the operations of disks .* and not their bytes") as refused:
        planfile.furnished(plan)
    assert "broker.disk.writeBytesS" in refused.value.hint
    own = PLAIN.model_copy(update={"cluster": ClusterSpec(disk_write_bytes_s=1e6)})
    assert planfile.furnished(plan.model_copy(update={"scenarios": (own,)})).scenarios[0].cluster.storage == "image"
    in_ram = planfile.furnished(planfile.unmasked(plan, "ram"))
    assert [scenario.cluster.storage for scenario in in_ram.scenarios] == ["ram"]


def test_cpus_that_meshmark_may_not_run_on_are_not_given_out(tmp_path: Path) -> None:
    class Bound(SimulatedBackend):
        def facts(self) -> HostFacts:
            return super().facts().model_copy(update={"cpus": 64, "cpus_allowed": 2})

    clock = SimulatedClock()
    for asked, expected in ((0.5, "this machine has 1\\.6 CPUs to give"), ("auto", None)):
        directory = tmp_path / str(asked)
        plan = planfile.furnished(plan_of(PLAIN, scale=asked))
        with pytest.raises(MissingRequirement, match=expected) if expected else nullcontext():
            conduct(
                plan,
                Bound(clock, Truth(noise=0)),
                directory,
                command=("t",),
                effort="default",
                progress=Silent(),
                clock=clock,
            )
    hardware_told = load(directory).hardware
    assert hardware_told is not None
    assert {each.resource: each.available for each in hardware_told.bounds}["cpu"] == pytest.approx(1.6)


@pytest.mark.parametrize("disk", ["ram", "both"])
def test_names_in_ram_are_a_plan_s_as_well(disk: str) -> None:
    long = PLAIN.model_copy(update={"name": "x" * 45})
    with pytest.raises(UsageError, match="longer than 48 characters") as refused:
        planfile.unmasked(plan_of(long), disk)
    assert f"give {long.name} a shorter name" in refused.value.hint
    taken = PLAIN.model_copy(update={"name": "plain-ram"})
    if disk == "both":
        with pytest.raises(UsageError, match="names a scenario plain-ram, and the plan has one of that name"):
            planfile.unmasked(plan_of(PLAIN, taken), disk)
    else:
        names = [scenario.name for scenario in planfile.unmasked(plan_of(PLAIN, taken), disk).scenarios]
        assert names == ["plain-ram", "plain-ram-ram"]


def test_without_a_controller_for_disks_a_profile_is_refused_before_anything_is_fetched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab_limits, "outside_uid", lambda: 0)
    monkeypatch.setattr(lab_limits, "quotas_possible", lambda: True)
    monkeypatch.setattr(lab_limits, "writes_possible", lambda: False)
    monkeypatch.setattr(distribution, "fetch", lambda *_, **__: pytest.fail("fetched"))
    assert app.main(["run", "--profile", EKS, "--out", str(tmp_path / "run")]) == 1
    assert "limiting disks needs the cgroup controller" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_scale_that_its_cpus_do_not_carry_is_refused_before_anything_is_fetched_or_started(tmp_path: Path) -> None:
    class Unprepared(SimulatedBackend):
        def prepare(self, plan: Plan) -> None:
            raise AssertionError("prepared")

    clock = SimulatedClock()
    with pytest.raises(MissingRequirement, match="containerCpus and sidecarCpus of all hosts"):
        conduct(
            plan_of(scale=0.5),
            Unprepared(clock),
            tmp_path / "run",
            command=("t",),
            effort="default",
            progress=Silent(),
            clock=clock,
        )
    assert not (tmp_path / "run").exists()


def test_without_root_a_profile_is_refused_before_anything_is_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab_limits, "outside_uid", lambda: 1000)
    assert app.main(["run", "--profile", EKS, "--out", str(tmp_path / "run")]) == 1
    assert "needs root" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        pytest.param(plan_of(explain_blocks=2), "exclude each other", id="explanation"),
        pytest.param(plan_of(environment=EnvironmentSpec(disk_seconds=0)), "scale auto needs", id="no probes"),
        pytest.param(plan_of().model_copy(update={"profile": "eks"}), "no profile is called eks", id="name"),
    ],
)
def test_what_a_profile_cannot_be_combined_with_is_refused(plan: Plan, expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        planfile.furnished(plan)
