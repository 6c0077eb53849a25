"""How near probes and laws are, told from records."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.near import Gap, each_way, links, losses, near, residuals, told
from meshmark.analysis.model import DistanceLaw, DistancePoint, Interval
from meshmark.cli import app
from meshmark.data_plane import DataPlane
from meshmark.record import LinkProbe
from meshmark.store import load

PLAN = """name: small
repeats: 1
environment: {diskSeconds: 0, networkSeconds: 0}
method: {warmupSeconds: 1, windowSeconds: 2, trials: 2}
cluster:
  topology:
    clusters: [{name: near, brokers: 2, clients: 1}, {name: far, brokers: 1}]
    links: [{ends: [near, far], rttMs: 24, loss: 0.01, bandwidthBytesS: 50000000}]
scenarios: [plain]
"""


def link(rtt_s: float, *, asked_s: float = 0.02, lost: int = 0, trial: int | None = None) -> LinkProbe:
    return LinkProbe(
        source="a",
        target="b",
        kind="relay",
        trial=trial,
        asked_rtt_s=asked_s,
        rtt_s=rtt_s,
        rtt_max_s=rtt_s,
        asked_loss=0.01,
        packets_sent=0 if trial else 1_000,
        packets_lost=lost,
    )


def test_the_worst_counts_in_either_direction() -> None:
    gaps = [
        Gap(what="network", asked=100, found=101),
        Gap(what="network", asked=100, found=93, tries=2),
        Gap(what="CPU of brokers", asked=1, found=1),
    ]
    assert list(near(gaps)) == [
        "network                 2 probes: mean -3.0 %, worst -7.0 %, 1 of 2 within 5 %, 1 after another try",
        "CPU of brokers          1 probes: mean +0.0 %, worst +0.0 %, 1 of 1 within 5 %",
    ]


def test_round_trips_are_told_in_milliseconds_too_and_under_load_apart() -> None:
    lines = list(near(list(links([link(0.0205), link(0.0199), link(0.024, trial=1), link(0.3e-3, asked_s=0)]))))
    assert lines == [
        "RTT before load         2 probes: mean +1.0 %, worst +2.5 % (furthest off +0.50 ms), 2 of 2 within 5 %",
        "RTT under load          1 probes: mean +20.0 %, worst +20.0 % (furthest off +4.00 ms), 0 of 1 within 5 %",
    ]


def test_losses_are_of_all_packets() -> None:
    assert list(losses([link(0.02, lost=9), link(0.02, lost=13), link(0.02, trial=1)])) == [
        "loss of 1 %: 22 of 2,000 packets, 1.1 %, within chance"
    ]


@pytest.mark.parametrize(("lost", "verdict"), [(29, "beyond"), (28, "within"), (12, "within"), (11, "beyond")])
def test_a_loss_is_within_chance_or_beyond(lost: int, verdict: str) -> None:
    """Of 2,000 at 1 %: 20, give or take 1.96 times 4.45."""
    (line,) = losses([link(0.02, lost=lost), link(0.02)])
    assert line.endswith(f", {verdict} chance")


def test_each_way_is_told_with_what_was_asked_of_it() -> None:
    narrow = {"asked_bandwidth_bytes_s": 20e6, "bandwidth_bytes_s": 12.3e6}
    first, second = (link(0.0203, lost=9).model_copy(update=narrow), link(0.0204, lost=13).model_copy(update=narrow))
    free = link(0.0201, asked_s=0.02).model_copy(update={"asked_loss": 0.0})
    assert list(each_way([first, free, second, link(0.03, trial=1)])) == [
        f"{'20 ms, loss 1 %, 20 MB/s':32} 20.30 20.40 ms; lost 9 of 1,000 13 of 1,000; 12.3 12.3 MB/s",
        f"{'20 ms':32} 20.10 ms",
    ]
    assert {gap.what for gap in links([first])} == {"RTT before load", "bandwidth with loss"}


@pytest.mark.parametrize(("high", "where"), [(130.0, "inside"), (95.0, "outside")])
def test_a_law_is_told_by_what_it_did_not_know(high: float, where: str) -> None:
    def point(name: str, predicted: float | None, interval: Interval | None) -> DistancePoint:
        return DistancePoint(
            scenario=name,
            rtt_s=0.025,
            rate_msg_s=100,
            lives=1,
            held_out=interval is not None,
            fitted_msg_s=100,
            predicted_msg_s=predicted,
            predicted_interval=interval,
            error=None if predicted is None else predicted / 100 - 1,
        )

    points = (point("x", 110, Interval(low=90, high=high)), point("y", 95, None), point("z", None, None))
    law = DistanceLaw(
        data_plane=DataPlane.PLAIN,
        rate_at_zero_msg_s=None,
        rate_at_zero_interval=None,
        bytes_per_rtt=None,
        bytes_per_rtt_interval=None,
        points=points,
    )
    assert list(residuals([law])) == [
        f"law of plain: x (25 ms, held out): predicted 110 (90 … {high:.0f}, {where}), measured 100, +10.0 %",
        "law of plain: y (25 ms, by the others): predicted 95, measured 100, -5.0 %",
    ]


def test_it_is_of_a_run_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plan.yaml").write_text(PLAN, encoding="utf-8")
    app.main(["run", str(tmp_path / "plan.yaml"), "--backend", "simulated", "--out", str(tmp_path / "run")])
    lines = list(told([load(tmp_path / "run")]))
    assert [line[:20].strip() for line in lines[:3]] == ["RTT before load", "bandwidth with loss", "RTT under load"]
    assert lines[3:] == ["loss of 1 %: 20 of 2,000 packets, 1 %, within chance"]


def test_a_run_without_any_says_so(tmp_path: Path) -> None:
    assert list(told([])) == ["these runs have no limits, no links and no law of distance"]
