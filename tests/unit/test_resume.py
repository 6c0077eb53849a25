"""A run that was cut goes on: as the same run, where it was, with what was not whole laid aside."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from meshmark import seal
from meshmark.analysis.distance_law import Errors, predictions
from meshmark.analysis.model import ScenarioSummary
from meshmark.analysis.summary import summarize
from meshmark.analysis.verify import verify
from meshmark.analysis.verify.times import CLOCK_SET_S
from meshmark.backends.simulated import SimulatedBackend, SimulatedClock, Truth
from meshmark.cli.app import main
from meshmark.data_plane import DataPlane
from meshmark.errors import Busy, ComponentFailed, MeshmarkError, MissingRequirement, RecordError, UsageError
from meshmark.experiment.conductor import resume
from meshmark.experiment.progress import Silent
from meshmark.plan import ClusterSpec, Plan
from meshmark.planfile import find_profile
from meshmark.planfile.profiles import dump_profile
from meshmark.record import Finished, Prediction
from meshmark.store import Run, RunWriter, load
from meshmark.topology import Link, MeshCluster, Topology
from tests.unit.report.test_distance_law import plan as distances
from tests.unit.test_conductor import METHOD, plan_of, run

PLAN = plan_of(
    DataPlane.PLAIN, DataPlane.ISTIO_MTLS, repeats=3, method=METHOD.model_copy(update={"equal_load": (0.5,)})
)
TRUTH = Truth(noise=0)


class Cut(Silent):
    """Ctrl-C at the first load of a search after some rounds have begun."""

    def __init__(self, after: int) -> None:
        self.after = after
        self.left_s: list[float | None] = []

    def round(self, index: int, total: int, scenario: str, repeat: int, seconds_left: float | None) -> None:
        self.after -= 1
        self.left_s.append(seconds_left)

    def phase(self, text: str) -> None:
        if self.after == 0 and text.startswith("search, "):
            raise KeyboardInterrupt


def begun(directory: Path, clock: SimulatedClock, cut: Silent, plan: Plan = PLAN) -> None:
    run(directory, plan, TRUTH, cut, clock)


def gone_on(directory: Path, clock: SimulatedClock, progress: Silent | None = None) -> Finished:
    clock.sleep(7_200)  # longer than the plan's budget
    return resume(
        load(directory),
        SimulatedBackend(clock, TRUTH),
        command=("meshmark", "run", "--resume", "DIR"),
        progress=progress or Silent(),
        clock=clock,
    )


def killed(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    """As by SIGKILL in the fourth round: no word of an end, and a line that is cut."""
    with monkeypatch.context() as patched:
        patched.setattr(RunWriter, "finish", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            begun(directory, SimulatedClock(), Cut(4))
    with (directory / "events.jsonl").open("a") as events:
        events.write('{"timeS":1')


def offered(run: Run) -> dict[tuple[int, int, str], float]:
    trials = [trial for each in run.rounds for trial in each.trials]
    return {(trial.round_index, trial.number, trial.purpose): trial.offered_msg_s for trial in trials}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    directory = tmp_path_factory.mktemp("whole") / "run"
    begun(directory, SimulatedClock(), Silent())
    return load(directory)


@pytest.fixture(scope="module")
def cut_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A run that was interrupted in its fourth round, and the time."""
    directory, clock = tmp_path_factory.mktemp("cut") / "run", SimulatedClock()
    with pytest.raises(KeyboardInterrupt):
        begun(directory, clock, Cut(4))
    return directory, clock.now()


@pytest.fixture
def cut(cut_run: tuple[Path, float], tmp_path: Path) -> tuple[Path, SimulatedClock]:
    return shutil.copytree(cut_run[0], tmp_path / "run"), SimulatedClock(cut_run[1])


def test_it_ends_as_if_it_had_not_been_cut(cut: tuple[Path, SimulatedClock], whole: Run) -> None:
    directory, clock = cut
    before, progress = load(directory), Cut(-1)
    ended = gone_on(directory, clock, progress)
    done = load(directory)
    assert (ended.outcome, ended.rounds_done, ended.rounds_planned) == ("complete", 6, 6)
    assert offered(done) == pytest.approx(offered(whole))
    assert (done.plan, done.started) == (before.plan, before.started)
    assert len(progress.left_s) == 3
    assert progress.left_s[0] is not None
    (told,) = done.resumptions
    assert (told.rounds_kept, told.remains) == (3, "remains/1")
    assert summarize(done).warnings[0].startswith("the run was cut, and went on after round 3;")


