"""What limits, by experiment: elasticities as tables, and whole simulated runs whose limiting resource is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from meshmark import planfile
from meshmark.analysis.explain import Ceilings, candidates, explanation, limiting, probed, title
from meshmark.analysis.limits import UNKNOWN
from meshmark.analysis.summary import summarize
from meshmark.backends.lab import limits as lab_limits
from meshmark.backends.lab.ground import Ground
from meshmark.backends.simulated import SimulatedBackend, SimulatedClock, Truth
from meshmark.data_plane import DataPlane
from meshmark.errors import MissingRequirement
from meshmark.experiment.conductor import conduct
from meshmark.experiment.progress import Silent
from meshmark.plan import ClusterSpec, Method, Plan, Scenario
from meshmark.record import BatchFill, DiskProbe, Limit, LoadTotals, NetworkProbe, Trial
from meshmark.report.limits import explanations
from meshmark.report.table import table
from meshmark.store import load
from tests import trials

METHOD = Method(warmup_seconds=8, settle_seconds=0.5, window_seconds=2, trials=3, arrivals="even", equal_load=())


def blocks(*values: float) -> dict[int, float]:
    return dict(enumerate(values, start=1))


@pytest.mark.parametrize(
    ("elasticities", "named"),
    [
        pytest.param(
            {"machine CPU": blocks(0.9, 1.0, 1.1, 0.95), "disk": blocks(0.1, -0.1, 0.05, 0.0)},
            ("machine CPU",),
            id="one",
        ),
        pytest.param({"a": blocks(0.1, -0.1, 0.05, 0.0), "b": blocks(0.0, 0.1, -0.2, 0.1)}, (UNKNOWN,), id="none"),
        pytest.param(
            {"a": blocks(0.9, 1.0, 1.1, 0.95), "b": blocks(1.0, 0.8, 1.0, 1.1), "c": blocks(0.1, 0.0, 0.0, 0.1)},
            ("a", "b"),
            id="two that cannot be told apart",
        ),
        pytest.param({"a": blocks(0.05, 0.06, 0.05, 0.06), "b": blocks(0, 0, 0, 0)}, (UNKNOWN,), id="its own cost"),
        pytest.param({"a": blocks(1.0), "b": blocks(0.0)}, (UNKNOWN,), id="one block has no chance to tell"),
        pytest.param(
            {"a": blocks(0.5, 0.6, 0.5, 0.6), "b": blocks(1.4, -0.9, 1.2, -0.8)},
            (UNKNOWN,),
            id="another one is too noisy to be ruled out",
        ),
        pytest.param({}, (UNKNOWN,), id="nothing was tried"),
    ],
)
def test_a_resource_limits_if_its_elasticity_stands_out(
    elasticities: dict[str, dict[int, float]], named: tuple[str, ...]
) -> None:
    assert limiting(elasticities) == named


def conducted(
    directory: Path, truth: Truth, *, plane: DataPlane = DataPlane.PLAIN, spec: ClusterSpec | None = None
) -> Path:
    scenario = Scenario(name=str(plane), data_plane=plane, cluster=spec or ClusterSpec(), method=METHOD)
    plan = Plan(name="test", repeats=2, budget_seconds=10_000, explain_blocks=4, scenarios=(scenario,))
    clock = SimulatedClock()
    backend = SimulatedBackend(clock, truth)
    conduct(plan, backend, directory, command=("run",), effort="default", progress=Silent(), clock=clock)
    return directory


def explained(directory: Path) -> list[Trial]:
    return [trial for data in load(directory).rounds for trial in data.trials if trial.purpose == "explain"]


@pytest.mark.parametrize(
    ("limited_by", "spec", "named"),
    [
        pytest.param(("machine", "cpu"), ClusterSpec(), "machine CPU", id="machine"),
        pytest.param(("broker-1", "network"), ClusterSpec(), "broker-1 network", id="a broker's link"),
        pytest.param(("client-1", "network"), ClusterSpec(), "client-1 network", id="a client's link"),
        pytest.param(("broker-1", "disk"), ClusterSpec(storage="image"), "broker-1 disk", id="a broker's disk"),
        pytest.param(("broker-9", "disk"), ClusterSpec(storage="image"), UNKNOWN, id="what was not tried"),
    ],
)
def test_a_run_names_what_its_system_is_limited_by(
    tmp_path: Path, limited_by: tuple[str, str], spec: ClusterSpec, named: str
) -> None:
    done = load(conducted(tmp_path / "run", Truth(limited_by=limited_by), spec=spec))
    (row,) = summarize(done).scenarios
    found = row.explanation
    assert found is not None
    assert found.limited_by == (named,)
    assert found.blocks == 4
    assert found.text.startswith(named)
    for each in found.elasticities:
        assert each.limits == (each.resource == named)
        assert each.elasticity == pytest.approx(1.0 if each.limits else 0.0, abs=0.1)
        assert each.interval is not None


def test_trials_that_explain_come_at_the_end_of_the_last_round_in_drawn_blocks(tmp_path: Path) -> None:
    directory = conducted(tmp_path / "run", Truth(), plane=DataPlane.ISTIO_MTLS)
    trials = explained(directory)
    assert {trial.repeat for trial in trials} == {2}
    assert [trial.number for trial in trials] == list(range(4, 4 + len(trials)))
    orders = []
    for block in (1, 2, 3, 4):
        less = [trial.tightened for trial in trials if trial.tightened and trial.tightened.block == block]
        orders.append([title(each.limit) if each.limit else "" for each in less])
        assert all(each.share == pytest.approx(0.5) for each in less if each.limit)
    one = {"", "machine CPU", "broker-1/kafka CPU", "broker-1/sidecar CPU", "broker-1 network", "client-1 network"}
    assert all(set(order) == one and len(order) == len(one) for order in orders)
    assert len({tuple(order) for order in orders}) > 1


def test_trials_that_explain_count_for_nothing_else(tmp_path: Path) -> None:
    directory = conducted(tmp_path / "run", Truth())
    (with_them,) = summarize(load(directory)).scenarios
    for path in directory.glob("rounds/*/trials.jsonl"):
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        path.write_text("".join(line for line in lines if json.loads(line)["purpose"] != "explain"), encoding="utf-8")
    (without,) = summarize(load(directory)).scenarios
    assert without.explanation is None
    assert with_them.model_copy(update={"explanation": None}) == without


def test_a_round_without_a_valid_trial_is_not_explained_and_says_so(tmp_path: Path) -> None:
    directory = conducted(tmp_path / "run", Truth(proofs_hold=False), plane=DataPlane.ISTIO_MTLS)
    assert explained(directory) == []
    told = [event.text for event in load(directory).events if event.level == "warning"]
    assert "what limits is not looked for: this round has no valid trial" in told


def test_the_table_says_what_was_taken_away_and_what_that_cost(tmp_path: Path) -> None:
    summary = summarize(load(conducted(tmp_path / "run", Truth())))
    grid = explanations(summary)
    assert grid is not None
    assert grid.rows[0][:3] == ("plain", "machine CPU", "50 %")
    assert "machine CPU limits: with 50 % less of it" in grid.note
    assert "WHAT WAS CARRIED WITH LESS OF ONE RESOURCE" in table(summary)


def test_blocks_without_a_sound_trial_beside_them_are_left_out(tmp_path: Path) -> None:
    trials = explained(conducted(tmp_path / "run", Truth()))

    def broken(chosen: Sequence[int]) -> list[Trial]:
        return [
            trial.model_copy(update={"faults": ("it failed",)})
            if trial.tightened and trial.tightened.limit is None and trial.tightened.block in chosen
            else trial
            for trial in trials
        ]

    some, none = explanation(broken([2])), explanation(broken([1, 2, 3, 4]))
    assert some is not None
    assert none is not None
    assert (some.blocks, some.limited_by) == (3, ("machine CPU",))
    assert (none.blocks, none.limited_by, none.text) == (0, (UNKNOWN,), "unknown: no trial of this counts")
    assert explanation([]) is None


def test_of_each_kind_the_host_that_used_most_is_chosen(tmp_path: Path) -> None:
    trial = explained(conducted(tmp_path / "run", Truth()))[0]
    more = {"broker-2/kafka/cpu_user_s": 9.0, "broker-3/net/rx_bytes": 1e12}
    end = {key: value + more.get(key, 0.0) for key, value in trial.counters_end.items()}
    busy = trial.model_copy(update={"counters_end": end})
    scenario = Scenario(name="plain", data_plane=DataPlane.PLAIN)
    found = candidates(busy, scenario, Ceilings(cpus=2, link_bytes_s=1e9, disk_bytes_s=1e9))
    assert [(title(each.limit), each.limit.amount) for each in found if each.limit] == [
        ("machine CPU", 1.0),
        ("broker-2/kafka CPU", 1.0),
        ("broker-3 network", 0.5e9),
        ("client-1 network", 0.5e9),
    ]
    assert len(candidates(busy, scenario, Ceilings(cpus=2, link_bytes_s=None, disk_bytes_s=None))) == 2


@pytest.mark.parametrize("busiest", ["broker-2", "client-1"])
def test_of_all_sidecars_the_one_that_used_most_is_chosen(busiest: str) -> None:
    one = dict.fromkeys(
        (
            f"{host}/sidecar/cpu_{kind}_s"
            for host in ("broker-1", "broker-2", "client-1")
            for kind in ("user", "system")
        ),
        1.0,
    )
    busy = trials.trial(
        window=LoadTotals(),
        batch=BatchFill(records_per_batch=1, bytes_per_batch=1, requests=1, request_bytes=1),
        counters_start=one,
        counters_end={**one, f"{busiest}/sidecar/cpu_user_s": 9.0},
    )
    plane = DataPlane.ISTIO_MTLS_EXCLUDE_REPLICATION
    found = candidates(busy, Scenario(name=plane, data_plane=plane), probed(2, []))
    assert [each.limit.host for each in found if each.limit and each.limit.component == "sidecar"] == [busiest]


def test_what_there_is_comes_from_the_environments_probes() -> None:
    links = [
        NetworkProbe(tool="t", path=path, flows=flows, rate_bytes_s=rate, seconds=1, repeat=1)
        for path, flows, rate in (("direct", 1, 1.0), ("direct", 4, 3.0), ("direct", 4, 5.0), ("sidecars", 4, 9.0))
    ]
    disk = DiskProbe(tool="t", mode="buffered", write_bytes=1, rate_bytes_s=7.0, seconds=1, repeat=1)
    synced = disk.model_copy(update={"mode": "synced", "rate_bytes_s": 1.0})
    assert probed(2, [*links, disk, synced]) == Ceilings(cpus=2, link_bytes_s=4.0, disk_bytes_s=7.0)
    assert probed(2, []) == Ceilings(cpus=2, link_bytes_s=None, disk_bytes_s=None)


def test_an_explanation_takes_time_of_its_own_on_top_of_the_plans() -> None:
    plan = planfile.effort(planfile.builtin("banzai-2019"), "default")
    asked = planfile.explained(plan)
    trials = 2 * 5 + 2 * 6
    assert asked.explain_blocks * sum(map(planfile.explain_trials, asked.scenarios)) == 4 * trials
    assert planfile.explain_seconds(asked) == pytest.approx(4 * trials * 7.5)
    assert asked.budget_seconds > plan.budget_seconds + planfile.explain_seconds(asked)
    assert planfile.estimate_seconds(asked) == planfile.estimate_seconds(plan) + planfile.explain_seconds(asked)


def test_without_root_an_explanation_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab_limits, "outside_uid", lambda: 1000)
    with pytest.raises(MissingRequirement, match="needs root"):
        lab_limits.require_limits()


def test_without_a_controller_for_cpu_an_explanation_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab_limits, "outside_uid", lambda: 0)
    monkeypatch.setattr(lab_limits, "quotas_possible", lambda: False)
    with pytest.raises(MissingRequirement, match="controller `cpu`"):
        lab_limits.require_limits()


def test_nothing_of_the_machine_but_its_cpu_can_be_taken_away() -> None:
    ground = Ground(instance=Path("none"), network=None, data=Path("none"), disks={})  # type: ignore[arg-type]
    whole = lab_limits.limiting(Limit(host="machine", resource="disk", amount=1e6), ground, [])
    with pytest.raises(MissingRequirement, match="disk cannot be limited"), whole:
        pass
