"""HdrHistograms that are filled, added and subtracted in bulk: latencies of many records at a few nanoseconds each.

    histogram = Histogram()
    histogram.record(values_us)          # an array of microseconds
    window = Histogram.decode(last.histogram) - Histogram.decode(first.histogram)
    summary = latency(window)            # what a record keeps

Buckets are those of HdrHistogram with three significant digits from 1 microsecond to a day, so any HdrHistogram reads
what `encode` gives. Of a value only its bucket is kept: a quantile is the upper end of its bucket, at most 0.1 % too
high. Cumulative histograms of one source subtract exactly, which is how windows between two marks are cut.
"""

from __future__ import annotations

import ctypes
import math
import threading
import zlib
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from hdrh.codec import HdrCookieException, HdrHistogramSettingsException, HdrLengthException
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

from meshmark.record import Latency, Lateness

Int64Array = NDArray[np.int64]

DIGITS = 3
HIGHEST_US = 86_400_000_000
"""Longer ones are counted as this long."""
_HALF_BITS = 10  # 2**10 buckets for each doubling hold three digits, as HdrHistogram reckons
_NO_HISTOGRAM = (
    HdrCookieException,
    HdrHistogramSettingsException,
    HdrLengthException,
    IndexError,
    RuntimeError,
    TypeError,
    zlib.error,
)
_BUCKETS: int = HdrHistogram(1, HIGHEST_US, DIGITS).counts_len


class Histogram:
    """Counts of durations in microseconds.

    Kept up to the longest one alone: a second takes two fifths of the buckets that a day does. Nobody writes into an
    array of counts once it is made, so several may share it."""

    def __init__(self, counts: Int64Array | None = None, text: str | None = None) -> None:
        self._counts: Int64Array = np.zeros(1, dtype=np.int64) if counts is None else counts
        self._text = text
        self._sums: Int64Array | None = None

    def record(self, values_us: Int64Array, times: int = 1) -> None:
        """None of them below zero; each counts so many times."""
        found = np.bincount(_index(np.minimum(values_us, HIGHEST_US)), minlength=1)
        self._counts = _added(self._counts, times * found)
        self._text = self._sums = None

    def __add__(self, other: Histogram) -> Histogram:
        return Histogram(_added(self._counts, other._counts))

    def __sub__(self, earlier: Histogram) -> Histogram:
        """What was recorded since then. Raises ValueError if that was not a part of this."""
        counts = _added(self._counts, -earlier._counts)
        if counts.min() < 0:
            raise ValueError("the histogram to subtract holds values that this one does not")
        return Histogram(counts)

    @property
    def count(self) -> int:
        return int(self._up_to()[-1])

    def _up_to(self) -> Int64Array:
        """How many are in each bucket and those before it."""
        if self._sums is None:
            self._sums = np.cumsum(self._counts)
        return self._sums

    def quantile_s(self, quantile: float) -> float | None:
        """The smallest bucket end that so large a share of the values does not exceed; None when there are none."""
        sums = self._up_to()
        if sums[-1] == 0:
            return None
        # The small amount keeps a product such as 0.999 * 1000 from rounding up to the next record.
        rank = max(1, math.ceil(quantile * int(sums[-1]) - 1e-6))
        return _end_us(int(np.searchsorted(sums, rank))) / 1e6

    @property
    def mean_s(self) -> float | None:
        """Taking each value for the middle of its bucket: at most 0.05 % off."""
        filled = np.flatnonzero(self._counts)
        if not len(filled):
            return None
        middles = [(_end_us(index - 1) + 1 + _end_us(index)) / 2 if index else 0 for index in filled.tolist()]
        return float(np.dot(middles, self._counts[filled])) / self.count / 1e6

    @property
    def max_s(self) -> float | None:
        return self.quantile_s(1.0)

    def above(self, seconds: float) -> int:
        """How many are longer, by their buckets."""
        return self.count - int(self.at_most([seconds])[0])

    def at_most(self, bounds_s: Sequence[float]) -> Int64Array:
        """How many are no longer than each bound, by their buckets."""
        sums, places = self._up_to(), _index(np.rint(np.array(bounds_s) * 1e6).astype(np.int64))
        found: Int64Array = sums[np.minimum(places, len(sums) - 1)]
        return found

    def encode(self) -> str:
        """HdrHistogram's compressed form (V2) in base64; the empty text for an empty histogram."""
        if self._text is None:
            self._text = self._encoded()
        return self._text

    def _encoded(self) -> str:
        filled = np.flatnonzero(self._counts)
        if not len(filled):
            return ""
        target, size = _target(), self._counts.nbytes
        ctypes.memmove(target.counts, self._counts.ctypes.data, size)
        ctypes.memset(ctypes.addressof(target.counts) + size, 0, ctypes.sizeof(target.counts) - size)
        target.set_internal_tacking_values(int(filled[0]), int(filled[-1]), self.count)
        return str(target.encode(), "ascii")

    @classmethod
    def decode(cls, text: str) -> Histogram:
        """What `encode` gave. Raises ValueError where that cannot be."""
        return cls(_decoded(text), text) if text else cls()


