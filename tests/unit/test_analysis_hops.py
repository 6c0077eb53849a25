"""Parts and residual of a mean latency."""

from __future__ import annotations

from typing import Any

import pytest

from meshmark.analysis.equal_load import mean_hops
from meshmark.analysis.hops import RESIDUAL, latency_by_hop
from meshmark.record import Counters, HopTime

WAYS = {"through": 0.009, "past": 0.006, "direct": 0.002, "refused": 0.001}
PRODUCE = {"queue": 0.1, "local": 0.2, "remote": 0.6, "response_queue": 0.1, "response_send": 0.1, "total": 1.1}


def counters(times: float, *, ways: bool = True) -> Counters:
    """As many requests on each way and in each of two brokers, with the times above."""
    values: Counters = {}
    for way, seconds in (WAYS if ways else {"refused": WAYS["refused"]}).items():
        values |= {f"client-1/paths/{way}_s": times * seconds, f"client-1/paths/{way}_requests": times}
    for host in ("broker-1", "broker-2"):
        values |= {f"{host}/kafka/produce_{part}_s": times * seconds / 100 for part, seconds in PRODUCE.items()}
        values[f"{host}/kafka/produce_requests"] = times
    return values


def found(**changes: Any) -> dict[str, float]:
    given: dict[str, Any] = {
        "mean_s": 0.060,
        "records": 10_000,
        "held_s": 10.0,
        "handed_over": 10_000,
        "queued": (25.0, 5_000),
        "sending": (0.1, 100),
        "answering": (5.0, 200),
        "start": counters(50),
        "end": counters(150),
    }
    return {hop.hop: hop.mean_s for hop in latency_by_hop(**{**given, **changes})}


def test_each_part_is_the_mean_of_what_was_counted_in_the_window() -> None:
    assert found() == pytest.approx(
        {
            "held back": 0.001,
            "client queue": 0.005,
            "client send": 0.001,
            "client proxy": 0.003,
            "network": 0.001,
            "broker proxy": 0.003,
            "broker queue": 0.001,
            "broker local": 0.002,
            "broker remote": 0.006,
            "broker response": 0.002,
            "connection": 0.025 - 0.018,
            RESIDUAL: 0.060 - 0.007 - 0.025,
        }
    )


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="everything known"),
        pytest.param({"mean_s": 0.001}, id="parts that are more than the whole"),
        pytest.param({"end": {}, "start": {}}, id="no counters"),
        pytest.param({"queued": (0.0, 0), "sending": (0.0, 0), "answering": (0.0, 0)}, id="no statistics"),
        pytest.param({"start": {}}, id="counters that began in the window"),
    ],
)
def test_parts_and_residual_are_the_whole(changes: dict[str, Any]) -> None:
    assert sum(found(**changes).values()) == pytest.approx(changes.get("mean_s", 0.060))


def test_without_sidecars_there_are_no_proxies() -> None:
    parts = found(start=counters(50, ways=False), end=counters(150, ways=False))
    assert "network" in parts
    assert not {"client proxy", "broker proxy"} & parts.keys()


def test_what_was_not_counted_is_in_the_residual() -> None:
    parts = found(queued=(0.0, 0))
    assert "client queue" not in parts
    assert parts[RESIDUAL] == pytest.approx(found()[RESIDUAL] + 0.005)


def hop(name: str, mean_s: float) -> HopTime:
    return HopTime(hop=name, mean_s=mean_s, count=10, source="test")


def test_the_mean_over_repeats_still_adds_up_where_a_hop_is_absent_in_one() -> None:
    whole = [hop("client queue", 0.004), hop("network", 0.002), hop(RESIDUAL, 0.002)]
    lacking = [hop("client queue", 0.006), hop(RESIDUAL, 0.004)]
    found = mean_hops([lacking, whole])
    assert [(each.hop, each.count) for each in found] == [("client queue", 20), ("network", 10), (RESIDUAL, 20)]
    assert [each.mean_s for each in found] == pytest.approx([0.005, 0.001, 0.003])


def test_without_repeats_there_are_no_hops() -> None:
    assert mean_hops([]) == ()
