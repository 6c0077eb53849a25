"""`operate`: what it refuses before anything is made, what it prints, and how it ends."""

from __future__ import annotations

import json
import signal
import threading

import pytest
import typer

from meshmark.backends.simulated import SimulatedBackend, SimulatedClock
from meshmark.cli import app, operate
from meshmark.data_plane import DataPlane
from meshmark.errors import Inconclusive
from meshmark.experiment import operate as operating
from meshmark.experiment.operate import Operated, Stage
from meshmark.plan import Scenario
from meshmark.read_back import ReadBack
from meshmark.record import LoadTotals

ACKNOWLEDGED = 1_000


def found(*, read: int = 1, faults: tuple[str, ...] = ()) -> Operated:
    """Of the records that were acknowledged once, one was read so often, and the others once."""
    totals = LoadTotals(offered=ACKNOWLEDGED + 3, acknowledged=ACKNOWLEDGED, failed=1, unknown=2)
    read_back = (
        ReadBack(group=1, acknowledged=1, read=1, records=ACKNOWLEDGED - 1),
        ReadBack(group=1, acknowledged=1, read=read, records=1),
    )
    stages = (
        Stage(name="before", began_s=0, seconds=5, totals=LoadTotals(), latency=None, still_s=None),
        Stage(name="broker-1", began_s=5, seconds=9.25, totals=totals, latency=None, still_s=0.5),
    )
    return Operated(
        operation="restart",
        scenario="plain",
        rate_msg_s=100,
        stages=stages,
        totals=totals,
        read_back=read_back,
        faults=faults,
        late="",
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["stop"], "there is no operation stop\n  there are: restart, rotate"),
        (["restart"], "it is one scenario at a time\n  give one with --only: plain, kafka-tls, istio, istio-mtls"),
        (["restart", "--only", "plain", "-o", "yaml"], "there is no form yaml"),
        (["restart", "--only", "plain", "--rate", "0.5"], "it takes 1 to 1,000,000,000 records a second"),
        (["restart", "--only", "plain", "--rate", "2e9"], "--rate 2e+09 is not allowed"),
        (["restart", "--only", "plain", "--rate", "nan"], "--rate nan is not allowed"),
        (["rotate", "--only", "istio-mtls"], "istio-mtls has no certificates of Kafka's own"),
        (["restart", "--only", "plain", "--cpus", "1"], "--cpus says nothing to the backend lab"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["operate", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_line_a_stage_and_the_account() -> None:
    lines = [line.split() for line in operate.summary(found(read=2)).splitlines()]
    assert lines[0] == ["s", "acknowl.", "failed", "p50", "ms", "p99", "ms", "max", "ms", "still", "s"]
    assert lines[1][:4] == ["before", "5.0", "0", "0"]
    assert lines[2][:4] == ["broker-1", "9.2", "1,000", "3"]
    account = {" ".join(line[:-1]): line[-1] for line in lines[4:8]}
    assert account == {"acknowledged": "1,000", "of them lost": "0", "read twice": "1", "failed": "1"}
    told = json.loads(operate.as_json(found(read=0)))
    assert (told["acknowledged"], told["lost"], told["twice"], told["unknown"]) == (ACKNOWLEDGED, 1, 0, 2)
    assert [stage["name"] for stage in told["stages"]] == ["before", "broker-1"]


def test_lost_records_end_it_with_1_and_what_was_not_read_to_the_end_with_3_as_it_may_be_there() -> None:
    operate.conclude(found())
    operate.conclude(found(read=2))
    with pytest.raises(typer.Exit) as lost:
        operate.conclude(found(read=0))
    assert lost.value.exit_code == 1
    unread = found(read=0, faults=("3 partitions were not read",))
    with pytest.raises(Inconclusive, match="cannot be told: 3 partitions were not read"):
        operate.conclude(unread)
    assert ["not", "read", "1"] in [line.split() for line in operate.summary(unread).splitlines()]
    assert json.loads(operate.as_json(unread))["lost"] is None


def test_an_interrupt_ends_what_is_done_to_a_broker_and_not_only_what_follows_it() -> None:
    ended = []

    def restart(host: str) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
            pytest.fail("an interrupt did not end the restart")
        finally:
            ended.append(host)

    clock = SimulatedClock()
    scenario = Scenario(name="plain", data_plane=DataPlane.PLAIN)
    with SimulatedBackend(clock).cluster(scenario) as cluster:
        cluster.restart = restart  # type: ignore[attr-defined]
        cluster.wait_until_in_sync = print  # type: ignore[attr-defined]
        with pytest.raises(KeyboardInterrupt):
            operating.operate(cluster, scenario, "restart", clock, rate_msg_s=100, seed=1, tell=print)
    assert ended == ["broker-1"]
    assert [each.name for each in threading.enumerate() if each.name.startswith("listener")] == []
