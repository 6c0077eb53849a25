"""Load by itself: what it is asked for, how a properties file is read, how workers are spawned, what is printed."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from pydantic import ValidationError

from meshmark.cli import load as verb
from meshmark.cli import load_output as told_as
from meshmark.cli.app import main
from meshmark.confidential import holds_secret
from meshmark.errors import ComponentFailed, Inconclusive, LoadError, UsageError
from meshmark.histogram import Histogram, latency, lateness
from meshmark.load.alone import LoadRequest, LoadResult
from meshmark.load.local import local
from meshmark.load.mark import Mark
from meshmark.load.properties import client_properties, pairs, translated
from meshmark.load.settings import CONSUMER_SETTINGS, PRODUCER_SETTINGS
from meshmark.record import NOT_ACCEPTED, LoadTotals
from meshmark.worker_protocol import Batches

BOUND_S = 20.0


def request(**changes: Any) -> LoadRequest:
    return LoadRequest(**({"bootstrap_servers": "k:9092", "topics": ("t",), "duration_s": 1} | changes))


def test_with_a_rate_the_clients_share_it() -> None:
    specs = request(rate_msg_s=900, clients=3, workers=2, producer_config={"acks": "1"}).specs()
    assert [(spec.name, spec.connections) for spec in specs] == [(f"producer-{n}", 2) for n in (1, 2, 3)]
    schedules = [spec.schedule for spec in specs if spec.schedule]
    assert [(schedule.worker, schedule.workers) for schedule in schedules] == [(0, 3), (1, 3), (2, 3)]
    assert len({schedule.pacer for schedule in schedules}) == 1
    assert {spec.config["acks"] for spec in specs} == {"1"}
    assert {spec.partitions_per_topic for spec in specs} == {0}


def test_no_setting_that_may_hold_a_secret_is_told_of_clients() -> None:
    assert [name for name in (*PRODUCER_SETTINGS, *CONSUMER_SETTINGS) if holds_secret(name)] == []


def test_without_a_rate_the_loop_is_closed_and_named_so() -> None:
    asked = request()
    assert asked.mode == "closed loop"
    assert [spec.schedule for spec in asked.specs()] == [None]


@pytest.mark.parametrize(
    "changes",
    [
        {"rate_msg_s": 0},
        {"rate_msg_s": -5},
        {"rate_msg_s": float("nan")},
        {"rate_msg_s": float("inf")},
        {"rate_msg_s": 1e12},
        {"duration_s": 0},
        {"message_size": 15},
        {"message_size": 1_000_001},
        {"workers": 0},
        {"clients": 0},
        {"bootstrap_servers": "kafka"},
        {"bootstrap_servers": "kafka:port"},
        {"bootstrap_servers": "kafka:70000"},
        {"bootstrap_servers": "one:1,,two:2"},
        {"topics": ()},
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        request(**changes)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rate", "0"], "--rate: Input should be greater than 0"),
        (["--rate", "nan"], "--rate"),
        (["--duration", "-1"], "--duration"),
        (["--message-size", "3"], "--message-size"),
        (["--bootstrap-server", "nohost"], "--bootstrap-server: nohost is not HOST:PORT"),
        (["-o", "xml"], "no form xml"),
        (["--producer-property", "acks"], "no `=`"),
        (["--command-config", "/no/such/file"], "/no/such/file cannot be read"),
    ],
)
def test_usage_errors_name_the_option(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    assert main(["load", "--bootstrap-server", "localhost:1", "--topic", "t", *arguments]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("a=b\nc = d\n  e: f\ng h", {"a": "b", "c": "d", "e": "f", "g": "h"}),
        ("# no\n! no\n\na=b=c # yes", {"a": "b=c # yes"}),
        ("a=one \\\n   two\nb=x\\\\", {"a": "one two", "b": "x\\"}),
        (r"a\=b=c\:d\u0041\n", {"a=b": "c:dA\n"}),
        ("empty=\nalone", {"empty": "", "alone": ""}),
        ("a=1\na=2", {"a": "2"}),
    ],
)
def test_properties_are_read_as_java_does(text: str, read: dict[str, str]) -> None:
    assert dict(pairs(text)) == read


PLAIN = 'org.apache.kafka.common.security.plain.PlainLoginModule required username="u" password="p;=\'x";'
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required username=u password=p;"


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({"security.protocol": "SASL_SSL", "acks": "all"}, {"security.protocol": "SASL_SSL", "acks": "all"}),
        ({"sasl.jaas.config": PLAIN}, {"sasl.username": "u", "sasl.password": "p;='x"}),
        ({"sasl.jaas.config": SCRAM}, {"sasl.username": "u", "sasl.password": "p"}),
        (
            {"ssl.keystore.type": "PEM", "ssl.keystore.location": "k.pem", "ssl.key.password": "s"},
            {"ssl.certificate.location": "k.pem", "ssl.key.location": "k.pem", "ssl.key.password": "s"},
        ),
        ({"ssl.truststore.type": "PEM", "ssl.truststore.location": "ca.pem"}, {"ssl.ca.location": "ca.pem"}),
        (
            {"ssl.keystore.type": "PKCS12", "ssl.keystore.location": "k.p12", "ssl.keystore.password": "s"},
            {"ssl.keystore.location": "k.p12", "ssl.keystore.password": "s"},
        ),
        (
            {"ssl.keystore.type": "PEM", "ssl.keystore.key": "K", "ssl.keystore.certificate.chain": "C"},
            {"ssl.key.pem": "K", "ssl.certificate.pem": "C"},
        ),
        ({"ssl.endpoint.identification.algorithm": ""}, {"ssl.endpoint.identification.algorithm": "none"}),
        ({"key.serializer": "org.example.S", "value.deserializer": "org.example.D"}, {}),
    ],
)
def test_kafkas_names_become_the_clients(given: dict[str, str], made: dict[str, str]) -> None:
    assert translated(given) == made


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ssl.keystore.location=k.jks\nssl.keystore.password=hush", "ssl.keystore.location: a store of type JKS"),
        (
            "ssl.truststore.location=t.p12\nssl.truststore.type=PKCS12",
            "ssl.truststore.location: a store of type PKCS12",
        ),
        ("sasl.jaas.config=com.example.Krb5LoginModule required hush=1;", "sasl.jaas.config: only PlainLoginModule"),
    ],
)
def test_what_cannot_be_translated_is_named_without_its_value(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "client.properties"
    file.write_text(line)
    with pytest.raises(UsageError) as caught:
        client_properties(file)
    assert str(caught.value).startswith(f"{file}: {said}")
    assert "hush" not in str(caught.value)


ECHO = "import sys\nfor line in sys.stdin: print(line.strip()[::-1], flush=True)"


def test_local_workers_are_spoken_to_in_lines_and_end_with_their_input() -> None:
    with local() as machine:
        with machine.spawn("this machine", ("python", "-c", ECHO), name="echo") as process:
            process.send_line("abc")
            assert process.read_line(BOUND_S) == "cba"
            assert process.read_line(0) is None
        assert process.wait(0) == 0


def test_a_local_worker_that_dies_leaves_its_last_words() -> None:
    code = "import sys; print('no such thing', file=sys.stderr); sys.exit(3)"
    with local() as machine, machine.spawn("this machine", ("python", "-c", code), name="worker-1") as process:
        with pytest.raises(ComponentFailed, match=r"worker-1 ended \(status 3\)") as caught:
            process.read_line(BOUND_S)
        assert caught.value.log_tail == ("no such thing",)


def test_a_local_worker_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshmark.load.local.GRACE_S", 0.01)
    code = "import signal; print('up', flush=True); signal.pause()"
    with local() as machine, machine.spawn("this machine", ("python", "-c", code), name="stuck") as process:
        assert process.read_line(BOUND_S) == "up"
    assert process.wait(0) == -signal.SIGKILL


def result(
    totals: LoadTotals,
    *,
    late: int = 0,
    missed_s: float = 0,
    interrupted: bool = False,
    rate: bool = True,
    notes: tuple[str, ...] = (),
) -> LoadResult:
    taken, delays = Histogram(), Histogram()
    taken.record(np.full(totals.acknowledged, 2_000))
    delays.record(np.array([100] * (100 - late) + [20_000] * late))
    end = Mark(
        time_s=9,
        clients=1,
        connections=20,
        totals=totals,
        batches=Batches(),
        cpu_user_s=1,
        cpu_system_s=0.5,
        latency=latency(taken) if rate else None,
        lateness=lateness(delays) if rate else None,
        missed_s=missed_s,
        notes=notes,
    )
    mode = "open loop" if rate else "closed loop"
    return LoadResult(
        mode=mode,
        seconds=2,
        rate_msg_s=50,
        consumed_msg_s=0,
        end=end,
        measured=end,
        interrupted=interrupted,
        settings={"producer-1": {"linger.ms": "5"}},
    )


FINE = LoadTotals(offered=100, acknowledged=100)
FULL = LoadTotals(offered=100, acknowledged=97, failed=3, errors={NOT_ACCEPTED: 3})
LOST = LoadTotals(offered=100, acknowledged=97, failed=1, unknown=2, errors={"_MSG_TIMED_OUT": 3})


def test_json_has_the_whole_account() -> None:
    told = told_as.as_json(result(LOST, late=5))
    keys = ("offered", "acknowledged", "failed", "unknown", "outstanding")
    assert [told[key] for key in keys] == [100, 97, 1, 2, 0]
    assert set(told["latency_ms"]) == {"p50", "p90", "p99", "p99_9", "max"}
    assert told["latency_ms"]["p50"] == 2.0
    assert told["lateness"]["late_10ms"] == 5
    assert (told["mode"], told["rate_msg_s"], told["valid"]) == ("open loop", 50, False)
    assert "late" in told["invalid"]
    assert told["client_settings"] == {"producer-1": {"linger.ms": "5"}}


def test_a_schedule_that_was_too_much_is_named() -> None:
    told = told_as.as_json(result(FULL, missed_s=2))
    assert told["invalid"].startswith("the load generator was 2 s behind its schedule when that ended")


def test_a_closed_loop_claims_no_latency() -> None:
    told = told_as.as_json(result(FINE, rate=False))
    assert (told["mode"], told["latency_ms"], told["lateness"]) == ("closed loop", None, None)
    assert "latency" not in told_as.summary(result(FINE, rate=False))


def test_the_summary_names_errors_and_delays() -> None:
    told = told_as.summary(result(LOST, late=5))
    assert "3 x _MSG_TIMED_OUT" in told
    assert "late by over 10 ms: 5 %" in told


@pytest.mark.parametrize(
    ("given", "raised"),
    [
        (result(LOST), typer.Exit),
        (result(FINE, late=5), Inconclusive),
        (result(FULL), typer.Exit),
        (result(FULL, late=5), Inconclusive),
        (result(FULL, missed_s=2), Inconclusive),
        (result(LOST, missed_s=2), typer.Exit),
        (result(LoadTotals(offered=5, failed=5, errors={"_MSG_TIMED_OUT": 5})), LoadError),
        (result(FINE, interrupted=True), KeyboardInterrupt),
        (result(FINE, notes=("1 batches were stored at offsets given before",)), typer.Exit),
    ],
    ids=[
        *("lost", "late", "no room", "no room, and late", "too much", "lost of too much", "nothing", "interrupted"),
        "offsets that went back",
    ],
)
def test_the_exit_code_says_what_came_of_it(given: LoadResult, raised: type[BaseException]) -> None:
    with pytest.raises(raised):
        verb._conclude(given)
    verb._conclude(result(FINE))
