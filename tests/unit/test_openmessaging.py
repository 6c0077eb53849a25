"""OpenMessaging Benchmark's workload files: what is read, what is refused and where, what becomes of it."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from meshmark import planfile
from meshmark.cli.app import main
from meshmark.errors import PlanError
from meshmark.load.alone import LoadRequest
from meshmark.load.openmessaging import asked
from meshmark.planfile import openmessaging

# As the files of openmessaging/benchmark's `workloads` directory are.
SIMPLE = """name: 2 topics / 3 partitions / 100b
topics: 2
partitionsPerTopic: 3
messageSize: 100
payloadFile: "payload/payload-100b.data"
subscriptionsPerTopic: 2
consumerPerSubscription: 1
producersPerTopic: 4
producerRate: 50000
consumerBacklogSizeGB: 0
testDurationMinutes: 15
"""
RANDOM = """name: random
topics: 1
partitionsPerTopic: 10
messageSize: 1024
useRandomizedPayloads: true
randomBytesRatio: 0.5
randomizedPayloadPoolSize: 1000
subscriptionsPerTopic: 1
consumerPerSubscription: 1
producersPerTopic: 1
keyDistributor: "NO_KEY"
producerRate: 0
testDurationMinutes: 1
warmupDurationMinutes: 0
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Laid out as there: `workloads` and `payload` side by side."""
    (tmp_path / "workloads").mkdir()
    (tmp_path / "payload").mkdir()
    (tmp_path / "payload" / "payload-100b.data").write_bytes(bytes(range(100)))
    return tmp_path


def written(directory: Path, text: str) -> Path:
    file = directory / "workloads" / "w.yaml"
    file.write_text(text)
    return file


def request(directory: Path, text: str) -> LoadRequest:
    file = openmessaging.load(written(directory, text))
    topics = [f"t-{number + 1}" for number in range(file.workload.topics)]
    return LoadRequest(bootstrap_servers="k:9092", **asked(file, topics, "g"))


def test_a_file_runs_as_its_tool_would_run_it(directory: Path) -> None:
    made = request(directory, SIMPLE)
    assert (made.mode, made.rate_msg_s, made.duration_s, made.warmup_s) == ("open loop", 50_000, 900, 60)
    producer, *consumers = made.specs()
    assert (producer.connections, producer.message_size) == (8, 100)
    assert [producer.topics_of(place) for place in range(3)] == [("t-1",), ("t-2",), ("t-1",)]
    assert base64.b64decode(producer.payload.content) == bytes(range(100))
    assert producer.key_distributor == "NO_KEY"
    assert [(consumer.group, consumer.connections) for consumer in consumers] == [("g-1", 2), ("g-2", 2)]
    assert {consumer.stamp for consumer in consumers} == {producer.stamp} != {0}
    assert made.reads() == {"g-1-t-1": ("t-1",), "g-1-t-2": ("t-2",), "g-2-t-1": ("t-1",), "g-2-t-2": ("t-2",)}


def test_a_rate_of_zero_is_the_closed_loop_and_payloads_are_partly_random(directory: Path) -> None:
    made = request(directory, RANDOM.replace("NO_KEY", "RANDOM_NANO"))
    producer = made.specs()[0]
    assert producer.key_distributor == "RANDOM_NANO"
    assert (made.mode, made.warmup_s) == ("closed loop", 0)
    assert (producer.payload.random_share, producer.payload.distinct, producer.stamp) == (0.5, 1_000, 0)


def test_a_backlog_counts_gigabytes_as_there(directory: Path) -> None:
    made = request(directory, SIMPLE.replace("GB: 0", "GB: 2") + "backlogDrainRatio: 0.99\n")
    assert (made.backlog_bytes, made.backlog_drain_ratio) == (2 * 1024**3, 0.99)
    assert [spec.held for spec in made.specs()] == [False, True, True]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SIMPLE + "producerStartRate: 100\n", ["12:1: producerStartRate: unknown key (did you mean producerRate?)"]),
        (SIMPLE + "keyDistributor: HASHED\n", ['12:17: keyDistributor: "HASHED" is not allowed', "KEY_ROUND_ROBIN"]),
        (SIMPLE.replace("100\n", "8\n"), ["4:14: messageSize: 8 is not allowed; must be a whole number from 16"]),
        (SIMPLE.replace("topics: 2", "topics: two"), ['2:9: topics: "two" is not allowed']),
        (SIMPLE.replace("testDurationMinutes: 15", ""), ["testDurationMinutes: missing"]),
        (SIMPLE.replace("100b.data", "none.data"), ["5:1: payloadFile: cannot be read; looked for"]),
        (
            SIMPLE.replace("messageSize: 100", "messageSize: 99"),
            ["has 100 bytes; messageSize says 99"],
        ),
        (SIMPLE + "randomBytesRatio: 0.5\n", ["12:1: randomBytesRatio: has no effect"]),
        (RANDOM + "payloadFile: x\n", ["15:1: payloadFile: has no effect with useRandomizedPayloads"]),
        (RANDOM.replace("PoolSize: 1000", "PoolSize: 0"), ["7:1: randomizedPayloadPoolSize: missing or 0"]),
        (RANDOM + "consumerBacklogSizeGB: 1\n", ["15:1: consumerBacklogSizeGB: a backlog needs a producerRate"]),
        (SIMPLE.replace("topics: 2", "topics: 2000000"), ["2:9: topics: 2000000 is not allowed"]),
        ("", ["a mapping"]),
        (
            SIMPLE.replace("topics: 2", "topics: 0") + "acceptableBacklog: 3\n",
            ["2:9: topics: 0 is not allowed", "12:1: acceptableBacklog: unknown key"],
        ),
    ],
)
def test_what_cannot_be_honoured_is_refused_at_its_place(directory: Path, text: str, said: list[str]) -> None:
    with pytest.raises(PlanError) as caught:
        openmessaging.load(written(directory, text))
    assert all(each in str(caught.value) for each in said), str(caught.value)


def test_more_clients_than_the_machine_can_hold_are_refused_at_the_start_by_what_is_too_low(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = SIMPLE.replace("producersPerTopic: 4", "producersPerTopic: 1000000").replace("topics: 2", "topics: 5")
    assert main(["load", "--bootstrap-server", "k:1", "-f", str(written(directory, text))]) == 1
    err = capsys.readouterr().err
    # No Linux has more identifiers than 4,194,304.
    assert "5,000,000 producers and 10 consumers need at least" in err
    assert "15,000,040 of kernel.pid_max, which is" in err


def test_a_plan_has_fewer_topics_partitions_and_clients_than_a_file_may_ask_for(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = SIMPLE.replace("topics: 2", "topics: 5000").replace("PerTopic: 3", "PerTopic: 10000")
    file = written(directory, text)
    made = request(directory, text)
    assert (len(made.topics), made.workers, made.partitions_per_topic) == (5_000, 20_000, 10_000)
    assert main(["plan", "import", str(file)]) == 2
    err = capsys.readouterr().err
    assert f"{file}: topics: 5,000 in all; a plan has at most 1,000" in err
    assert f"{file}: partitionsPerTopic: 10,000 in all; a plan has at most 1,000" in err
    assert f"{file}: producersPerTopic: 20,000 in all; a plan has at most 10,000" in err


def test_options_that_the_file_decides_are_refused(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(written(directory, SIMPLE))
    assert main(["load", "--bootstrap-server", "k:1", "-f", file, "--rate", "5", "--clients", "2"]) == 2
    assert f"--rate, --clients: with -f, {file} says this" in capsys.readouterr().err


def test_a_plan_of_it_says_what_it_leaves_to_the_run(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "import", str(written(directory, RANDOM))]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("# From w.yaml. Not taken, because a run decides it:\n#   producerRate 0:")
    assert "not taken: warmupDurationMinutes 0" in err
    (directory / "plan.yaml").write_text(out)
    assert main(["plan", "check", str(directory / "plan.yaml")]) == 0
    assert "randomBytesRatio: 0.5" in out


def test_a_plan_holds_keys_and_the_content_of_a_payload_file(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(directory, SIMPLE + "keyDistributor: KEY_ROUND_ROBIN\n")
    assert main(["plan", "import", str(file)]) == 0
    (directory / "plan.yaml").write_text(capsys.readouterr().out)
    assert main(["plan", "check", str(directory / "plan.yaml")]) == 0
    workload = planfile.load(directory / "plan.yaml").scenarios[0].workload
    assert workload.key_distributor == "KEY_ROUND_ROBIN"
    assert base64.b64decode(workload.payload_base64) == bytes(range(100))


def test_a_plan_cannot_hold_a_backlog_or_a_very_large_payload(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (directory / "payload" / "payload-100b.data").write_bytes(bytes(500_001))
    file = written(directory, SIMPLE.replace("GB: 0", "GB: 1").replace("Size: 100", "Size: 500001"))
    assert main(["plan", "import", str(file)]) == 2
    err = capsys.readouterr().err
    assert f"{file}: payloadFile: a plan holds payloads of up to 500,000 bytes" in err
    assert f"{file}: consumerBacklogSizeGB: a run builds no backlog" in err
