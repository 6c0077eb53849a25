"""Rates that change, and payloads, as a load asks for them."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from meshmark.cli.app import main
from meshmark.errors import UsageError
from meshmark.load.clients.payload import values
from meshmark.load.shapes import parse, seconds
from meshmark.pacer import Bursts, Shape, Sine, Step, Steps
from meshmark.worker_protocol import Payload, WorkerSpec

STEPS = Steps(steps=(Step(rate_msg_s=1_000, seconds=30), Step(rate_msg_s=5_000, seconds=10)))


@pytest.mark.parametrize(
    ("text", "shape", "lasts"),
    [
        ("steps:1000x30,5000x10", STEPS, 40),
        (
            "bursts:base=0,burst=2e4,seconds=2,period=10",
            Bursts(base_msg_s=0, burst_msg_s=20_000, burst_s=2, period_s=10),
            None,
        ),
        ("sine:period=60,mean=5000,amplitude=0.3", Sine(mean_msg_s=5_000, amplitude=0.3, period_s=60), None),
    ],
)
def test_a_shape_is_one_word(text: str, shape: Shape, lasts: float | None) -> None:
    assert parse(text) == shape
    assert seconds(shape) == lasts


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("square:1", "no shape is called square"),
        ("", "no shape is called nothing"),
        ("steps:100", "cannot be read"),
        ("steps:fastx3", "cannot be read"),
        ("steps:100x3,0x3", "the last step goes on for ever"),
        ("sine:mean=1,amplitude=2,period=3", "amplitude: Input should be less than 1"),
        ("sine:mean=1,amplitude=0.5", "sine takes mean, amplitude, period"),
        ("bursts:base=1,burst=2,seconds=9,period=3", "must be shorter than"),
    ],
)
def test_what_is_no_shape_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse(text)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no topic is given"),
        (["--topic", "t", "--rate", "5", "--shape", "steps:1x1"], "only one of them can be"),
        (["--topic", "t", "--backlog-bytes", "10", "--rate", "5"], "a backlog needs consumers"),
        (["--topic", "t", "--groups", "1", "--backlog-bytes", "10"], "a backlog needs consumers"),
        (["--topic", "t", "--groups", "1", "--consumers", "0"], "--consumers"),
        (["--topic", "t", "--groups", "65"], "--groups"),
        (["--topic", "t", "--consumer-property", "x"], "--consumer-property x: no `=`"),
        (["-f", "/no/such/workload.yaml"], "/no/such/workload.yaml"),
    ],
)
def test_usage_errors_say_what_is_meant(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    assert main(["load", "--bootstrap-server", "localhost:1", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_values_are_random_as_far_as_asked_and_repeat_in_turn() -> None:
    pool = values(Payload(random_share=0.25, distinct=3), rows=7, size=40, seed=1)
    assert pool.shape == (7, 40)
    assert not pool[:, 10:].any()
    assert len({row.tobytes() for row in pool}) == 3
    assert (pool[0] == pool[3]).all()
    assert (pool == values(Payload(random_share=0.25, distinct=3), rows=7, size=40, seed=1)).all()


def test_values_may_be_given() -> None:
    pool = values(Payload(content=base64.b64encode(b"x" * 20).decode()), rows=2, size=20, seed=1)
    assert [row.tobytes() for row in pool] == [b"x" * 20] * 2


def spec(**changes: Any) -> WorkerSpec:
    given: dict[str, Any] = {
        "name": "producer-1",
        "role": "producer",
        "bootstrap_servers": "k:1",
        "client_config": {},
        "config": {},
        "topics": ("a", "b"),
        "partitions_per_topic": 0,
        "message_size": 64,
        "connections": 3,
        "seed": 1,
    }
    return WorkerSpec(**(given | changes))


def test_topics_are_dealt_to_connections_in_turn() -> None:
    assert [spec(topic_each=True).topics_of(place) for place in range(3)] == [("a",), ("b",), ("a",)]
    assert spec().topics_of(2) == ("a", "b")
    with pytest.raises(ValueError, match="1 connections cannot have one of 2 topics each"):
        spec(topic_each=True, connections=1)