@lru_cache(maxsize=16)
def _decoded(text: str) -> Int64Array:
    """Load workers' reports are cumulative: each is decoded as the later one, then as the earlier one."""
    try:
        source = HdrHistogram.decode(text)
    except _NO_HISTOGRAM as error:
        raise ValueError(f"not a histogram: {error}") from error
    if source.counts_len != _BUCKETS:
        raise ValueError("a histogram with other buckets")
    used = source.get_counts_array_index(source.max_value) + 1
    return np.frombuffer(source.counts, dtype=np.int64)[:used].copy()


def _added(one: Int64Array, other: Int64Array) -> Int64Array:
    """The sum of counts, as long as the longer ones."""
    short, long = sorted((one, other), key=len)
    found: Int64Array = long.copy()
    found[: len(short)] += short
    return found


class _Targets(threading.local):
    """What a thread encodes with: making one takes longer than encoding."""

    def __init__(self) -> None:
        self.histogram = HdrHistogram(1, HIGHEST_US, DIGITS)


_targets = _Targets()


def _target() -> HdrHistogram:
    return _targets.histogram


def combined(histograms: Iterable[Histogram]) -> Histogram:
    """Their sum; of one alone, itself."""
    known = list(histograms)
    return sum(known[1:], known[0]) if known else Histogram()


def total(texts: Iterable[str]) -> Histogram:
    """The sum of encoded histograms."""
    return combined(Histogram.decode(text) for text in texts if text)


def latency(histogram: Histogram) -> Latency:
    return Latency(
        count=histogram.count,
        p50_s=histogram.quantile_s(0.5),
        p90_s=histogram.quantile_s(0.9),
        p99_s=histogram.quantile_s(0.99),
        p99_9_s=histogram.quantile_s(0.999),
        max_s=histogram.max_s,
        histogram=histogram.encode(),
    )


def lateness(histogram: Histogram) -> Lateness:
    return Lateness(
        records=histogram.count,
        late_1ms=histogram.above(0.001),
        late_10ms=histogram.above(0.010),
        max_s=histogram.max_s,
        histogram=histogram.encode(),
    )


def _index(values_us: Int64Array) -> Int64Array:
    """The bucket of each value: its leading 11 bits, counted on through the doublings."""
    # frexp gives the length in bits; float64 holds every integer up to the highest exactly.
    shift = np.maximum(np.frexp(values_us.astype(np.float64))[1].astype(np.int64) - (_HALF_BITS + 1), 0)
    index: Int64Array = (shift << _HALF_BITS) + (values_us >> shift)
    return index


def _end_us(index: int) -> int:
    """The highest whole value of a bucket."""
    shift = max(0, (index >> _HALF_BITS) - 1)
    return ((index - (shift << _HALF_BITS) + 1) << shift) - 1
