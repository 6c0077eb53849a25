"""The raw client, broken on purpose: brokers that stand still for a second show each mutant.

It is the self-test's arithmetic without a cluster; `tests/lab/test_selftest.py` has it against real Kafka.
"""

from __future__ import annotations

import pytest

from meshmark.histogram import Histogram
from meshmark.load.clients import raw
from meshmark.record import LoadTotals
from tests import mutants
from tests.mutants.real import PLACES
from tests.unit.test_load_raw import Brokers, Clock, at, producer, settle

STOP_MS = 1_000
RATE_MSG_S = 1_000
QUEUE = RATE_MSG_S // 3
"""Of what comes due in the stop, as in the self-test."""
LOW = RATE_MSG_S // 2 - 20


def after_a_stop(monkeypatch: pytest.MonkeyPatch) -> tuple[Histogram, LoadTotals]:
    """Latencies and account of a load that begins when its brokers stand still."""
    brokers, clock = Brokers(), Clock()
    monkeypatch.setattr(raw, "Connector", lambda *_: brokers)
    config = {"queue.buffering.max.messages": QUEUE}
    with producer(clock, rate_msg_s=RATE_MSG_S, **config) as made:
        for after_ms in range(0, STOP_MS + 1, 2):
            at(clock, made, after_ms)
            brokers.read()
        said = made.totals()
        taken = Histogram.decode(made.recorder.latency.encode())
        if taken.count != said.acknowledged:
            return taken, said
        for after_ms in range(STOP_MS, STOP_MS + 60):
            brokers.answer()
            at(clock, made, after_ms)
        made.stop(0)
        settle(clock, made, brokers)
        return Histogram.decode(made.recorder.latency.encode()), made.totals()


def test_the_client_itself_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    latency, totals = after_a_stop(monkeypatch)
    assert latency.count == totals.acknowledged > STOP_MS
    assert latency.above(STOP_MS / 2_000) >= LOW


@pytest.mark.parametrize("name", mutants.RAW_CAUGHT)
def test_a_mutant_is_caught(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    module, place, mutant = PLACES[name]
    monkeypatch.setattr(module, place, mutant)
    latency, totals = after_a_stop(monkeypatch)
    if mutants.RAW_CAUGHT[name] == mutants.BY_ACCOUNTS:
        assert latency.count < totals.acknowledged
    else:
        assert latency.count == totals.acknowledged
        assert latency.above(STOP_MS / 2_000) < LOW
