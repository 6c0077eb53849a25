"""`verify`: a sound run is called sound, a crashed one incomplete, and whoever tampers is caught.

A forger here recomputes all hashes (`forge`), unless a test says otherwise: what is caught then is caught by what the
record's files say of each other.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from meshmark import planfile, seal
from meshmark.analysis.summary import summarize
from meshmark.analysis.verify import WITH_DIGEST, WITHOUT_DIGEST, Verification, verify
from meshmark.backends.simulated import Truth
from meshmark.cli import app
from meshmark.data_plane import DataPlane
from meshmark.errors import ComponentFailed, RecordError
from meshmark.plan import ClusterSpec, EnvironmentSpec, Workload
from tests.mutants.record import (
    FORGERIES,
    Json,
    Tamper,
    added,
    begun_earlier,
    change,
    change_lines,
    consistent,
    cut,
    drop_round,
    forge,
    in_file,
    leaves,
    lines,
    linked_file,
    linked_folder,
    linked_round,
    put,
    remove,
    round_of,
    same_number,
    write_lines,
)
from tests.unit.test_conductor import METHOD, plan_of, run


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three data planes with a report beside it, as `meshmark run` leaves it."""
    directory = tmp_path_factory.mktemp("verify") / "run"
    cluster = ClusterSpec(broker_config={"num.io.threads": 4})
    plan = plan_of(DataPlane.PLAIN, DataPlane.ISTIO, DataPlane.ISTIO_MTLS)
    plan = plan.model_copy(
        update={"scenarios": tuple(each.model_copy(update={"cluster": cluster}) for each in plan.scenarios)}
    )
    done = run(directory, plan)
    (directory / "summary.json").write_text(summarize(done).model_dump_json(indent=1))
    return directory


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "run")


def files(found: Verification) -> str:
    return "; ".join(f"{each.file}: {each.recorded}: {each.follows}" for each in found.findings)


def test_a_run_is_sound_and_stays_so_when_it_is_reported(original: Path) -> None:
    found = verify(original)
    assert (found.verdict, files(found), found.missing) == ("sound", "", ())
    assert (found.checked.rounds, found.checked.trials) == (6, 15)
    assert [headline.scenario for headline in found.headlines] == ["plain", "istio", "istio-mtls"]
    assert all(headline.rate_msg_s for headline in found.headlines)


@pytest.mark.parametrize(
    "changes",
    [
        {"workload": Workload(subscriptions_per_topic=2, consumer_per_subscription=3)},
        {"explain_blocks": 2, "repeats": 1},
        {"method": METHOD.model_copy(update={"equal_load": (0.3, 0.6), "load_bytes_s": 5e6, "arrivals": "poisson"})},
        {"budget_seconds": 200, "repeats": 3},
        {"method": METHOD.model_copy(update={"equal_load": (), "trials": 5}), "budget_seconds": 230},
    ],
    ids=["consumers", "explained", "several loads", "rounds left out", "trials left out"],
)
def test_whatever_a_plan_asks_for_a_run_of_it_is_sound(tmp_path: Path, changes: Json) -> None:
    run(tmp_path / "run", plan_of(DataPlane.PLAIN, DataPlane.KAFKA_TLS, DataPlane.ISTIO_MTLS, **changes))
    found = verify(tmp_path / "run")
    assert (found.verdict, files(found)) == ("sound", "")


@pytest.mark.parametrize(
    "truth", [Truth(proxied_share=0.95), Truth(proofs_hold=False), Truth(generator_delay_s=0.02)], ids=str
)
def test_a_run_without_a_valid_trial_is_still_a_sound_record(tmp_path: Path, truth: Truth) -> None:
    run(tmp_path / "run", plan_of(DataPlane.PLAIN, DataPlane.ISTIO_MTLS), truth)
    found = verify(tmp_path / "run")
    assert (found.verdict, files(found)) == ("sound", "")


@pytest.mark.parametrize(
    ("tamper", "file"),
    [pytest.param(tamper, file, id=name) for name, tamper, file in FORGERIES],
)
def test_a_forgery_with_all_hashes_recomputed_is_caught(copy: Path, tamper: Tamper, file: str) -> None:
    tamper(copy)
    forge(copy)
    found = verify(copy)
    assert found.verdict == "not sound"
    assert file in files(found)
    assert not [each for each in found.findings if seal.NAME in each.file]