def test_what_was_not_whole_is_laid_aside_and_the_record_is_sound(cut: tuple[Path, SimulatedClock]) -> None:
    directory, clock = cut
    before = seal.head(directory)
    gone_on(directory, clock)
    assert {path.name for path in (directory / "remains" / "1").iterdir()} == {
        f"004-{PLAN.order()[3].scenario}",
        "digests.jsonl",
        "finished.json",
    }
    assert seal.head(directory / "remains" / "1") == before == load(directory).resumptions[0].digest
    found = verify(directory)
    assert (found.verdict, found.findings) == ("sound", ())
    assert "cut after round 3, and gone on: remains/1" in found.notes


def test_killed_while_it_lays_aside_it_goes_on_the_next_time(cut: tuple[Path, SimulatedClock]) -> None:
    directory, clock = cut
    before = seal.head(directory)
    aside = directory / "remains" / "1"
    aside.mkdir(parents=True)
    (directory / seal.NAME).rename(aside / seal.NAME)
    gone_on(directory, clock)
    assert load(directory).resumptions[0].digest == before
    assert (verify(directory).verdict, verify(directory).findings) == ("sound", ())


def test_reports_and_signatures_of_the_cut_run_are_laid_aside(cut: tuple[Path, SimulatedClock]) -> None:
    directory, clock = cut
    stale = ("summary.json", "report.html", "digest.sig")
    for name in stale:
        (directory / name).write_text("of the cut run", encoding="utf-8")
    gone_on(directory, clock)
    assert not any((directory / name).exists() for name in stale)
    assert all((directory / "remains" / "1" / name).is_file() for name in stale)


@pytest.mark.parametrize(
    ("directory_of", "sound"),
    [("/var/tmp/run-{0}/data", True), ("/var/tmp/run-{0}/hosts-{0}/broker-1", True), ("/var/lib/kafka-{0}", False)],
)
def test_directories_of_the_lab_are_others_after_a_cut(
    cut: tuple[Path, SimulatedClock], directory_of: str, sound: bool
) -> None:
    directory, clock = cut
    gone_on(directory, clock)
    for place, path in enumerate(sorted(directory.glob("rounds/*/config/broker-1.properties"))):
        instance = "0a1b2c3d" if place < 3 else "4e5f6789"
        path.write_text(f"{path.read_text()}log.dirs={directory_of.format(instance)}\n")
    (directory / seal.NAME).unlink()
    seal.Chain(directory).seal()
    assert (verify(directory).verdict == "sound") is sound


def test_it_goes_on_after_it_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "run"
    killed(monkeypatch, directory)
    assert gone_on(directory, SimulatedClock(50_000)).outcome == "complete"
    assert verify(directory).findings == ()


def test_it_may_be_cut_again(cut: tuple[Path, SimulatedClock]) -> None:
    directory, clock = cut
    with pytest.raises(KeyboardInterrupt):
        gone_on(directory, clock, Cut(2))
    assert verify(directory).verdict == "incomplete"
    assert gone_on(directory, clock).outcome == "complete"
    done = load(directory)
    assert [(each.rounds_kept, each.remains) for each in done.resumptions] == [(3, "remains/1"), (4, "remains/2")]
    assert (verify(directory).verdict, verify(directory).findings) == ("sound", ())


def test_the_pause_is_no_part_of_the_time_budget(tmp_path: Path) -> None:
    directory, clock = tmp_path / "run", SimulatedClock()
    begun(directory, clock, Silent())
    spent_s = clock.now() - 1_000
    tight = PLAN.model_copy(update={"budget_seconds": spent_s * 0.75})
    directory, clock = tmp_path / "tight", SimulatedClock()
    with pytest.raises(KeyboardInterrupt):
        begun(directory, clock, Cut(3), tight)
    ended = gone_on(directory, clock)
    assert ended.outcome == "complete"
    assert 3 <= ended.rounds_done <= 6
    assert verify(directory).findings == ()


