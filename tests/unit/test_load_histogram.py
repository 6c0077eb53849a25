"""Histograms in bulk: the same buckets as HdrHistogram's own, sums and differences, what a record keeps of them."""

from __future__ import annotations

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from meshmark.histogram import DIGITS, HIGHEST_US, Histogram, combined, latency, lateness, total

VALUES = arrays(np.int64, st.integers(0, 300), elements=st.integers(0, HIGHEST_US))


def of(*values_us: int) -> Histogram:
    made = Histogram()
    made.record(np.array(values_us, dtype=np.int64))
    return made


def test_a_mean_is_right_to_the_middle_of_buckets() -> None:
    assert Histogram().mean_s is None
    assert of(0, 1, 2).mean_s == pytest.approx(1e-6)
    assert of(1_000_000, 3_000_000).mean_s == pytest.approx(2.0, rel=5e-4)


@settings(max_examples=25, deadline=None)
@given(VALUES)
def test_buckets_and_quantiles_are_those_of_hdr_histogram(values_us: np.ndarray) -> None:
    reference = HdrHistogram(1, HIGHEST_US, DIGITS)
    for value in values_us.tolist():
        reference.record_value(value)
    made = Histogram()
    made.record(values_us)
    read = HdrHistogram.decode(made.encode()) if len(values_us) else reference
    assert list(read.counts) == list(reference.counts)
    assert made.count == reference.get_total_count()
    for value in {0, *values_us.tolist()} if len(values_us) else ():
        rank = int((values_us <= value).sum())
        if rank:
            assert made.quantile_s(rank / len(values_us)) == reference.get_highest_equivalent_value(value) / 1e6


@settings(max_examples=25, deadline=None)
@given(VALUES, VALUES)
def test_what_is_added_can_be_taken_away(one: np.ndarray, two: np.ndarray) -> None:
    first, both = Histogram(), Histogram()
    first.record(one)
    both.record(one)
    both.record(two)
    only = Histogram()
    only.record(two)
    assert (both - first).encode() == only.encode()
    assert total([first.encode(), only.encode()]).encode() == both.encode()


@settings(max_examples=25, deadline=None)
@given(VALUES)
def test_encoding_loses_nothing(values_us: np.ndarray) -> None:
    made = Histogram()
    made.record(values_us)
    again = Histogram.decode(made.encode())
    assert (made - again).count == 0
    assert again.count == len(values_us)


def test_nothing_is_the_empty_text_and_has_no_quantiles() -> None:
    assert Histogram().encode() == ""
    assert total(["", ""]).count == 0
    said = latency(Histogram())
    assert (said.count, said.p50_s, said.max_s, said.histogram) == (0, None, None, "")
    assert lateness(Histogram()).late_share == 0


def test_a_later_histogram_cannot_be_taken_from_an_earlier_one() -> None:
    with pytest.raises(ValueError, match="does not"):
        of(5) - of(5, 6)


def test_longer_than_a_day_is_counted_as_a_day() -> None:
    assert of(HIGHEST_US, HIGHEST_US * 10).encode() == of(HIGHEST_US, HIGHEST_US).encode()


@pytest.mark.parametrize(
    ("quantile", "expected_us"), [(0.001, 1), (0.5, 500), (0.9, 900), (0.99, 990), (0.999, 999), (1.0, 1000)]
)
def test_quantiles_are_ranks(quantile: float, expected_us: int) -> None:
    assert of(*range(1, 1001)).quantile_s(quantile) == expected_us / 1e6


def test_lateness_counts_what_is_beyond_its_bounds() -> None:
    said = lateness(of(0, 999, 1_000, 1_001, 9_990, 10_000, 10_010, 50_000))
    assert (said.records, said.late_1ms, said.late_10ms) == (8, 5, 2)
    assert said.late_share == 2 / 8


def test_what_is_recorded_after_decoding_is_nobody_elses() -> None:
    histogram = Histogram()
    histogram.record(np.array([1_000]))
    text = histogram.encode()
    one, other = Histogram.decode(text), Histogram.decode(text)
    one.record(np.array([2_000_000]))
    assert one.count == 2
    assert one.max_s == pytest.approx(2.0, rel=1e-3)
    assert (other.count, other.encode()) == (1, text)
    assert Histogram.decode(one.encode()).count == 2


def test_a_sum_of_one_is_itself_and_of_several_leaves_them_as_they_were() -> None:
    first, second = Histogram(), Histogram()
    first.record(np.array([1_000]))
    second.record(np.array([3_000, 3_000]))
    assert combined([first]).encode() == first.encode()
    assert combined([first, second]).count == 3
    assert (first.count, second.count, combined([]).count) == (1, 2, 0)


def test_counts_up_to_bounds_are_by_bucket() -> None:
    histogram = Histogram()
    histogram.record(np.array([500, 1_000, 1_001, 4_000_000]))
    assert histogram.at_most([0.001, 0.002, 5.0]).tolist() == [2, 3, 4]
    assert histogram.above(0.001) == 2
