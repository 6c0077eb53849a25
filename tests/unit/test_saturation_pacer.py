"""The pacer: which record is due when. Order and counts, on every shape and both kinds of arrivals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from meshmark.pacer import Arrivals, Bursts, Constant, Pacer, PacerSpec, Shape, Sine, Step, Steps

SHAPES: dict[str, Shape] = {
    "constant": Constant(rate_msg_s=1_000 / 3),
    "steps": Steps(
        steps=(Step(rate_msg_s=100, seconds=2), Step(rate_msg_s=0, seconds=1), Step(rate_msg_s=700, seconds=3))
    ),
    "bursts": Bursts(base_msg_s=50, burst_msg_s=1_000, burst_s=0.3, period_s=2),
    "bursts and silence": Bursts(base_msg_s=0, burst_msg_s=1_000, burst_s=0.1, period_s=0.7),
    "sine": Sine(mean_msg_s=300, amplitude=0.9, period_s=7),
}
ARRIVALS: tuple[Arrivals, ...] = ("even", "poisson")
EVERY = [
    pytest.param(PacerSpec(shape=shape, arrivals=arrivals, seed=5), id=f"{name}, {arrivals}")
    for name, shape in SHAPES.items()
    for arrivals in ARRIVALS
]


@pytest.mark.parametrize("spec", EVERY)
def test_times_never_fall_and_chunks_do_not_matter(spec: PacerSpec) -> None:
    whole = Pacer(spec).intended_s(0, 10_000)
    assert len(whole) == 10_000
    assert np.all(np.diff(whole) >= 0)
    pacer = Pacer(spec)
    backwards = [pacer.intended_s(first, first + 1_000) for first in range(9_000, -1, -1_000)]
    assert np.array_equal(np.concatenate(backwards[::-1]), whole)


@pytest.mark.parametrize("spec", EVERY)
def test_due_is_the_exact_inverse(spec: PacerSpec) -> None:
    pacer = Pacer(spec)
    times = pacer.intended_s(0, 9_000)
    probes = np.concatenate([times[:-1:37], np.nextafter(times[::41], -1.0), np.linspace(0, times[-2], 100)])
    for time_s in probes:
        assert pacer.due(float(time_s)) == np.searchsorted(times, time_s, side="right")


@pytest.mark.parametrize("spec", EVERY)
def test_workers_share_one_schedule(spec: PacerSpec) -> None:
    whole = Pacer(spec).intended_s(0, 999)
    parts = [Pacer(spec, worker=worker, workers=3) for worker in range(3)]
    assert np.array_equal(np.stack([part.intended_s(0, 333) for part in parts], axis=1).ravel(), whole)
    for time_s in whole[::50]:
        assert sum(part.due(float(time_s)) for part in parts) == Pacer(spec).due(float(time_s))


@settings(max_examples=60, deadline=None)
@given(
    rate=st.floats(0.01, 5e6),
    amplitude=st.floats(0.001, 0.999),
    period_s=st.floats(0.01, 1e4),
    first=st.integers(0, 10**11),
)
def test_a_sine_is_inverted_far_out(rate: float, amplitude: float, period_s: float, first: int) -> None:
    pacer = Pacer(PacerSpec(shape=Sine(mean_msg_s=rate, amplitude=amplitude, period_s=period_s)))
    times = pacer.intended_s(first, first + 5)
    assert np.all(np.diff(times) >= 0)
    assert first < pacer.due(float(times[0]))
    assert pacer.due(float(np.nextafter(times[0], -1))) <= first


def test_nothing_drifts_over_a_day() -> None:
    pacer = Pacer(PacerSpec(shape=Constant(rate_msg_s=100_000)))
    day = 86_400 * 100_000
    assert pacer.intended_s(day, day + 1)[0] == 86_400
    assert pacer.due(86_400) == day + 1


def test_a_pause_holds_records_back_and_loses_none() -> None:
    pacer = Pacer(PacerSpec(shape=SHAPES["steps"]))
    assert [pacer.due(time_s) for time_s in (1.999, 2.0, 2.999, 3.0, 4.0)] == [200, 200, 200, 201, 901]
    silent = Pacer(PacerSpec(shape=SHAPES["bursts and silence"]))
    assert [silent.due(time_s) for time_s in (0.0, 0.0995, 0.5, 0.7, 0.75)] == [1, 100, 100, 101, 151]


def test_poisson_has_the_asked_mean_and_is_not_even() -> None:
    spec = PacerSpec(shape=Constant(rate_msg_s=1_000), arrivals="poisson", seed=3)
    gaps = np.diff(Pacer(spec).intended_s(0, 100_000))
    # 100,000 exponential gaps: mean and standard deviation within 6 standard errors of 1 ms.
    assert abs(gaps.mean() - 1e-3) < 6e-3 / np.sqrt(100_000)
    assert abs(gaps.std() - 1e-3) < 12e-3 / np.sqrt(100_000)
    assert not np.array_equal(gaps, np.diff(Pacer(spec.model_copy(update={"seed": 4})).intended_s(0, 100_000)))


def test_a_spec_survives_json() -> None:
    spec = PacerSpec(shape=SHAPES["bursts"], arrivals="poisson", seed=11)
    again = PacerSpec.model_validate_json(spec.model_dump_json())
    assert again == spec
    assert np.array_equal(Pacer(again).intended_s(0, 100), Pacer(spec).intended_s(0, 100))


@pytest.mark.parametrize(
    "shape",
    [
        {"kind": "constant", "rateMsgS": 0},
        {"kind": "constant", "rateMsgS": float("inf")},
        {"kind": "constant", "rateMsgS": float("nan")},
        {"kind": "steps", "steps": []},
        {"kind": "steps", "steps": [{"rateMsgS": 5, "seconds": 1}, {"rateMsgS": 0, "seconds": 1}]},
        {"kind": "bursts", "baseMsgS": 1, "burstMsgS": 9, "burstS": 2, "periodS": 2},
        {"kind": "sine", "meanMsgS": 1, "amplitude": 1, "periodS": 2},
        {"kind": "square", "rateMsgS": 1},
    ],
)
def test_impossible_shapes_are_refused(shape: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        PacerSpec.model_validate({"shape": shape})


def test_ranges_and_workers_are_checked() -> None:
    pacer = Pacer(PacerSpec(shape=Constant(rate_msg_s=10)))
    assert pacer.due(-1) == 0
    assert len(pacer.intended_s(5, 5)) == 0
    with pytest.raises(ValueError, match="no range"):
        pacer.intended_s(5, 4)
    with pytest.raises(ValueError, match="not one of"):
        Pacer(PacerSpec(shape=Constant(rate_msg_s=10)), worker=2, workers=2)