def _tamper(name: str) -> Callable[[Path], None]:
    def tamper(directory: Path) -> None:
        path = next(directory.glob(name))
        path.write_text(path.read_text().replace("0", "1", 1))

    return tamper


def _another_digest(directory: Path) -> None:
    path = directory / "resumed.jsonl"
    told = json.loads(path.read_text())
    path.write_text(json.dumps(told | {"digest": "0" * 64}) + "\n")


@pytest.mark.parametrize(
    ("tamper", "place"),
    [
        pytest.param(_tamper("remains/1/004-*/started.json"), "started.json", id="a round that was laid aside"),
        pytest.param(_tamper("remains/1/finished.json"), "finished.json", id="what was said of the end"),
        pytest.param(_tamper("rounds/001-*/trials.jsonl"), "trials.jsonl", id="a round from before the cut"),
        pytest.param(_another_digest, "digests.jsonl", id="which chain it was"),
    ],
)
def test_remains_are_what_they_were(
    cut: tuple[Path, SimulatedClock], tamper: Callable[[Path], None], place: str
) -> None:
    """Whoever tampers makes another chain for the end."""
    directory, clock = cut
    gone_on(directory, clock)
    tamper(directory)
    (directory / seal.NAME).unlink()
    seal.Chain(directory).seal()
    found = verify(directory)
    assert found.verdict == "not sound"
    assert any(each.file.endswith(place) for each in found.findings), found.findings


def test_a_complete_run_has_nothing_to_go_on_with(whole: Run) -> None:
    with pytest.raises(UsageError, match="is complete"):
        gone_on(whole.directory, SimulatedClock(50_000))


def test_without_a_whole_round_it_begins_anew(tmp_path: Path) -> None:
    clock = SimulatedClock()
    with pytest.raises(KeyboardInterrupt):
        begun(tmp_path / "run", clock, Cut(1))
    with pytest.raises(UsageError, match="no whole round"):
        gone_on(tmp_path / "run", clock)


def _another_version(directory: Path) -> None:
    path = directory / "started.json"
    path.write_text(path.read_text().replace('"kafka": "simulated"', '"kafka": "4.0.0"'))
    (directory / seal.NAME).unlink()


def _another_machine(directory: Path) -> None:
    path = directory / "started.json"
    path.write_text(path.read_text().replace('"hostname": "simulated"', '"hostname": "other"'))
    (directory / seal.NAME).unlink()


def _another_estimator(directory: Path) -> None:
    path = directory / "started.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"estimator": 1}))
    (directory / seal.NAME).unlink()


@pytest.mark.parametrize(
    ("change", "said", "kind"),
    [
        (_another_version, "kafka was 4.0.0, and is simulated", UsageError),
        (_another_machine, "hostname was other, and is simulated", UsageError),
        (_another_estimator, "by estimator 1, and would be by", UsageError),
        (_tamper("rounds/002-*/trials.jsonl"), "it was changed", RecordError),
        (lambda directory: shutil.rmtree(next(directory.glob("rounds/002-*"))), "not the first", RecordError),
    ],
)
def test_it_does_not_go_on_as_another_run(
    cut: tuple[Path, SimulatedClock], change: Callable[[Path], None], said: str, kind: type[MeshmarkError]
) -> None:
    directory, clock = cut
    change(directory)
    before = sorted(directory.rglob("*"))
    with pytest.raises(kind, match=said):
        gone_on(directory, clock)
    assert sorted(directory.rglob("*")) == before, "a refusal changes nothing"


