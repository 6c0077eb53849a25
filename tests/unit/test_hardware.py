"""A plan with a hardware profile: which limits, at which scale, probed when, refused why, and how it is reported."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from meshmark import planfile
from meshmark.analysis import hardware
from meshmark.analysis.summary import summarize
from meshmark.analysis.verify.limits import limit_findings
from meshmark.analysis.verify.raw import raw
from meshmark.backends.simulated import SimulatedBackend, SimulatedClock, Truth
from meshmark.cli import app
from meshmark.data_plane import DataPlane
from meshmark.errors import LabError, MissingRequirement, NoSpace, UsageError
from meshmark.experiment.conductor import conduct
from meshmark.experiment.hardware import settle_hardware
from meshmark.experiment.progress import Silent
from meshmark.experiment.trial import GAUGE_SECONDS
from meshmark.plan import ClusterSpec, EnvironmentSpec, Method, Plan, Scenario, Workload
from meshmark.planfile.profiles import profile_loads
from meshmark.record import DiskProbe, NetworkProbe
from meshmark.report.grids import grids
from meshmark.report.hardware import extrapolation, limits, single_flow
from meshmark.report.table import table
from meshmark.store import Run, load

EKS = "eks-r5.4xlarge-io1"
EXAMPLES = Path(__file__).parents[2] / "examples"
PROFILE = profile_loads(
    """name: test
sources: {me: a guess}
broker:
  machine: box
  containerCpus: {value: 4, source: me}
  sidecarCpus: {value: 2, source: me}
  disk: {writeBytesS: {value: 400e6, source: me}, operationsS: {value: 20e3, source: me}, kind: ssd}
  network: {bytesS: {value: 1e9, source: me}}
client:
  machine: box
  containerCpus: {value: 8, source: me}
  sidecarCpus: {value: 2, source: me}
  network: {bytesS: {value: 1e9, source: me}}