def test_an_edge_of_a_window_is_held_to_the_reports_around_it_with_consumers_too(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    run(directory, plan_of(DataPlane.PLAIN, workload=Workload(subscriptions_per_topic=1)))
    begun_earlier(directory, share=0.5)
    forge(directory)
    found = verify(directory)
    assert [(each.file.rpartition("/")[2], each.recorded.rpartition(", ")[2]) for each in found.findings] == [
        ("trials.jsonl:1", "at an edge of the window")
    ]


@pytest.mark.parametrize(("conclusive", "notes"), [(True, 0), (False, 1)])
def test_a_self_test_from_before_its_answer_was_required_is_noted_and_not_held_against_the_run(
    copy: Path, conclusive: bool, notes: int
) -> None:
    def older(found: list[Json]) -> None:
        put(found[0], "checks.0.caughtUp", conclusive)
        del found[0]["answerRequired"]

    change_lines(next(copy.glob("rounds/001-*/selftests.jsonl")), older)
    (copy / "summary.json").unlink()
    forge(copy)
    found = verify(copy)
    assert (found.verdict, files(found)) == ("sound", "")
    assert len([note for note in found.notes if "the self-test is not conclusive" in note]) == notes


def with_logs(directory: Path) -> None:
    """As real brokers begin theirs, and versions to match."""
    for folder in directory.glob("rounds/*"):
        (folder / "logs").mkdir()
        for number in (1, 2, 3):
            words = 'openjdk version "25.0.2" 2026-01-20\nINFO Kafka version: 4.4.0 (AppInfoParser)\n'
            (folder / "logs" / f"broker-{number}-broker.log").write_text(words)
    change(directory / "started.json", lambda started: started["versions"].update(kafka="4.4.0", java="25.0.2"))
    (directory / "summary.json").unlink()
    forge(directory)


@pytest.mark.parametrize(("program", "said"), [("java", "Java 25.0.2"), ("kafka", "Kafka 4.4.0")])
def test_brokers_say_which_versions_ran(copy: Path, program: str, said: str) -> None:
    with_logs(copy)
    assert verify(copy).verdict == "sound"
    change(copy / "started.json", lambda started: started["versions"].update({program: "9.9.9"}))
    forge(copy)
    found = verify(copy)
    assert found.verdict == "not sound"
    assert f"broker-1-broker.log: {said}: started.json says {program} 9.9.9" in files(found)


def test_a_broker_of_another_java_is_caught(copy: Path) -> None:
    with_logs(copy)
    log = round_of(copy, "istio") / "logs" / "broker-3-broker.log"
    log.write_text(log.read_text().replace("25.0.2", "21.0.1"))
    forge(copy)
    found = verify(copy)
    assert [(each.file.partition("/logs/")[2], each.recorded) for each in found.findings] == [
        ("broker-3-broker.log", "Java 21.0.1")
    ]


@pytest.mark.parametrize("program", ["python", "librdkafka"])
def test_versions_that_nothing_else_records_are_outside_the_claim(original: Path, copy: Path, program: str) -> None:
    digest = verify(original).digest
    (copy / "summary.json").unlink()
    change(copy / "started.json", lambda started: started["versions"].update({program: "9.9.9"}))
    forge(copy)
    found = verify(copy)
    assert (found.verdict, found.claim) == ("sound", WITHOUT_DIGEST)
    assert verify(copy, digest).verdict == "not sound"


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run under a profile."""
    directory = tmp_path_factory.mktemp("limited") / "run"
    plan = plan_of(DataPlane.PLAIN, repeats=1, profile="eks-r5.4xlarge-io1", scale=0.05)
    run(directory, planfile.furnished(plan))
    return directory


def of_limits(edit: Callable[[list[Json]], object]) -> Tamper:
    return lambda directory: change_lines(round_of(directory, "plain", repeat=1) / "limits.jsonl", edit)


@pytest.mark.parametrize(
    ("tamper", "found"),
    [
        (of_limits(lambda probes: probes.pop()), "limits.jsonl: no probe of client-1 network: the profile limits it"),
        (of_limits(list.clear), "limits.jsonl: no probe of broker-1/kafka CPU quota, "),
        (
            of_limits(lambda probes: put(probes[0], "limit.amount", 0.21)),
            "limits.jsonl:1: broker-1/kafka CPU quota: 0.21: the profile times its scale is 0.2",
        ),
        (of_limits(lambda probes: put(probes[1], "limit.host", "broker-9")), "limits.jsonl:2: broker-9/kafka CPU"),
        (
            of_limits(lambda probes: put(probes[0], "measured", lambda value: value * 1.1)),
            "a limit that is off by more than 5 % ends the run",
        ),
        (in_file("hardware.json", "scale", 0.1), "hardware.json: scale 0.1: what was allowed gives 0.05"),
        (in_file("hardware.json", "asked", "auto"), "hardware.json: scale auto was asked for: the plan says 0.05"),
        (lambda run: (run / "hardware.json").unlink(), "hardware.json: no hardware: the plan has the profile eks"),
    ],
    ids=["one less", "none", "another amount", "of another host", "off", "scale", "asked", "no hardware"],
)
def test_limits_are_those_of_the_profile_and_held(limited: Path, tmp_path: Path, tamper: Tamper, found: str) -> None:
    assert (verify(limited).verdict, files(verify(limited))) == ("sound", "")
    changed = shutil.copytree(limited, tmp_path / "run")
    tamper(changed)
    forge(changed)
    assert found in files(verify(changed))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of another plan on another machine, at the same hour."""
    directory = tmp_path_factory.mktemp("other") / "run"
    plan = plan_of(DataPlane.PLAIN, DataPlane.ISTIO, seed=3, environment=EnvironmentSpec(flows=8))
    run(directory, plan, Truth(ceilings_msg_s=dict.fromkeys(DataPlane, 90_000.0)))
    change(directory / "started.json", lambda started: started.update(clockOffsetS=1.0))
    return directory


@pytest.mark.parametrize("file", ["plan.json", "started.json", "series.jsonl", "intervals.jsonl", "environment.jsonl"])
def test_another_runs_file_is_caught(copy: Path, other: Path, file: str) -> None:
    source, target = (other, copy) if (copy / file).exists() else (round_of(other, "plain"), round_of(copy, "plain"))
    shutil.copy(source / file, target / file)
    forge(copy)
    assert verify(copy).verdict == "not sound"


@pytest.mark.parametrize(
    ("tamper", "file"),
    [
        pytest.param(same_number, "series.jsonl", id="a digit that nothing else depends on"),
        pytest.param(added, "broker-1-broker.log", id="an added file"),
        pytest.param(lambda run: (run / "notes.txt").write_text("x"), "notes.txt", id="an added file at the top"),
        pytest.param(linked_file, "outages.jsonl", id="an added link to a file"),
        pytest.param(linked_folder, "/logs: ", id="an added link to a folder"),
        pytest.param(linked_round, "rounds/", id="a round that is a link"),
        pytest.param(remove("config/broker-1.properties"), "broker-1.properties", id="a removed file"),
        pytest.param(cut("series.jsonl", 0.9), "series.jsonl", id="a truncated tail"),
        pytest.param(lambda run: (run / "plan.json").unlink(), "plan.json", id="no plan"),
        pytest.param(lambda run: (run / "started.json").write_text("{"), "started.json", id="half a file"),
        pytest.param(drop_round(1), "rounds/", id="a dropped round"),
    ],
)
def test_what_changes_after_the_run_breaks_the_chain(copy: Path, tamper: Tamper, file: str) -> None:
    digest = seal.head(copy)
    tamper(copy)
    found = verify(copy, digest)
    assert (found.verdict, found.digest) == ("not sound", digest)
    assert file in files(found)


def test_a_consistent_forgery_is_outside_the_claim_and_caught_by_its_digest(original: Path, copy: Path) -> None:
    digest = seal.head(original)
    consistent(copy)
    found = verify(copy)
    assert (found.verdict, found.claim) == ("sound", WITHOUT_DIGEST)
    assert digest is not None
    proved = verify(copy, digest)
    assert proved.verdict == "not sound"
    assert [each.file for each in proved.findings] == [seal.NAME]
    assert proved.claim not in (WITH_DIGEST, WITHOUT_DIGEST)


def test_with_its_digest_a_run_is_proved(original: Path) -> None:
    found = verify(original, seal.head(original))
    assert (found.verdict, found.claim) == ("sound", WITH_DIGEST)


def test_files_that_changed_are_not_what_the_digest_stands_for(copy: Path) -> None:
    same_number(copy)
    found = verify(copy, seal.head(copy))
    assert found.verdict == "not sound"
    assert found.claim not in (WITH_DIGEST, WITHOUT_DIGEST)


def test_a_report_that_tells_something_else_is_caught_and_other_wording_is_not(copy: Path) -> None:
    change(copy / "summary.json", lambda told: put(told, "scenarios.1.verdict_text", "quick as plain"))
    assert verify(copy).verdict == "sound"
    change(copy / "summary.json", lambda told: put(told, "scenarios.1.rate_msg_s", lambda rate: rate * 1.01))
    found = verify(copy)
    assert found.verdict == "not sound"
    assert "summary.json: scenarios[1].rate_msg_s" in files(found)
    change(copy / "summary.json", lambda told: put(told, "scenarios.2.encrypted_hops.1", "application-sidecar"))
    assert "summary.json: scenarios[2].encrypted_hops[1]" in files(verify(copy))
    (copy / "summary.json").write_text("[1")
    assert "summary.json: no JSON" in files(verify(copy))


def test_a_report_of_another_version_is_told_and_not_held_against_the_run(copy: Path) -> None:
    for file in ("started.json", "summary.json"):
        edit = in_file(file, "versions.meshmark" if file == "started.json" else "started.versions.meshmark", "0.0.9")
        edit(copy)
    change(copy / "summary.json", lambda told: put(told, "scenarios.1.rate_msg_s", 1.0))
    forge(copy)
    found = verify(copy)
    assert found.verdict == "sound"
    assert any("another version" in note and "rate_msg_s" in note for note in found.notes)


@pytest.mark.parametrize("named", [True, False])
def test_a_report_by_another_estimator_of_ceilings_is_told_and_not_judged(copy: Path, *, named: bool) -> None:
    def by_another(summary: dict[str, object]) -> None:
        summary["estimator"] = 1
        if not named:
            del summary["estimator"]

    change(copy / "summary.json", by_another)
    change(copy / "summary.json", lambda told: put(told, "scenarios.1.rate_msg_s", 1.0))
    found = verify(copy)
    assert found.verdict == "sound"
    assert any("by another estimator of ceilings" in note for note in found.notes)


def test_a_report_is_written_again_without_harm(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copy / "summary.json").unlink()
    assert app.main(["report", str(copy), "-o", "json", "--out", str(copy / "report.json")]) == 0
    (copy / "report.html").write_text("<html>")
    assert app.main(["verify", str(copy)]) == 0
    assert "report.html is made from the record and was not judged" in capsys.readouterr().out


@pytest.mark.parametrize("sealed_rounds", [0, 1, 3])
def test_a_run_that_crashed_is_incomplete(copy: Path, sealed_rounds: int) -> None:
    """As a kill leaves it, in the round after."""
    folders = sorted(copy.glob("rounds/*"))
    half = folders[sealed_rounds]
    for folder in folders[sealed_rounds + 1 :]:
        shutil.rmtree(folder)
    (half / "finished.json").unlink()
    (copy / "finished.json").unlink()
    (copy / "summary.json").unlink()
    begun = json.loads((half / "started.json").read_text())["timeS"]
    events = [event for event in lines(copy / "events.jsonl") if event["timeS"] <= begun + 40]
    write_lines(copy / "events.jsonl", events)
    for name in ("trials.jsonl", "intervals.jsonl", "series.jsonl"):
        kept = [each for each in lines(half / name) if each.get("endedS", each.get("timeS")) <= begun + 40]
        write_lines(half / name, kept)
        with (half / name).open("a") as file:
            file.write('{"timeS": 1')
    chain = (copy / seal.NAME).read_text().splitlines(keepends=True)
    ends = [place for place, line in enumerate(chain) if "events.jsonl" in line]
    (copy / seal.NAME).write_text("".join(chain[: ends[sealed_rounds]]))
    found = verify(copy)
    assert (found.verdict, files(found)) == ("incomplete", "")
    assert found.missing


def test_a_run_that_was_interrupted_is_incomplete_and_sealed(tmp_path: Path) -> None:
    with pytest.raises(ComponentFailed):
        run(tmp_path / "run", plan_of(DataPlane.PLAIN), Truth(broker_dies_after_s=29.5))
    found = verify(tmp_path / "run", seal.head(tmp_path / "run"))
    assert (found.verdict, files(found)) == ("incomplete", "")
    assert found.claim == WITH_DIGEST
    assert any("broker-2 died" in text for text in found.missing)
    first_trial_of = next((tmp_path / "run").glob("rounds/*/trials.jsonl"))
    change_lines(first_trial_of, lambda found: put(found[0], "window.acknowledged", lambda n: n + 1))
    assert verify(tmp_path / "run").verdict == "not sound"


def test_a_run_without_a_chain_is_incomplete(copy: Path) -> None:
    (copy / seal.NAME).unlink()
    found = verify(copy)
    assert (found.verdict, found.digest) == ("incomplete", None)
    assert "there is no digests.jsonl" in found.missing[0]


@pytest.mark.parametrize("name", ["plan.json", "summary.json", "rounds/001-plain/series.jsonl"])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(copy: Path, name: str) -> None:
    (path,) = copy.glob(name.replace("001-plain", "001-*"))
    path.unlink()
    os.mkfifo(path)
    assert verify(copy).verdict == ("sound" if name == "summary.json" else "not sound")


@pytest.mark.parametrize("name", ["started.json", "summary.json", "rounds/*-istio-mtls/config/broker-1.envoy.json"])
def test_a_file_that_is_nested_too_deeply_is_a_finding(copy: Path, name: str) -> None:
    path = next(copy.glob(name))
    path.write_text("[" * 10_000)
    found = verify(copy)
    assert found.verdict == "not sound"
    assert str(path.relative_to(copy)) in files(found)


def test_a_chain_whose_tail_is_gone_is_never_sound(copy: Path) -> None:
    text = (copy / seal.NAME).read_text().splitlines(keepends=True)
    for keep in (len(text) - 1, len(text) // 2, 1):
        (copy / seal.NAME).write_text("".join(text[:keep]))
        assert verify(copy).verdict == "incomplete"


@pytest.mark.parametrize("seed", range(12))
def test_whatever_stands_in_a_file_the_answer_is_a_verdict(copy: Path, seed: int) -> None:
    """A value replaced anywhere, all hashes recomputed: never an error of ours."""
    source = random.Random(seed)
    apart = {copy / seal.NAME, copy / "summary.json", *copy.glob("rounds/*/config/*")}
    path = source.choice(sorted(set(copy.rglob("*.json*")) - apart))
    values = lines(path) if path.suffix == ".jsonl" else [json.loads(path.read_text())]
    for _ in range(3):
        where, key = source.choice(list(leaves(source.choice(values))))
        old = where[key]
        where[key] = source.choice([old * 2, 0, -1, 1e300] if isinstance(old, int | float) else ["", "x", old])
    write_lines(path, values) if path.suffix == ".jsonl" else path.write_text(json.dumps(values[0]))
    forge(copy)
    try:
        found = verify(copy)
    except RecordError:
        return
    assert found.verdict in ("sound", "not sound", "incomplete")


def test_the_verb_answers_with_its_exit_code(
    original: Path, copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = seal.head(original)
    assert app.main(["verify", str(original), "--digest", str(digest)]) == 0
    assert f"digest     {digest}" in capsys.readouterr().out
    assert app.main(["verify", str(original), "--digest", "0" * 64]) == 1
    assert app.main(["verify", str(original), "--digest", "abc"]) == 2
    assert app.main(["verify", str(original), "-o", "xml"]) == 2
    assert app.main(["verify", str(tmp_path)]) == RecordError.exit_code
    assert app.main(["verify", str(tmp_path / "none")]) == RecordError.exit_code
    (copy / seal.NAME).unlink()
    capsys.readouterr()
    assert app.main(["verify", str(copy), "-o", "json"]) == 3
    assert Verification.model_validate_json(capsys.readouterr().out).verdict == "incomplete"


def test_a_run_prints_its_digest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert app.main(["run", "--backend", "simulated", "--quick", "--only", "plain", "--out", str(out)]) == 0
    assert f"digest: {seal.head(out)}" in capsys.readouterr().out
    assert app.main(["verify", str(out)]) == 0
