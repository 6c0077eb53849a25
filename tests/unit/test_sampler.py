"""The clock of the series, and what happens when a reading fails."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from meshmark.clock import SystemClock
from meshmark.measure.sampler import next_tick, sampling
from meshmark.record import Counters, Sample

BOUND_S = 30


class FakeClock:
    def __init__(self) -> None:
        self.time_s = 100.0

    def now(self) -> float:
        return self.time_s

    def wall(self) -> float:
        return self.time_s

    def sleep(self, seconds: float) -> None:
        self.time_s += seconds


class Counting:
    """A probe whose value is how often it was read; `then` happens at each reading."""

    def __init__(
        self,
        key: str = "host/kafka/threads",
        then: Callable[[], object] | None = None,
        *,
        edges_only: bool = False,
    ) -> None:
        self.key = key
        self.edges_only = edges_only
        self.count = 0
        self.then = then

    def read(self) -> Counters:
        self.count += 1
        if self.then:
            self.then()
        return {self.key: float(self.count)}


@pytest.mark.parametrize(
    ("now", "due"),
    [
        pytest.param(100.0, 101.0, id="at the start"),
        pytest.param(100.2, 101.0, id="in time"),
        pytest.param(103.7, 104.0, id="three were missed: a gap, the same grid"),
        pytest.param(104.0, 105.0, id="exactly on a tick: not that one again"),
    ],
)
def test_ticks_stay_on_the_grid_of_the_start(now: float, due: float) -> None:
    assert next_tick(100.0, 1.0, now) == due


def test_ticks_never_stand_still_whatever_rounding_does() -> None:
    now = start = 12345.678
    for _ in range(10_000):
        due = next_tick(start, 0.1, now)
        assert due > now
        now = due
    assert now == pytest.approx(start + 1_000, abs=0.11)


def test_without_the_systems_clock_nothing_is_read_unasked() -> None:
    clock, probe, seen = FakeClock(), Counting(), list[Sample]()
    with sampling(lambda: [probe], 1.0, seen.append, clock) as sampler:
        clock.sleep(10)
        assert seen == []
        first = sampler.read_now()
        clock.sleep(2.5)
        second = sampler.read_now()
    assert seen == [first, second]
    assert [(sample.time_s, sample.values["host/kafka/threads"]) for sample in seen] == [(110.0, 1), (112.5, 2)]


def test_a_samples_time_is_the_middle_of_its_reading() -> None:
    clock = FakeClock()
    with sampling(lambda: [Counting(then=lambda: clock.sleep(4))], 1.0, lambda _: None, clock) as sampler:
        assert sampler.read_now().time_s == 102.0


def test_probes_are_asked_for_anew_at_each_reading() -> None:
    probes = [Counting("a/kafka/threads")]
    with sampling(lambda: probes, 1.0, lambda _: None, FakeClock()) as sampler:
        assert sampler.read_now().values.keys() == {"a/kafka/threads"}
        probes.append(Counting("b/kafka/threads"))
        assert sampler.read_now().values.keys() == {"a/kafka/threads", "b/kafka/threads"}


def test_a_thread_reads_on_its_own_and_ends_with_the_block() -> None:
    seen: list[Sample] = []
    enough = threading.Event()

    def keep(sample: Sample) -> None:
        seen.append(sample)
        if len(seen) >= 5:
            enough.set()

    before = threading.active_count()
    with sampling(lambda: [Counting()], 0.002, keep, SystemClock()) as sampler:
        edge = sampler.read_now()
        assert enough.wait(BOUND_S)
    assert threading.active_count() == before
    assert edge in seen
    assert [sample.time_s for sample in seen] == sorted(sample.time_s for sample in seen)


def test_readings_never_overlap() -> None:
    inside, overlaps, several = threading.Lock(), list[bool](), threading.Event()

    def look() -> None:
        overlaps.append(not inside.acquire(blocking=False))
        inside.release()
        if len(overlaps) > 50:
            several.set()

    with sampling(lambda: [Counting(then=look)], 0.001, lambda _: None, SystemClock()) as sampler:
        while not several.is_set():
            sampler.read_now()
    assert not any(overlaps)


class Broken(Exception):
    pass


def test_a_reading_that_fails_ends_the_sampling_and_is_raised_by_the_next_reading() -> None:
    main = threading.current_thread()

    def fail() -> None:
        if threading.current_thread() is not main:
            raise Broken

    def sample() -> None:
        with sampling(lambda: [Counting(then=fail)], 60, lambda _: None, SystemClock()) as sampler:
            for _ in range(1_000_000):
                sampler.read_now()
            pytest.fail("the thread's error was never raised")

    with pytest.raises(Broken):
        sample()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("sampler")]


def test_a_sink_that_fails_is_raised_at_the_end() -> None:
    failed = threading.Event()

    def refuse(sample: Sample) -> None:
        failed.set()
        raise Broken

    with pytest.raises(Broken), sampling(list, 60, refuse, SystemClock()):
        assert failed.wait(BOUND_S)


def test_the_callers_own_error_comes_first() -> None:
    with pytest.raises(KeyError), sampling(lambda: [Counting()], 0.001, lambda _: None, SystemClock()):
        raise KeyError
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("sampler")]


def test_what_is_dear_to_read_is_read_at_edges_alone() -> None:
    dear, cheap, enough = Counting("machine/kernel/threads", edges_only=True), Counting(), threading.Event()

    def look(sample: Sample) -> None:
        if sample.values.get("host/kafka/threads", 0) >= 5:
            enough.set()

    with sampling(lambda: [dear, cheap], 0.002, look, SystemClock()) as sampler:
        assert enough.wait(BOUND_S)
        assert dear.count == 0
        assert sampler.read_now().values["machine/kernel/threads"] == 1
