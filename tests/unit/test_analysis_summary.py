"""Whole simulated runs, summed up: headlines, verdicts, warnings; crashed and invalid ones too."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest

from meshmark.analysis.encryption import Hops, proven_hops
from meshmark.analysis.figures import PER_SECOND, figures
from meshmark.analysis.model import ScenarioSummary, Summary
from meshmark.analysis.summary import summarize
from meshmark.backends.simulated import SimulatedBackend, SimulatedClock, Truth
from meshmark.data_plane import DataPlane
from meshmark.errors import ComponentFailed
from meshmark.experiment.conductor import conduct
from meshmark.experiment.progress import Silent
from meshmark.plan import EnvironmentSpec, Method, Plan, Scenario
from meshmark.record import Proof
from meshmark.store import RoundData, load

METHOD = Method(warmup_seconds=8, settle_seconds=0.5, window_seconds=2, trials=3, arrivals="even")
PLANES = (DataPlane.PLAIN, DataPlane.KAFKA_TLS, DataPlane.ISTIO_MTLS)


def plan_of(repeats: int = 3, planes: tuple[DataPlane, ...] = PLANES, **changes: object) -> Plan:
    scenarios = tuple(Scenario(name=plane.value, data_plane=plane, method=METHOD) for plane in planes)
    fields = {"name": "test", "repeats": repeats, "budget_seconds": 10_000, "scenarios": scenarios, **changes}
    return Plan.model_validate(fields)


def conducted(directory: Path, plan: Plan, truth: Truth | None = None) -> Path:
    clock = SimulatedClock()
    backend = SimulatedBackend(clock, truth)
    conduct(plan, backend, directory, command=("run",), effort="default", progress=Silent(), clock=clock)
    return directory


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return conducted(tmp_path_factory.mktemp("runs") / "whole", plan_of())


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def of(summary: Summary, name: str) -> ScenarioSummary:
    return next(scenario for scenario in summary.scenarios if scenario.name == name)


def rewrite(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for record in records:
        change(record)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def rounds(directory: Path, name: str) -> list[Path]:
    return sorted(directory.glob(f"rounds/*-{name}"))


def test_the_headline_is_the_ceiling_that_the_truth_has(whole: Path) -> None:
    summary = summarize(load(whole))
    assert [scenario.name for scenario in summary.scenarios] == [plane.value for plane in PLANES]
    for scenario in summary.scenarios:
        truth = Truth().ceilings_msg_s[scenario.data_plane]
        assert scenario.rate_msg_s == pytest.approx(truth, rel=0.05)
        assert scenario.rate_msg_s is not None
        assert scenario.rate_interval is not None
        assert scenario.rate_interval.low < scenario.rate_msg_s < scenario.rate_interval.high
        assert all(repeat.rate_msg_s == pytest.approx(truth, rel=0.08) for repeat in scenario.repeats)
        assert (scenario.repeats_valid, scenario.repeats_planned, scenario.trials_counted) == (3, 3, 9)
    assert (summary.outcome, summary.rounds_done, summary.rounds_planned) == ("complete", 9, 9)
    assert summary.warnings == ()


def test_a_repeat_s_rates_are_as_measured_and_a_row_s_are_each_message_s_at_its_ceiling(whole: Path) -> None:
    run = load(whole)
    for row in summarize(run).scenarios:
        for repeat in row.repeats:
            stands = next(each.number for each in repeat.trials if each.stands)
            trials = next(data.trials for data in run.rounds if data.started.index == repeat.round_index)
            trial = next(each for each in trials if each.number == stands)
            measured = figures(trial, run.plan.scenario(row.name), run.started.host.cpus)
            assert repeat.measured_msg_s == trial.rate_msg_s
            for name in PER_SECOND:
                assert getattr(repeat, name) == getattr(measured, name), name
        assert row.rate_msg_s is not None
        for name in set(PER_SECOND) - {"consumed_msg_s"}:
            each_message = [getattr(repeat, name) / (repeat.measured_msg_s or 0) for repeat in row.repeats]
            assert getattr(row, name) / row.rate_msg_s == pytest.approx(fmean(each_message)), name


def test_every_trial_tells_what_became_of_its_records(whole: Path) -> None:
    run = load(whole)
    recorded = {
        (data.started.index, trial.number): trial.total.model_dump(by_alias=False)
        for data in run.rounds
        for trial in data.trials
    }
    summary = json.loads(summarize(run).model_dump_json())
    told = {
        (repeat["round_index"], trial["number"]): trial["records"]
        for row in summary["scenarios"]
        for repeat in row["repeats"]
        for trial in repeat["trials"]
    }
    assert told.keys() == recorded.keys()
    for place, records in told.items():
        parts = [records[key] for key in ("acknowledged", "failed", "unknown", "outstanding")]
        assert records["offered"] == sum(parts) > 0
        assert sum(records["errors"].values()) == records["failed"] + records["unknown"]
        assert records.items() <= recorded[place].items()


def test_without_a_ceiling_a_row_s_rates_are_as_measured(copy: Path) -> None:
    first, *others = rounds(copy, "plain")
    for directory in others:
        rewrite(directory / "trials.jsonl", rain)
    rewrite(first / "trials.jsonl", rain_on_the_first)
    row = of(summarize(load(copy)), "plain")
    assert (row.rate_msg_s, row.ceilings[0].reason, row.repeats_valid) == (None, "not enough trials", 1)
    (repeat,) = (each for each in row.repeats if each.valid)
    (trial,) = (each for each in repeat.trials if each.stands)
    assert repeat.rate_msg_s not in (None, trial.rate_msg_s), "its life has a ceiling, and that lies beside the trial"
    assert row.measured_msg_s == repeat.measured_msg_s == trial.rate_msg_s
    for name in PER_SECOND:
        assert getattr(row, name) == getattr(repeat, name), name


def test_results_stay_below_what_the_environment_gave(whole: Path) -> None:
    summary = summarize(load(whole))
    assert [(row.scenario, row.resource, row.above) for row in summary.against_environment] == [
        (plane.value, resource, False) for plane in PLANES for resource in ("disk", "network")
    ]
    for row in summary.against_environment:
        assert row.rate_msg_s == pytest.approx(Truth().ceilings_msg_s[DataPlane(row.scenario)], rel=0.08)
    plain = summary.against_environment[0]
    assert plain.used_bytes_s == pytest.approx(150_000 * 521 * 3 * 0.9, rel=0.05)
    assert plain.ceiling_msg_s == pytest.approx(400e6 / (521 * 3), rel=0.01)


def test_a_result_that_the_disk_cannot_have_taken_is_a_warning(tmp_path: Path) -> None:
    truth = Truth(ceilings_msg_s={DataPlane.PLAIN: 350_000.0}, per_client_msg_s=340_000.0)
    summary = summarize(load(conducted(tmp_path / "run", plan_of(1, (DataPlane.PLAIN,)), truth)))
    assert [(row.resource, row.above) for row in summary.against_environment] == [("disk", True), ("network", False)]
    assert "is a result above what the environment gave without Kafka" in summary.warnings[0]


def test_latency_at_equal_load_is_told_for_every_scenario(whole: Path) -> None:
    summary = summarize(load(whole))
    loads = [scenario.equal_loads for scenario in summary.scenarios]
    assert all(len(each) == 1 for each in loads)
    assert len({each.offered_msg_s for (each,) in loads}) == 1
    for (each,) in loads:
        assert each.repeats_valid == 2
        assert each.latency.p50_s is not None
        assert each.latency.p99_s is not None
        assert 0 < each.latency.p50_s <= each.latency.p99_s
    assert loads[0][0].added_p99 is None
    added = loads[1][0].added_p99
    assert added is not None
    assert (added.pairs, added.interval is None) == (2, False)


def test_losses_are_told_with_their_interval(whole: Path) -> None:
    summary = summarize(load(whole))
    mesh = of(summary, "istio-mtls")
    assert mesh.verdict == "slower"
    assert mesh.loss_vs_plain == pytest.approx(0.2, abs=0.05)
    assert mesh.loss_interval is not None
    assert 0 < mesh.loss_interval.low < mesh.loss_interval.high < 1
    assert "% slower (95 % interval" in mesh.verdict_text
    plain = of(summary, "plain")
    assert (plain.verdict, plain.loss_vs_plain, plain.loss_interval) == ("baseline", None, None)


def test_costs_and_hops_are_those_of_the_model(whole: Path) -> None:
    summary = summarize(load(whole))
    mesh, plain = of(summary, "istio-mtls"), of(summary, "plain")
    assert mesh.cpu_s_per_gb.brokers == pytest.approx(18, rel=0.01)
    assert mesh.cpu_s_per_gb.sidecars == pytest.approx(7, rel=0.01)
    assert plain.cpu_s_per_gb.sidecars is None
    assert mesh.unattributed_share == pytest.approx(0.005, rel=0.1)
    assert mesh.packets_per_mb == pytest.approx(90, rel=0.01)
    assert (mesh.encrypted_hops, plain.encrypted_hops) == (("client-broker", "broker-broker"), ())
    assert mesh.repeats[0].path
    assert all(proof.holds for proof in mesh.repeats[0].proofs)


def test_hops_are_not_known_to_be_encrypted_where_a_proof_fails_or_is_missing(whole: Path) -> None:
    run = load(whole)

    def told(proofs: Callable[[Proof], tuple[Proof, ...]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        last = max(place for place, data in enumerate(run.rounds) if data.started.scenario == "istio-mtls")
        rounds = [
            replace(data, proofs=tuple(each for proof in data.proofs for each in proofs(proof)))
            if place == last or proofs is none
            else data
            for place, data in enumerate(run.rounds)
        ]
        mesh = of(summarize(replace(run, rounds=tuple(rounds))), "istio-mtls")
        return mesh.encrypted_hops, mesh.plain_hops

    def none(_: Proof) -> tuple[Proof, ...]:
        return ()

    assert told(lambda proof: (proof,))[0] == ("client-broker", "broker-broker")
    assert told(lambda proof: (proof.model_copy(update={"holds": False}),)) == ((), ())
    assert told(none) == ((), ())
    assert told(lambda proof: (proof.model_copy(update={"hop": "broker-broker"}),)) == ((), ())


def test_who_encrypts_is_told_by_the_rounds_that_have_it_and_by_none_that_differ(whole: Path) -> None:
    """Older rounds of a run that went on have none."""
    run = load(whole)
    rounds = [data for data in run.rounds if data.started.scenario == "istio-mtls"]

    def by(first: dict[str, str]) -> RoundData:
        assert rounds[0].finished is not None
        return replace(rounds[0], finished=rounds[0].finished.model_copy(update={"encrypted_by": first}))

    hops = proven_hops([by({}), *rounds[1:]])
    assert hops == proven_hops(rounds)
    assert dict(hops.by) == {"client-broker": "envoy", "broker-broker": "envoy"}
    assert proven_hops([by({})]).encrypted == ("client-broker", "broker-broker")
    assert proven_hops([by({"client-broker": "kafka"}), *rounds[1:]]) == Hops()


def test_json_has_the_keys_that_were_promised_and_reads_back(whole: Path) -> None:
    summary = summarize(load(whole))
    printed = json.loads(summary.model_dump_json())
    assert printed.keys() >= {"schema_version", "plan", "environment", "scenarios"}
    promised = {"name", "rate_msg_s", "disk_bytes_s_per_broker", "loss_vs_plain", "packets_per_mb", "cpu_s_per_gb"}
    for scenario in printed["scenarios"]:
        assert scenario.keys() >= promised | {"encrypted_hops", "repeats", "limited_by"}
        assert scenario["cpu_s_per_gb"].keys() >= {"brokers", "sidecars", "clients", "meshmark", "unattributed"}
    assert Summary.model_validate(printed) == summary


def test_the_self_test_of_the_generator_is_told_stop_by_stop(whole: Path) -> None:
    told = summarize(load(whole)).self_test
    assert told is not None
    assert (told.round_index, told.holds, told.contradictions) == (1, True, ())
    assert {stop.target for stop in told.stops} == {"load worker", "broker"}
    for stop in told.stops:
        assert stop.holds is (stop.low <= stop.counted <= stop.high)


def test_the_environment_tells_what_sidecars_and_mtls_cost_plain_tcp(whole: Path) -> None:
    network = {(ceiling.path, ceiling.flows): ceiling for ceiling in summarize(load(whole)).environment.network}
    direct, mtls = network["direct", 1], network["sidecars-mtls", 1]
    assert (direct.loss_vs_direct, direct.repeats) == (None, 2)
    assert mtls.loss_vs_direct == pytest.approx(1 - 0.7 / 1.2)
    assert mtls.loss_vs_sidecars is None, "this plan has no scenario with sidecars and without mTLS"


def test_scenarios_that_do_not_differ_are_not_told_apart(tmp_path: Path) -> None:
    truth = Truth(ceilings_msg_s=dict.fromkeys(DataPlane, 100_000.0), noise=0.02)
    found = of(summarize(load(conducted(tmp_path / "run", plan_of(), truth))), "kafka-tls")
    assert found.verdict == "cannot tell"
    assert found.verdict_text.startswith("cannot tell: 95 % interval")


def test_one_repeat_has_no_interval_of_its_loss_and_says_so(tmp_path: Path) -> None:
    summary = summarize(load(conducted(tmp_path / "run", plan_of(repeats=1))))
    found = of(summary, "kafka-tls")
    assert (found.verdict, found.loss_interval) == ("cannot tell", None)
    assert found.loss_vs_plain == pytest.approx(0.25, abs=0.06)
    assert any(text.startswith("one valid repeat, so") and "kafka-tls" in text for text in summary.warnings)
    assert any(text.startswith("too few trials to show") and "kafka-tls (3)" in text for text in summary.warnings)


def test_without_the_baseline_there_are_rates_and_no_losses(tmp_path: Path) -> None:
    plan = plan_of(repeats=2, planes=(DataPlane.ISTIO,))
    summary = summarize(load(conducted(tmp_path / "run", plan)))
    (found,) = summary.scenarios
    assert (found.verdict, found.loss_vs_plain) == ("no data", None)
    assert found.rate_msg_s is not None
    assert any("baseline plain is not among the scenarios" in warning for warning in summary.warnings)


def rain(trial: dict[str, object]) -> None:
    trial.update(faults=["it rained"])


def rain_on_the_first(trial: dict[str, object]) -> None:
    if trial["number"] == 1:
        rain(trial)


def test_an_invalid_trial_is_listed_and_never_in_a_headline(copy: Path) -> None:
    before = of(summarize(load(copy)), "plain")
    rewrite(rounds(copy, "plain")[0] / "trials.jsonl", rain)

    summary = summarize(load(copy))
    after = of(summary, "plain")
    invalid = after.repeats[0]
    assert (invalid.valid, invalid.rate_msg_s, invalid.chosen) == (False, None, "no valid trial")
    assert invalid.trials[0].rate_msg_s == before.repeats[0].trials[0].rate_msg_s
    assert invalid.trials[0].reasons == ("it rained",)
    assert (after.repeats_valid, after.trials_counted) == (2, before.trials_counted - 3)
    assert any(w.startswith("plain, repeat 1 does not count: ") and "it rained" in w for w in summary.warnings)


def test_a_scenario_without_a_valid_trial_has_no_figures(copy: Path) -> None:
    for directory in rounds(copy, "kafka-tls"):
        rewrite(directory / "trials.jsonl", rain)
    found = of(summarize(load(copy)), "kafka-tls")
    assert (found.verdict, found.rate_msg_s, found.repeats_valid) == ("no data", None, 0)
    assert (found.limited_by, found.evidence, found.equal_loads) == ((), (), ())


def test_a_round_cut_by_a_crash_counts_with_what_it_has(copy: Path) -> None:
    (copy / "finished.json").unlink()
    last = max(copy.glob("rounds/*"))
    (last / "finished.json").unlink()
    summary = summarize(load(copy))
    cut = next(r for s in summary.scenarios for r in s.repeats if r.round_index == 9)
    assert summary.outcome == "unfinished"
    assert summary.rounds_done == 8
    assert cut.valid
    assert any("no end" in warning for warning in summary.warnings)


@pytest.mark.parametrize("death_s", [1.0, 12.0, 20.0])
def test_whatever_a_failed_run_measured_is_summed_up(tmp_path: Path, death_s: float) -> None:
    with pytest.raises(ComponentFailed):
        conducted(tmp_path / "run", plan_of(), Truth(broker_dies_after_s=death_s))
    summary = summarize(load(tmp_path / "run"))
    assert summary.outcome == "failed"
    assert any("the run failed: kafka on broker-2 died" in warning for warning in summary.warnings)
    assert any("1 of 9 rounds were run" in warning for warning in summary.warnings)


def test_a_run_with_nothing_but_its_plan_is_summed_up(copy: Path) -> None:
    for name in ("finished.json", "events.jsonl", "environment.jsonl"):
        (copy / name).unlink()
    shutil.rmtree(copy / "rounds")
    summary = summarize(load(copy))
    assert [scenario.verdict for scenario in summary.scenarios] == ["baseline", "no data", "no data"]
    assert (summary.environment.disk, summary.environment.network, summary.seconds) == ((), (), None)


def test_a_generator_that_is_late_is_the_limit_and_there_is_no_ceiling(tmp_path: Path) -> None:
    plan = plan_of(repeats=2, planes=(DataPlane.PLAIN,))
    summary = summarize(load(conducted(tmp_path / "run", plan, Truth(generator_delay_s=0.05))))
    (found,) = summary.scenarios
    assert found.rate_msg_s is None
    assert found.ceilings[0].reason == "not reached: the client was the limit"
    assert found.limited_by == ("load generator",)
    assert any("no ceiling for any latency" in warning for warning in summary.warnings)


def test_a_path_that_was_not_taken_counts_nowhere(tmp_path: Path) -> None:
    plan = plan_of(repeats=2, planes=(DataPlane.PLAIN, DataPlane.ISTIO))
    summary = summarize(load(conducted(tmp_path / "run", plan, Truth(proxied_share=0.6))))
    assert of(summary, "plain").repeats_valid == 2
    assert of(summary, "istio").repeats_valid == 0
    assert any("does not explain" in warning for warning in summary.warnings)


def test_unattributed_cpu_time_makes_the_ledger_unusable(copy: Path) -> None:
    def others_ran(trial: dict[str, object]) -> None:
        counters = trial["countersEnd"]
        assert isinstance(counters, dict)
        counters["machine/cpu/idle_s"] -= 3.0

    for directory in rounds(copy, "plain"):
        rewrite(directory / "trials.jsonl", others_ran)
    warnings = summarize(load(copy)).warnings
    assert any(text.startswith("plain: ") and "CPU per GB is unusable" in text for text in warnings)


def test_skipped_probes_are_told(tmp_path: Path) -> None:
    plan = plan_of(planes=(DataPlane.PLAIN,), environment=EnvironmentSpec(disk_seconds=0, network_seconds=0))
    warnings = summarize(load(conducted(tmp_path / "run", plan))).warnings
    assert warnings == ("disk and network were not probed: ceilings of this machine are unknown",)