""",
    "test",
)
METHOD = Method(warmup_seconds=6, settle_seconds=0.5, window_seconds=2, trials=2, equal_load=())


def scenario(plane: DataPlane, **cluster: Any) -> Scenario:
    return Scenario(name=plane.value, data_plane=plane, method=METHOD, cluster=ClusterSpec(**cluster))


PLAIN, ISTIO, ISTIO_MTLS = map(scenario, (DataPlane.PLAIN, DataPlane.ISTIO, DataPlane.ISTIO_MTLS))


def plan_of(*scenarios: Scenario, **changes: Any) -> Plan:
    return Plan(name="test", scenarios=scenarios or (PLAIN, ISTIO), repeats=2, profile=EKS, **changes)


def probes(disk_mb_s: float, link_mb_s: float, operations_s: float = 1e9) -> list[DiskProbe | NetworkProbe]:
    disk = DiskProbe(tool="t", mode="buffered", write_bytes=1, rate_bytes_s=disk_mb_s * 1e6, seconds=1, repeat=1)
    pages = disk.model_copy(
        update={"mode": "direct", "write_bytes": 4_096, "rate_bytes_s": operations_s * 4_096, "repeat": 1}
    )
    link = NetworkProbe(tool="t", path="direct", flows=4, rate_bytes_s=link_mb_s * 1e6, seconds=1, repeat=1)
    return [disk, pages, link]


def run(directory: Path, plan: Plan, truth: Truth | None = None) -> Run:
    clock = SimulatedClock()
    backend = SimulatedBackend(clock, truth or Truth(noise=0))
    try:
        conduct(plan, backend, directory, command=("t",), effort="default", progress=Silent(), clock=clock)
    finally:
        found = load(directory)
    return found


def test_each_kind_of_host_gets_what_the_profile_has_times_the_scale() -> None:
    found = {(each.host, each.resource, each.component): each.amount for each in hardware.limits(PROFILE, 0.1, ISTIO)}
    assert found["broker-2", "cpu", "kafka"] == pytest.approx(0.4)
    assert found["broker-2", "cpu", "sidecar"] == pytest.approx(0.2)
    assert found["broker-2", "disk", "kafka"] == pytest.approx(40e6)
    assert found["broker-2", "operations", "kafka"] == pytest.approx(2e3)
    assert found["client-1", "network", "kafka"] == pytest.approx(100e6)
    assert found["client-1", "cpu", "client"] == pytest.approx(0.8)
    assert {key for key in found if key[0] == "client-1"} == {
        ("client-1", "cpu", "client"),
        ("client-1", "cpu", "sidecar"),
        ("client-1", "network", "kafka"),
    }
    assert len(found) == 3 * 5 + 3


@pytest.mark.parametrize(("groups", "loading"), [(0, 1), (1, 2), (5, 3)])
def test_clients_have_a_quota_where_load_workers_are(groups: int, loading: int) -> None:
    workload = Workload(subscriptions_per_topic=groups)
    asked = PLAIN.model_copy(update={"cluster": ClusterSpec(clients=3), "workload": workload})
    found = hardware.of_load(hardware.limits(PROFILE, 0.1, asked))
    assert [each.host for each in found] == [f"client-{number}" for number in range(1, loading + 1)]


def test_a_client_s_quota_is_probed_at_the_start_and_held_in_every_trial(tmp_path: Path) -> None:
    done = run(tmp_path / "run", plan_of(PLAIN, scale=0.1), Truth(noise=0, limited_by=("client-1", "cpu")))
    for data in done.rounds:
        (probe,) = (each for each in data.limits if each.limit.component == "client")
        assert probe.measured == pytest.approx(0.8)
        # Two of ten parts of the CPUs that there are: less is carried, since the limit is there again.
        assert all(trial.rate_msg_s < 0.25 * 150_000 for trial in data.trials)


def test_without_sidecars_there_is_nothing_of_them_to_limit() -> None:
    assert not any(each.component == "sidecar" for each in hardware.limits(PROFILE, 0.1, PLAIN))


def test_sidecars_count_only_where_a_scenario_has_them() -> None:
    (cpu,) = hardware.bounds(PROFILE, plan_of(PLAIN), 2)
    assert cpu.needed == 3 * 4 + 8


@pytest.mark.parametrize("cpus", [2, 4, 16])
def test_quotas_together_leave_a_fifth_of_the_machine_to_what_no_quota_holds(cpus: int) -> None:
    scale = hardware.largest_scale(hardware.bounds(PROFILE, plan_of(ISTIO), cpus))
    quotas = [each.amount for each in hardware.limits(PROFILE, scale, ISTIO) if each.resource == "cpu"]
    assert sum(quotas) == pytest.approx(0.8 * cpus, rel=0.01)


def test_a_search_begins_where_limits_let_it_and_not_where_the_warm_up_was(tmp_path: Path) -> None:
    done = run(tmp_path / "run", planfile.furnished(plan_of(PLAIN, scale=0.01)))
    first, second = done.rounds
    assert first.finished
    assert second.finished
    gauged, warm = first.finished.limited_rates_msg_s, first.finished.warmup_rates_msg_s
    assert (len(gauged), second.finished.limited_rates_msg_s) == (GAUGE_SECONDS, ())
    offered = first.trials[0].offered_msg_s
    assert offered == pytest.approx(0.95 * fmean(gauged[-4:]), rel=1e-3)
    assert offered < 0.5 * warm[-1]


def test_a_scale_that_the_machine_cannot_carry_is_told_with_one_that_it_can() -> None:
    with pytest.raises(MissingRequirement, match=r"gives out 14 CPUs .*; this machine has 1\.6 CPUs") as refused:
        settle_hardware(plan_of(scale=0.5), 2)
    assert "at most 0.0571" in refused.value.hint
    with pytest.raises(MissingRequirement, match="MB/s of disk"):
        settle_hardware(plan_of(scale=0.5), 64, probes(100, 90_000))


def test_a_scale_that_disks_do_not_carry_ends_the_run_after_their_probe_and_before_a_broker_starts(
    tmp_path: Path,
) -> None:
    example = str(Path(__file__).parents[2] / "examples" / "document-disks.yaml")
    plan = plan_of(PLAIN, scale=1.0).model_copy(update={"profile": example})
    with pytest.raises(MissingRequirement) as refused:
        run(tmp_path / "run", plan)
    assert "MB/s of disk (disk.writeBytesS of all brokers); this machine has" in refused.value.message
    assert "what the environment's probe of buffered writes found" in refused.value.message
    assert "Use --scale auto, or at most" in refused.value.hint
    done = load(tmp_path / "run")
    assert done.disk_probes
    assert done.rounds == ()
    assert not [event for event in done.events if "starting" in event.text]


def test_limits_are_probed_in_every_round_and_the_report_tells_them(tmp_path: Path) -> None:
    done = run(tmp_path / "run", plan_of(), Truth(noise=0, limited_by=("broker-1", "disk")))
    assert done.hardware is not None
    assert done.hardware.scale == 0.114
    assert [len(data.limits) for data in done.rounds] == [
        14 if data.started.scenario == "plain" else 18 for data in done.rounds
    ]
    assert all(probe.holds and probe.tries == 1 for data in done.rounds for probe in data.limits)
    summary = summarize(done)
    assert summary.hardware is not None
    disk = next(each for each in summary.hardware.limits if (each.host, each.resource) == ("broker-1", "disk"))
    assert disk.of_profile == pytest.approx(437.5e6)
    assert disk.measured == pytest.approx(437.5e6 * 0.114)
    assert disk.probes == 4
    small = next(each for each in summary.hardware.limits if each.resource == "operations")
    assert small.of_profile == pytest.approx(18_750)
    assert small.measured == pytest.approx(18_750 * 0.114)
    text = table(summary)
    assert "EXTRAPOLATION TO EKS-R5.4XLARGE-IO1: FIGURES HERE / 0.114, NOT MEASURED" in text
    assert "Not scaled: fixed costs of the JVM" in " ".join(text.split())


def test_only_what_a_limit_of_the_profile_held_is_extrapolated(tmp_path: Path) -> None:
    plan = plan_of(PLAIN, scenario(DataPlane.ISTIO, disk_write_bytes_s=1e6), scale=0.05)
    done = run(tmp_path / "run", planfile.furnished(plan))
    probed = [probe for data in done.rounds for probe in data.limits]
    whole = summarize(done)

    def told(*limited_by: str) -> Any:
        rows = [row.model_copy(update={"limited_by": limited_by, "rate_msg_s": 100.0}) for row in whole.scenarios]
        return hardware.summary(done.hardware, probed, done.plan, rows, ())

    held = ("broker-2 disk", "broker-1/kafka CPU quota", "broker-3 network", "broker-1 operations of the disk")
    for each in held:
        plain, own = told("I/O stall", each).extrapolated
        assert plain.extrapolated_rate_msg_s == pytest.approx(2_000), each
        assert own.extrapolated_rate_msg_s is None, "its disks are not scaled"
    for other in ((), ("unknown",), ("machine CPU",), ("load generator",), ("broker-1/sidecar CPU quota",)):
        plain, _ = told(*other).extrapolated
        assert plain.extrapolated_rate_msg_s is plain.extrapolated_disk_bytes_s_per_broker is None, other
    found = told("machine CPU")
    grid = extrapolation(whole.model_copy(update={"hardware": found}))
    assert grid is not None
    assert "No figure for plain and istio: what limited there is no limit of the profile" in grid.note


def test_a_scenario_s_own_cap_is_no_figure_of_the_profile_s(tmp_path: Path) -> None:
    plan = plan_of(PLAIN, scenario(DataPlane.ISTIO, disk_write_bytes_s=1e6), scale=0.05)
    found = summarize(run(tmp_path / "run", planfile.furnished(plan)))
    assert found.hardware is not None
    disks = [each for each in found.hardware.limits if (each.host, each.resource) == ("broker-1", "disk")]
    assert [each.of_profile for each in disks] == [None, pytest.approx(437.5e6)]
    assert [each.amount for each in disks] == [1e6, pytest.approx(437.5e6 * 0.05)]
    grid = limits(found)
    assert grid is not None
    assert {"disk writes", "disk operations"} <= set(grid.columns[1].cells)


@pytest.mark.parametrize("disk", ["capped", "both"])
def test_disks_that_a_profile_does_not_limit_cannot_be_asked_for(tmp_path: Path, disk: str) -> None:
    file = tmp_path / "cpus.yaml"
    cpus = "{machine: box, containerCpus: {value: 4, source: me}}"
    file.write_text(f"name: cpus\nsources: {{me: x}}\nbroker: {cpus}\nclient: {cpus}\n", encoding="utf-8")
    plan = plan_of(PLAIN).model_copy(update={"profile": str(file)})
    with pytest.raises(UsageError, match="limits no disk"):
        planfile.unmasked(plan, disk)
    assert planfile.unmasked(plan, "ram").scenarios[0].cluster.storage == "ram"
    own = plan_of(scenario(DataPlane.PLAIN, disk_write_bytes_s=1e6)).model_copy(update={"profile": str(file)})
    assert planfile.unmasked(own, "capped") == own


def test_one_flow_of_the_profile_stands_beside_this_machine_s_and_neither_is_scaled(tmp_path: Path) -> None:
    summary = summarize(run(tmp_path / "run", plan_of(PLAIN, scale=0.1)))
    assert summary.hardware is not None
    flow = summary.hardware.single_flow
    assert flow is not None
    assert flow.profile_bytes_s * 8 == pytest.approx(3.01e9)
    assert flow.full_disk_bytes_s == 437.5e6
    (here,) = (each for each in summary.environment.network if (each.path, each.flows) == ("direct", 1))
    assert (flow.here_bytes_s, flow.here_repeats) == (here.rate_bytes_s, here.repeats)
    said = " ".join(table(summary).split())
    assert "ONE TCP FLOW: THE PROFILE'S FIGURE, AND THIS MACHINE'S" in said
    assert "neither says anything of the other" in said
    assert "all that it writes, 438 MB/s when its disk is full, and one flow carried 376" in said
    assert any(grid.title.startswith("One TCP flow") for grid in grids(summary))


def test_without_a_figure_of_one_flow_or_without_its_probe_nothing_is_made_up(tmp_path: Path) -> None:
    spec = EnvironmentSpec(disk_seconds=0, network_seconds=0)
    unprobed = summarize(run(tmp_path / "unprobed", plan_of(PLAIN, scale=0.05, environment=spec)))
    assert unprobed.hardware is not None
    assert unprobed.hardware.single_flow is not None
    assert unprobed.hardware.single_flow.here_bytes_s is None
    current = plan_of(PLAIN, scale=0.05).model_copy(update={"profile": "eks-m6i.4xlarge-gp3"})
    assert single_flow(summarize(run(tmp_path / "current", current))) is None


def test_over_distances_a_profile_limits_disks_but_no_networks(tmp_path: Path) -> None:
    plan = planfile.loads(
        "name: far\nrepeats: 1\nscale: 0.05\nscenarios: [plain]\n"
        f"profile: {EXAMPLES / 'document-disks.yaml'}\n"
        "cluster: {topology: {clusters: [{name: a, brokers: 2, clients: 1}, {name: b, brokers: 1}],\n"
        "  links: [{ends: [a, b], rttMs: 7}]}}\n",
        "far.yaml",
    )
    (only,) = run(tmp_path / "run", planfile.furnished(plan)).rounds
    assert {probe.limit.resource for probe in only.limits} == {"disk", "operations"}
    with pytest.raises(UsageError, match="cannot be probed"):
        planfile.furnished(plan.model_copy(update={"profile": EKS}))


def test_verify_accepts_limits_of_load_workers_where_older_records_have_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cpus.yaml"
    cpus = "{machine: box, containerCpus: {value: 4, source: me}}"
    file.write_text(f"name: cpus\nsources: {{me: x}}\nbroker: {cpus}\nclient: {cpus}\n", encoding="utf-8")
    plan = planfile.loads(
        f"name: far\nrepeats: 1\nscale: 0.05\nscenarios: [plain]\nprofile: {file}\n"
        "cluster: {clients: 2, topology: {links: [{ends: [a, b], rttMs: 7}],\n"
        "  clusters: [{name: a, brokers: 2, clients: 1}, {name: b, brokers: 1, clients: 1}]}}\n"
        "workload: {producersIn: b}\n",
        "far.yaml",
    )
    with monkeypatch.context() as older:
        older.setattr(Scenario, "load_hosts", property(lambda _: ("client-1",)))
        made = run(tmp_path / "older", planfile.furnished(plan))
    now = run(tmp_path / "now", planfile.furnished(plan))
    for done, host in ((made, "client-1"), (now, "client-2")):
        (data,) = done.rounds
        (own,) = (probe for probe in data.limits if probe.limit.component == "client")
        assert own.limit.host == host
        found = list(limit_findings(done, raw(data), done.plan.scenarios[0]))
        assert found == []
        lacking = replace(data, limits=tuple(probe for probe in data.limits if probe != own))
        (finding,) = limit_findings(done, raw(lacking), done.plan.scenarios[0])
        assert "no probe of client-2" in finding.recorded


SIZED = "gke-n2-standard-16-pd-ssd"


def test_a_broker_s_file_system_is_no_larger_than_the_profile_s_disk(tmp_path: Path) -> None:
    plan = plan_of(PLAIN, log_budget_bytes=9_000_000_000).model_copy(update={"profile": SIZED})
    # A file system of 3.7 GB on 1,000 GiB x scale.
    fits = planfile.furnished(plan.model_copy(update={"scale": 0.0035}))
    assert {scenario.cluster.storage for scenario in fits.scenarios} == {"image"}
    with pytest.raises(NoSpace, match=r"has 3\.22 GB of disk for each broker .* may take 3\.7 GB") as refused:
        planfile.furnished(plan.model_copy(update={"scale": 0.003}))
    assert "lower logBudgetBytes in the plan to 7,694,251,287" in refused.value.hint
    with pytest.raises(NoSpace) as small:
        planfile.furnished(plan.model_copy(update={"scale": 0.0003}))
    assert small.value.hint == "use a larger --scale"
    in_ram = planfile.furnished(planfile.unmasked(plan.model_copy(update={"scale": 0.003}), "ram"))
    assert {scenario.cluster.storage for scenario in in_ram.scenarios} == {"ram"}


def test_a_disk_too_small_at_the_scale_that_was_found_ends_the_run_before_a_broker_starts(tmp_path: Path) -> None:
    plan = planfile.furnished(plan_of(PLAIN, log_budget_bytes=10**12).model_copy(update={"profile": SIZED}))
    with pytest.raises(NoSpace, match="sizeBytes x scale"):
        run(tmp_path / "run", plan)
    assert load(tmp_path / "run").rounds == ()


@pytest.mark.parametrize(
    ("enforced", "advice"), [(1.2, "does not enforce it"), (0.8, "smaller --scale")], ids=["leaks", "is short"]
)
def test_a_limit_that_is_not_what_it_should_be_ends_the_run(tmp_path: Path, enforced: float, advice: str) -> None:
    with pytest.raises(LabError, match="does not hold") as ended:
        run(tmp_path / "run", plan_of(), Truth(noise=0, enforced=enforced))
    assert advice in ended.value.hint
    done = load(tmp_path / "run")
    assert done.finished is not None
    assert done.finished.outcome == "failed"
    assert [data.trials for data in done.rounds] == [()]
    assert {probe.tries for probe in done.rounds[0].limits} == {3}


def test_unlimited_runs_as_without_a_profile(tmp_path: Path) -> None:
    plan = planfile.furnished(plan_of().model_copy(update={"profile": "unlimited"}))
    done = run(tmp_path / "run", plan)
    assert [data.limits for data in done.rounds] == [()] * 4
    assert {each.cluster.storage for each in plan.scenarios} == {"disk"}
    assert "HARDWARE" not in table(summarize(done))


def test_a_profile_with_disks_gives_each_broker_its_own() -> None:
    assert {each.cluster.storage for each in planfile.furnished(plan_of()).scenarios} == {"image"}


def test_with_both_each_scenario_has_its_logs_on_disk_and_in_ram_and_is_compared_with_its_like() -> None:
    plan = planfile.furnished(planfile.unmasked(plan_of(), "both"))
    found = [(each.name, each.cluster.storage, plan.baseline_of(each)) for each in plan.scenarios]
    assert found == [
        ("plain", "image", "plain"),
        ("istio", "image", "plain"),
        ("plain-ram", "ram", "plain-ram"),
        ("istio-ram", "ram", "plain-ram"),
    ]
    assert plan.log_budget_bytes == 6_000_000_000


def test_logs_in_ram_have_every_limit_but_the_disks() -> None:
    (alone,) = planfile.unmasked(plan_of(PLAIN), "ram").scenarios
    assert {each.resource for each in hardware.limits(PROFILE, 0.1, alone)} == {"cpu", "network"}
    found = hardware.bounds(PROFILE, planfile.unmasked(plan_of(PLAIN), "ram"), 64, probes(1, 90_000))
    assert {each.resource for each in found} == {"cpu", "network"}


def test_a_run_with_both_reports_both(tmp_path: Path) -> None:
    done = run(tmp_path / "run", planfile.furnished(planfile.unmasked(plan_of(PLAIN), "both")))
    disks = {
        data.started.scenario: sum(probe.limit.resource == "disk" for probe in data.limits) for data in done.rounds
    }
    assert disks == {"plain": 3, "plain-ram": 0}
    assert {row.name for row in summarize(done).scenarios} == {"plain", "plain-ram"}


def test_with_both_the_mesh_s_cost_stands_side_by_side_with_the_disk_as_limit_and_without(tmp_path: Path) -> None:
    plan = planfile.furnished(planfile.unmasked(plan_of(PLAIN, ISTIO_MTLS, scale=0.05), "both"))
    summary = summarize(run(tmp_path / "run", plan))
    (sweep,) = summary.sensitivity
    capped, in_ram = sweep.points
    assert (sweep.factor, capped.value, in_ram.value) == ("place of the logs", "disk, 21.9 MB/s", "RAM")
    assert (capped.scenario, in_ram.scenario) == ("istio-mtls", "istio-mtls-ram")
    assert capped.loss == pytest.approx(0, abs=0.02)
    assert in_ram.loss == pytest.approx(0.2, abs=0.05)
    shown = table(summary)
    assert "WHAT ISTIO-MTLS COSTS, BY PLACE OF THE LOGS" in shown
    assert "says what the mesh costs where disks are not the limit" in " ".join(shown.split())


@pytest.mark.parametrize(
    ("profile", "disk", "kinds", "longer"),
    [(EKS, None, [5, 5], 7), (EKS, "ram", [3, 3], 7), ("unlimited", None, [0, 0], 0), ("", None, [0, 0], 0)],
)
def test_what_is_probed_takes_time_in_every_round_and_quotas_in_every_trial(
    profile: str, disk: str | None, kinds: list[int], longer: int
) -> None:
    plan = planfile.unmasked(plan_of(), disk).model_copy(update={"profile": profile})
    assert [planfile.kinds_limited(plan, each) for each in plan.scenarios] == kinds
    bare = planfile.estimate_seconds(plan.model_copy(update={"profile": ""}))
    gauges = 8 * sum(kind > 0 for kind in kinds)
    trials = METHOD.trials * len(kinds) * longer
    pages = plan.environment.repeats * plan.environment.disk_seconds * (5 in kinds)
    assert planfile.estimate_seconds(plan) == bare + plan.repeats * (5 * sum(kinds) + trials) + gauges + pages


def test_one_broker_has_no_peer_to_probe_its_link_with() -> None:
    alone = PLAIN.model_copy(
        update={"cluster": ClusterSpec(brokers=1), "workload": Workload(replication_factor=1, topic_config={})}
    )
    with pytest.raises(UsageError, match="two brokers at least"):
        planfile.furnished(plan_of(alone))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--scale", "0.1"], "--scale goes with a profile"),
        (["--profile", EKS, "--scale", "2"], "it takes auto, or a number above 0 and at most 1"),
        (["--profile", EKS, "--scale", "much"], "--scale much is not allowed"),
        (["--profile", "eks-r5"], "no profile is called eks-r5"),
        (["--profile", EKS, "--explain"], "exclude each other"),
        (["--disk", "ram"], "--disk goes with a profile"),
        (["--profile", "unlimited", "--disk", "ram"], "unlimited limits nothing"),
        (["--profile", EKS, "--disk", "tape"], "it takes capped, ram, both"),
    ],
)
def test_the_command_line_refuses_what_cannot_be_meant(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main(["run", "--backend", "simulated", *arguments]) == 2
    assert expected in capsys.readouterr().err


def test_the_json_has_the_profile_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(
        f"name: small\nprofile: {EKS}\nscale: 0.1\nrepeats: 1\nscenarios: [plain]\nmethod: {{trials: 1}}\n",
        encoding="utf-8",
    )
    out = tmp_path / "run"
    assert app.main(["run", str(file), "--backend", "simulated", "--out", str(out)]) == 0
    found = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert (found["hardware"]["profile"], found["hardware"]["scale"]) == (EKS, 0.1)
    assert found["plan"]["profile"] == EKS
