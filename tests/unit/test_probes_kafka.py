"""Answers of a broker's metrics socket -> sums in base units."""

from __future__ import annotations

import pytest

from meshmark.metrics import METRICS
from meshmark.probes import kafka

REMOTE = "kafka.network:type=RequestMetrics,name=RemoteTimeMs,request=Produce"


def answers(**told: str) -> tuple[str, ...]:
    """`-` for everything but questions that end like these keys' values say."""
    by_question = dict.fromkeys(kafka.QUESTIONS, "-")
    for name, answer in told.items():
        by_question[NAMED[name]] = answer
    return tuple(by_question.values())


NAMED = {
    "remote_count": f"{REMOTE} Count",
    "remote_mean": f"{REMOTE} Mean",
    "total_count": f"{REMOTE.replace('Remote', 'Total')} Count",
    "total_mean": f"{REMOTE.replace('Remote', 'Total')} Mean",
    "handlers": kafka.SINGLE["request_handler_idle_s"].question,
    "shrinks": kafka.SINGLE["isr_shrinks"].question,
}


def test_count_and_mean_give_the_sum_of_seconds() -> None:
    assert kafka.metrics(answers(remote_count="200.0", remote_mean="2.5")) == {"produce_remote_s": pytest.approx(0.5)}


def test_the_total_also_gives_the_number_of_requests() -> None:
    told = kafka.metrics(answers(total_count="8.0", total_mean="1000.0"))
    assert told == {"produce_total_s": 8.0, "produce_requests": 8.0}


def test_idle_nanoseconds_become_seconds_and_counts_stay() -> None:
    told = kafka.metrics(answers(handlers="1.5E9", shrinks="3.0"))
    assert told == {"request_handler_idle_s": pytest.approx(1.5), "isr_shrinks": 3.0}


def test_what_has_no_answer_or_half_of_one_is_absent() -> None:
    assert kafka.metrics(answers(remote_count="200.0")) == {}


def test_too_few_answers_are_refused() -> None:
    with pytest.raises(ValueError, match="answers"):
        kafka.metrics(("1.0",))


def test_every_value_is_in_the_table_of_metrics() -> None:
    told = kafka.metrics(("1.0",) * len(kafka.QUESTIONS))
    assert told.keys() <= METRICS.keys()
    assert len(told) == len(kafka.SINGLE) + len(kafka.REQUESTS) * (len(kafka.PARTS) + 1)