def test_it_does_not_go_on_over_links_that_carry_less_now(tmp_path: Path) -> None:
    narrow = Link(ends=("near", "far"), rtt_ms=0, bandwidth_bytes_s=1e8)
    clusters = (MeshCluster(name="near", brokers=2, clients=1), MeshCluster(name="far", brokers=1))
    spec = ClusterSpec(topology=Topology(clusters=clusters, links=(narrow,)))
    stretched = tuple(each.model_copy(update={"cluster": spec}) for each in PLAN.scenarios)
    directory, clock = tmp_path / "run", SimulatedClock()
    with pytest.raises(KeyboardInterrupt):
        begun(directory, clock, Cut(4), PLAN.model_copy(update={"scenarios": stretched}))
    before = sorted(directory.rglob("*"))

    def again(link_bytes_s: float) -> Finished:
        backend = SimulatedBackend(clock, Truth(noise=0, link_bytes_s=link_bytes_s))
        return resume(load(directory), backend, command=(), progress=Silent(), clock=clock)

    with pytest.raises(MissingRequirement, match="carries 50 of 100 MB/s"):
        again(5e7)
    assert sorted(directory.rglob("*")) == before, "a refusal changes nothing"
    assert again(2e8).outcome == "complete"


class MovedClock(SimulatedClock):
    """Against the calendar's clock, as after another start of the machine, or a sleep."""

    def __init__(self, start_s: float, moved_s: float) -> None:
        super().__init__(start_s)
        self._moved_s = moved_s

    def wall(self) -> float:
        return super().wall() + self._moved_s


@pytest.mark.parametrize(
    ("now_s", "moved_s"),
    [
        pytest.param(900, 50_000, id="a moment ago"),
        pytest.param(50_000, 700, id="long ago"),
        pytest.param(50_000, -700, id="or its clock was set"),
    ],
)
def test_it_does_not_go_on_after_the_machine_was_started_anew(
    now_s: float, moved_s: float, cut: tuple[Path, SimulatedClock]
) -> None:
    directory, _ = cut
    clock = MovedClock(now_s, moved_s)
    with pytest.raises(UsageError, match="started anew"):
        resume(load(directory), SimulatedBackend(clock, TRUTH), command=(), progress=Silent(), clock=clock)


def test_a_machine_that_was_cut_soon_after_its_start_and_started_again_is_another(tmp_path: Path) -> None:
    """Its clock moved by more than it had come to, though by less than clocks are set."""
    directory, clock = tmp_path / "run", SimulatedClock(5)
    with pytest.raises(KeyboardInterrupt):
        begun(directory, clock, Cut(3))
    came_to_s = clock.now()
    assert came_to_s < CLOCK_SET_S
    again = MovedClock(came_to_s + 100, came_to_s + 20)
    with pytest.raises(UsageError, match="started anew"):
        resume(load(directory), SimulatedBackend(again, TRUTH), command=(), progress=Silent(), clock=again)


def test_a_run_that_was_killed_once_it_knew_enough_measures_no_further(tmp_path: Path) -> None:
    directory, clock = tmp_path / "run", SimulatedClock()
    begun(directory, clock, Silent(), PLAN.model_copy(update={"repeats": 6, "stop_width": 0.5}))
    before = load(directory).finished
    assert before is not None
    assert before.rounds_done < before.rounds_planned
    for name in ("finished.json", seal.NAME):
        (directory / name).unlink()
    ended = gone_on(directory, clock)
    assert (ended.outcome, ended.sharp, ended.rounds_done) == ("complete", True, before.rounds_done)
    assert verify(directory).findings == ()


def test_a_run_that_was_killed_after_its_last_round_only_ends(tmp_path: Path, whole: Run) -> None:
    directory = shutil.copytree(whole.directory, tmp_path / "run")
    for name in ("finished.json", seal.NAME):
        (directory / name).unlink()
    ended = gone_on(directory, SimulatedClock(50_000))
    assert (ended.outcome, ended.rounds_done) == ("complete", 6)
    assert offered(load(directory)) == offered(whole)


