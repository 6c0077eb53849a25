"""The search for saturation: its rules on scripted systems, and its answers on simulated ones whose truth is known."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Final, Literal

import pytest
from pydantic import ValidationError

from bench.saturation import Setting, feedback, ladder, race, search, table
from meshmark.analysis.saturation import Offer, Saturation, Search, SearchConfig, Slo, TrialOutcome
from meshmark.backends.simulated_open import OpenBench, random_system

CEILING = 10_000.0
SLO = Slo(quantile=0.99, latency_s=0.05)
CLIENT: Final = "not reached: the client was the limit"


def plain(offer: Offer, *, ceiling: float = CEILING, gap: float = 0.9, late_above: float = math.inf) -> TrialOutcome:
    """A system without noise: carries up to the ceiling, holds the SLO up to `gap` of it."""
    rate, times = offer.rate_msg_s, [0.25 * step for step in range(25)]
    carried = min(rate, ceiling)
    return TrialOutcome(
        life=offer.life,
        phase=offer.phase,
        target=offer.target,
        rate_msg_s=rate,
        started_s=0.0,
        ended_s=8.5,
        time_s=tuple(times),
        offered=tuple(rate * time for time in times),
        acknowledged=tuple(carried * time for time in times),
        outstanding=tuple((rate - carried) * time for time in times),
        latency_s=((0.99, 0.01 if rate < gap * ceiling else 0.4),),
        late_share=0.2 if rate > late_above else 0.0,
    )


def played(config: SearchConfig, system: Callable[[Offer], TrialOutcome]) -> Search:
    """As a run does it: a search of its own in every life, that goes on from all outcomes so far."""
    outcomes: list[TrialOutcome] = []
    for life in range(1, config.lives + 1):
        running = Search.resume(config, outcomes)
        while (offer := running.next(life)) is not None:
            running.observe(system(offer))
        outcomes = running.outcomes
    return Search.resume(config, outcomes)


def config(*, start: float = 9_000.0, slos: Sequence[Slo] = (SLO,), **more: float) -> SearchConfig:
    return SearchConfig.model_validate({"start_msg_s": start, "slos": tuple(slos), **more})


@pytest.mark.parametrize("start", [100.0, 9_000.0, 11_000.0, 400_000.0])
def test_a_quiet_ceiling_is_found_from_any_first_guess(start: float) -> None:
    whole, slo = played(config(start=start), plain).result().ceilings
    for ceiling, truth in ((whole, CEILING), (slo, 0.9 * CEILING)):
        assert ceiling.reason is None
        assert ceiling.low_msg_s is not None
        assert ceiling.high_msg_s is not None
        # Within the step between two rates that differ in outcome: a quiet system shows no more.
        assert ceiling.low_msg_s * 0.97 < truth < ceiling.high_msg_s * 1.03


def test_a_later_life_that_began_better_moves_the_search_up_at_once() -> None:
    first = played(config(start=3_000, lives=1, trials_max=3), plain).outcomes[:1]
    offer = Search.resume(config(start=8_000, lives=2), first).next(2)
    assert offer is not None
    assert (offer.rate_msg_s, offer.phase) == (8_000, "bracket")


def test_it_brackets_first_then_refines_then_confirms() -> None:
    phases = [trial.phase for trial in played(config(start=3_000), plain).result().trials]
    assert phases[0] == "bracket"
    assert [phases.index(phase) for phase in ("bracket", "refine", "confirm")] == sorted(
        phases.index(phase) for phase in ("bracket", "refine", "confirm")
    )


def test_a_search_resumes_exactly_where_it_was_cut() -> None:
    whole = played(config(), plain)
    for cut in (0, 1, 5, len(whole.outcomes)):
        resumed = Search.resume(whole.config, whole.outcomes[:cut])
        assert resumed.next() == Search.resume(whole.config, whole.outcomes[:cut]).next()
        while (offer := resumed.next()) is not None:
            resumed.observe(plain(offer))
        assert resumed.outcomes == whole.outcomes
        assert resumed.result() == whole.result()


def test_outcomes_and_answers_survive_json() -> None:
    whole = played(config(), plain)
    again = [TrialOutcome.model_validate_json(one.model_dump_json()) for one in whole.outcomes]
    settings = SearchConfig.model_validate_json(whole.config.model_dump_json())
    assert Search.resume(settings, again).result() == whole.result()
    assert Saturation.model_validate_json(whole.result().model_dump_json()) == whole.result()


def test_time_and_trials_are_bounded() -> None:
    assert len(played(config(width=0.0001), plain).outcomes) == config().trials == 50
    cut = played(config(width=0.0001, budget_seconds=60.0), plain)
    assert len(cut.outcomes) == 7
    short = played(config(width=0.0001, budget_seconds=20.0), plain)
    assert {ceiling.reason for ceiling in short.result().ceilings} == {"not enough trials"}
    assert short.result().ceilings[0].explained.endswith("0 missed it; it is above 10,080 msg/s")
    # Trials that take longer than foreseen end the search sooner.
    slow = played(
        config(width=0.0001, budget_seconds=60.0), lambda offer: plain(offer).model_copy(update={"ended_s": 25.0})
    )
    assert len(slow.outcomes) == 2


def test_a_generator_that_is_late_is_named_and_not_the_system() -> None:
    result = played(config(), lambda offer: plain(offer, late_above=6_000)).result()
    assert {ceiling.reason for ceiling in result.ceilings} == {CLIENT}
    assert all(trial.rate_msg_s <= 6_000 for trial in result.trials if trial.verdict == "carried")
    assert len(result.trials) < 20
    never = played(config(), lambda offer: plain(offer).model_copy(update={"late_share": 0.5})).result()
    assert {ceiling.reason for ceiling in never.ceilings} == {CLIENT}


def test_being_late_once_is_an_accident() -> None:
    def stumbling(offer: Offer) -> TrialOutcome:
        return plain(offer).model_copy(update={"late_share": 0.3 if offer.number == 3 else 0.0})

    result = played(config(), stumbling).result()
    assert [trial.verdict for trial in result.trials].count("client") == 1
    assert {ceiling.reason for ceiling in result.ceilings} == {None}


def test_failed_records_mean_not_carried_whatever_the_backlog() -> None:
    def failing(offer: Offer) -> TrialOutcome:
        seen = plain(offer, ceiling=1e9, gap=1)
        return seen.model_copy(update={"errors": 5 if offer.rate_msg_s > CEILING else 0})

    whole = played(config(), failing).result().ceilings[0]
    assert whole.reason is None
    assert whole.low_msg_s is not None
    assert whole.high_msg_s is not None
    assert whole.low_msg_s * 0.95 < CEILING < whole.high_msg_s * 1.05


def test_an_slo_that_no_rate_meets_is_an_answer() -> None:
    whole, slo = played(config(), lambda offer: plain(offer, gap=0)).result().ceilings
    assert whole.reason is None
    assert slo.reason == "missed at every rate tried"
    assert slo.low_msg_s is None


def test_invalid_trials_say_nothing() -> None:
    result = played(
        config(), lambda offer: plain(offer).model_copy(update={"invalid": "a path proof failed"})
    ).result()
    assert {ceiling.reason for ceiling in result.ceilings} == {"not enough trials"}
    assert "a path proof failed" in result.ceilings[0].explained
    assert all(trial.growth is None for trial in result.trials)


@pytest.mark.parametrize(("lives", "trials"), [(2, 6), (3, 12), (10, 80)])
def test_every_life_gets_its_share_of_trials_however_narrow_the_interval_is(lives: int, trials: int) -> None:
    result = played(config(slos=(), lives=lives, trials_max=trials), plain).result()
    assert [trial.life for trial in result.trials] == [1 + place * lives // trials for place in range(trials)]
    assert [life.life for life in result.lives] == list(range(1, lives + 1))
    for life in result.lives:
        assert life.middle_msg_s == pytest.approx(CEILING, rel=0.05)
        assert life.error is not None
        assert life.error < 0.08


def test_lives_that_differ_widen_the_interval_and_are_told_apart() -> None:
    def differing(offer: Offer) -> TrialOutcome:
        return plain(offer, ceiling=CEILING * (0.92, 1.0, 1.08)[offer.life - 1])

    asked = config(slos=(), lives=3, trials_max=18)
    alike, unlike = played(asked, plain).result(), played(asked, differing).result()
    widths = [result.ceilings[0].width for result in (alike, unlike)]
    assert widths[0] is not None
    assert widths[1] is not None
    assert widths[1] > 1.5 * widths[0]
    assert (alike.ceilings[0].life_noise or 1) < (unlike.ceilings[0].life_noise or 0)
    assert [life.middle_msg_s for life in unlike.lives] == pytest.approx([9_200, 10_000, 10_800], rel=0.05)


def test_a_life_without_an_overloaded_trial_has_no_ceiling_of_its_own() -> None:
    outcomes = played(config(slos=(), lives=3, trials_max=12), plain).outcomes[:-4]
    offer = Offer(
        number=9, life=3, rate_msg_s=5_000, seconds=6, settle_seconds=1, phase="refine", target="any latency"
    )
    result = Search.resume(config(slos=(), lives=3, trials_max=12), [*outcomes, plain(offer)]).result()
    assert [life.middle_msg_s is None for life in result.lives] == [False, False, True]
    assert result.ceilings[0].reason is None


def test_an_outcome_without_the_slos_quantile_is_refused() -> None:
    running = Search(config())
    offer = running.next()
    assert offer is not None
    with pytest.raises(ValueError, match="no p99 of latency"):
        running.observe(plain(offer).model_copy(update={"latency_s": ((0.5, 0.01),)}))


def test_the_plan_is_told_before_it_starts() -> None:
    text = Search(config()).plan_text()
    for part in ("9,000 msg/s", "any latency; p99 under 50 ms", "20 to 50 trials", "7 min 5 s"):
        assert part in text


@pytest.mark.parametrize(
    "wrong",
    [
        {"start_msg_s": 0},
        {"start_msg_s": math.inf},
        {"trials_max": 2},
        {"slos": ({"latency_s": 0.05}, {"latency_s": 0.05})},
        {"slos": ({"latency_s": 0.05, "quantile": 1.0},)},
        {"confidence": 1.0},
    ],
)
def test_impossible_searches_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SearchConfig.model_validate({"start_msg_s": 100.0, **wrong})


def test_series_must_fit_together() -> None:
    good = plain(Offer(number=1, life=1, rate_msg_s=100, seconds=6, settle_seconds=1, phase="bracket", target="x"))
    with pytest.raises(ValidationError, match="one value for each time"):
        TrialOutcome.model_validate(good.model_dump(by_alias=False) | {"offered": (1.0, 2.0)})
    with pytest.raises(ValidationError, match="must rise"):
        TrialOutcome.model_validate(good.model_dump(by_alias=False) | {"time_s": good.time_s[::-1]})


def test_most_intervals_hold_the_truth_and_beat_the_ladder() -> None:
    answers = race([random_system(seed) for seed in range(500, 512)], Setting(slos=()))
    whole = [answer for answer in answers if answer.target == "any latency"]
    covered = {
        name: sum(bool(answer.covered) for answer in whole if answer.search == name) for name in ("search", "ladder")
    }
    assert covered["search"] >= 9
    assert covered["search"] > covered["ladder"]
    assert sum(not answer.reason for answer in whole if answer.search == "search") >= 10
    assert table(answers).count("\n") == 5


def test_a_search_alone_is_that_of_the_race() -> None:
    systems, setting = [random_system(seed) for seed in (520, 521)], Setting(lives=1, trials=6, slos=())
    answers = race(systems, setting, alone=True)
    assert [(answer.search, answer.target) for answer in answers] == [("search in one life", "any latency")] * 2
    assert answers == [answer for answer in race(systems, setting) if answer.search == "search in one life"][::2]


def test_capacity_that_sways_does_not_lower_the_ceiling() -> None:
    """For half of the window 10 % more, then 10 % less: a backlog at the end, and yet the rate was carried."""

    def swaying(offer: Offer) -> TrialOutcome:
        seen = plain(offer)
        rate, seconds = offer.rate_msg_s, seen.time_s[-1]
        low, high = 0.9 * CEILING, 1.1 * CEILING
        queue, backlog = max(0.0, rate - CEILING) * offer.settle_seconds, []
        for before, time in zip((0.0, *seen.time_s), seen.time_s, strict=False):
            queue = max(0.0, queue + (rate - (high if time <= seconds / 2 else low)) * (time - before))
            backlog.append(queue)
        acknowledged = tuple(due - waits for due, waits in zip(seen.offered, backlog, strict=True))
        return seen.model_copy(update={"outstanding": tuple(backlog), "acknowledged": acknowledged})

    [ceiling] = played(config(slos=()), swaying).result().ceilings
    assert ceiling.low_msg_s is not None
    assert ceiling.high_msg_s is not None
    assert ceiling.low_msg_s < CEILING < ceiling.high_msg_s


def test_unstable_systems_and_limited_clients_are_told_apart() -> None:
    def reasons(kind: Literal["unstable", "client"], count: int) -> list[str | None]:
        systems = [random_system(seed, kind=kind) for seed in range(600, 600 + count)]
        return [search(system, Setting(slos=()))[0].ceilings[0].reason for system in systems]

    assert reasons("unstable", 10).count("unstable") >= 6
    assert reasons("client", 5).count(CLIENT) >= 4


def test_two_searches_meet_the_same_noise() -> None:
    system, setting = random_system(700), Setting(lives=2, trials=6, slos=())
    first, second = OpenBench(system), OpenBench(system)
    assert first.trial(9_000, 6) == second.trial(9_000, 6)
    assert first.trial(9_000, 6) != second.trial(8_000, 6)
    assert search(system, setting) == search(system, setting)
    assert ladder(system) == ladder(system)
    assert feedback(system) == feedback(system)


def test_a_late_trial_above_others_that_all_missed_is_told_in_words() -> None:
    """So noisy that the ceiling may be above what the generator could offer, although nothing was met."""
    source = random.Random(26)

    def trial(rate_msg_s: float, life: int, carried: float, noise: float, late_share: float) -> TrialOutcome:
        times = [0.25 * step for step in range(16)]
        drawn = [carried * rate_msg_s * time + source.gauss(0, noise * rate_msg_s * 0.25) for time in times]
        acknowledged = tuple(max(0.0, *drawn[: step + 1]) for step in range(len(times)))
        offered = tuple(rate_msg_s * time for time in times)
        return TrialOutcome(
            life=life,
            phase="bracket",
            target="any latency",
            rate_msg_s=rate_msg_s,
            started_s=0.0,
            ended_s=8.5,
            time_s=tuple(times),
            offered=offered,
            acknowledged=acknowledged,
            outstanding=tuple(max(0.0, due - done) for due, done in zip(offered, acknowledged, strict=True)),
            late_share=late_share,
        )

    outcomes = [trial(77_000, 1, 0.863, 0.1, 0.046), trial(75_800, 1, 0.975, 0.3, 0), trial(75_500, 2, 0.975, 0.3, 0)]
    [ceiling] = Search.resume(config(start=80_000.0, slos=(), lives=3), outcomes).result().ceilings
    assert ceiling.reason == CLIENT
    assert ceiling.explained == "0 of 2 trials met it; the generator was late at 77,000 msg/s"