@pytest.mark.parametrize("law", ["log", "relative"])
def test_predictions_that_were_cut_are_completed_by_their_law_and_none_is_told_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, law: Errors
) -> None:
    asked = distances(10, 25, 50, 75, 100)
    held_out = tuple(each.model_copy(update={"held_out": each.name in ("25ms", "75ms")}) for each in asked.scenarios)
    asked = asked.model_copy(update={"scenarios": held_out, "repeats": 2})
    directory, clock = tmp_path / "run", SimulatedClock()
    told = RunWriter.prediction

    def tell_and_be_cut(writer: RunWriter, prediction: Prediction) -> None:
        told(writer, prediction)
        raise KeyboardInterrupt

    def by_law(run: Run, rows: tuple[ScenarioSummary, ...], time_s: float, _: Errors) -> tuple[Prediction, ...]:
        return predictions(run, rows, time_s, law)

    with monkeypatch.context() as patched:
        patched.setattr(RunWriter, "prediction", tell_and_be_cut)
        patched.setattr("meshmark.experiment.conductor.predictions", by_law)
        with pytest.raises(KeyboardInterrupt):
            begun(directory, clock, Silent(), asked)
    assert [each.scenario for each in load(directory).predictions] == ["25ms"]
    assert gone_on(directory, clock).outcome == "complete"
    assert [(each.scenario, each.errors) for each in load(directory).predictions] == [("25ms", law), ("75ms", law)]
    assert verify(directory).findings == ()


class Losing(Cut):
    """And the file of its profile is gone by then."""

    def __init__(self, after: int, file: Path) -> None:
        super().__init__(after)
        self._file = file

    def phase(self, text: str) -> None:
        if text.startswith("search, "):
            self._file.unlink(missing_ok=True)
        super().phase(text)


def test_the_profile_is_the_one_that_it_began_with_whatever_becomes_of_the_file(tmp_path: Path) -> None:
    file, directory, clock = tmp_path / "mine.yaml", tmp_path / "run", SimulatedClock()
    file.write_text(dump_profile(find_profile("eks-r5.4xlarge-io1")), encoding="utf-8")
    with pytest.raises(KeyboardInterrupt):
        begun(directory, clock, Losing(3, file), PLAN.model_copy(update={"profile": str(file)}))
    assert not file.exists()
    assert gone_on(directory, clock).outcome == "complete"
    done = load(directory)
    assert done.plan.profile == str(file)
    limits = {(data.started.scenario, tuple(probe.limit for probe in data.limits)) for data in done.rounds}
    assert len(limits) == len(PLAN.scenarios), "the same in all rounds of a scenario"
    assert verify(directory).findings == ()


def test_what_the_record_says_is_not_said_again(
    cut: tuple[Path, SimulatedClock], capsys: pytest.CaptureFixture[str]
) -> None:
    directory, _ = cut
    assert main(["run", "--resume", str(directory), "--quick", "--seed", "3"]) == 2
    assert f"--quick, --seed: with --resume, the record in {directory} says this" in capsys.readouterr().err
    assert main(["run", "mine.yaml", "--resume", str(directory)]) == 2
    assert "PLAN: with --resume" in capsys.readouterr().err


def test_a_complete_run_is_refused_before_the_machine_is_made_ready(
    whole: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--resume", str(whole.directory)]) == 2
    assert "is complete: there is nothing to go on with" in capsys.readouterr().err


def test_a_simulated_run_is_refused_since_its_clock_begins_anew(
    cut: tuple[Path, SimulatedClock], capsys: pytest.CaptureFixture[str]
) -> None:
    directory, _ = cut
    assert main(["run", "--resume", str(directory), "--backend", "simulated"]) == 2
    assert "started anew" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KeyboardInterrupt(), True),
        (ComponentFailed("a broker died"), True),
        (RecordError("tampered with"), False),
        (Busy("another run"), False),
    ],
)
def test_what_ends_it_says_how_to_go_on_where_that_can_be(
    error: BaseException,
    told: bool,
    cut: tuple[Path, SimulatedClock],
    whole: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def failing(*_: object, **_named: object) -> None:
        raise error

    monkeypatch.setattr("meshmark.experiment.resumption.whole_rounds", lambda _run: ())
    monkeypatch.setattr("meshmark.experiment.conductor.resume", failing)
    monkeypatch.setattr("meshmark.cli.run.opened", lambda *_, **_named: nullcontext((None, cut[1])))
    for directory, backend, may_go_on in (
        (cut[0], "lab", told),
        (cut[0], "simulated", False),  # it would be refused
        (whole.directory, "lab", False),
    ):
        main(["run", "--resume", str(directory), "--backend", backend])
        err = capsys.readouterr().err
        assert f"what was measured is kept: meshmark report {directory}" in err
        assert (f"meshmark run --resume {directory}" in err) is may_go_on
