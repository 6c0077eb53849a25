"""`meshmark load` by either client, as a user runs it, on one real broker with SASL: who may, what is not there, and
what becomes of records while the broker is gone, process and sockets and all.
"""

from __future__ import annotations

import ctypes
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from meshmark.cli.app import main
from meshmark.kafka import distribution, launch, storage
from meshmark.kafka.admin import create_topics, wait_for_brokers
from meshmark.plan import ClusterSpec
from tests.lab.ground import BOUND_S, wait_for

MODULE = "org.apache.kafka.common.security.plain.PlainLoginModule"
PARTITIONS = 2
REFUSED = {"librdkafka": "_AUTHENTICATION", "raw": "SASL_AUTHENTICATION_FAILED"}
UNKNOWN_TOPIC = {"librdkafka": "UNKNOWN_TOPIC_OR_PART", "raw": "UNKNOWN_TOPIC_OR_PARTITION"}
CLIENTS = tuple(REFUSED)


@dataclass
class Broker:
    """A process that can be killed and started again, on the same port and the same log."""

    address: str
    directory: Path
    command: tuple[str, ...]
    admin: AdminClient
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        """Until it serves."""
        with (self.directory / "broker.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, cwd=self.directory, preexec_fn=die_with_the_tests
            )
        wait_for_brokers(self.admin, 1, BOUND_S)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(BOUND_S)

    def stored(self) -> int:
        """Records in the log of the topic, once its partitions are led."""
        ends: list[int] = []

        def ask() -> bool:
            self.admin.list_topics(timeout=BOUND_S)  # the epoch of a leader before it died is refused
            latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
            answers = self.admin.list_offsets({TopicPartition("t", number): latest for number in range(PARTITIONS)})
            try:
                ends[:] = [answer.result().offset for answer in answers.values()]
            except KafkaException:
                return False
            return True

        wait_for(ask, "the partitions are led")
        return sum(ends)

    def properties(self, password: str) -> str:
        """A file as Kafka's own tools take it."""
        file = self.directory / f"{password}.properties"
        file.write_text(
            "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\n"
            f'sasl.jaas.config={MODULE} required \\\n  username="tester" password="{password}";\n'
        )
        return str(file)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def die_with_the_tests() -> None:
    parent_death_signal = 1  # PR_SET_PDEATHSIG
    ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGKILL, 0, 0, 0)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    directory = tmp_path_factory.mktemp("sasl")
    address, controller = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    settings = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{controller}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"CLIENT://{address},CONTROLLER://{controller}",
        "listener.security.protocol.map": "CLIENT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "CLIENT",
        "sasl.enabled.mechanisms": "PLAIN",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "listener.name.client.plain.sasl.jaas.config": (
            f'{MODULE} required username="tester" password="right" user_tester="right";'
        ),
        "log.dirs": str(directory / "node" / "log"),
        "metadata.log.dir": str(directory / "node" / "metadata"),
    }
    file = directory / "server.properties"
    runtime = launch.Runtime(java=distribution.java(), jars=tuple(distribution.fetch()))
    storage.format_storage(runtime, settings, directory / "node")
    file.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    command = launch.broker_command(runtime, ClusterSpec(heap_bytes=268_435_456), file, directory)
    sasl: dict[str, str | int | float] = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "tester",
        "sasl.password": "right",
        "log_level": 2,
    }
    admin = AdminClient({"bootstrap.servers": address, **sasl})
    made = Broker(address, directory, tuple(command), admin)
    try:
        made.start()
        create_topics(admin, {"t": [[1]] * PARTITIONS}, {}, BOUND_S)
        yield made
    finally:
        made.kill()


def arguments(broker: Broker, client: str, *options: str, password: str = "right", topic: str = "t") -> list[str]:
    told = ("--topic", topic, "--even", "--workers", "2", "--client", client, *options, "-o", "json")
    return [
        *("load", "--bootstrap-server", broker.address),
        *(*told, "--command-config", broker.properties(password)),
    ]


def run(broker: Broker, client: str, *, password: str = "right", topic: str = "t") -> int:
    options = ("--rate", "200", "--duration", "1")
    return main(arguments(broker, client, *options, password=password, topic=topic))


@pytest.mark.parametrize("client", CLIENTS)
def test_with_the_right_password_load_is_accounted_for(
    broker: Broker, client: str, capfd: pytest.CaptureFixture[str]
) -> None:
    code = run(broker, client)
    out, err = capfd.readouterr()
    told = json.loads(out)
    assert code in (0, 3), err
    assert told["offered"] == told["acknowledged"] == 200


@pytest.mark.parametrize("client", CLIENTS)
def test_with_a_wrong_password_the_kind_is_named_and_the_password_is_not(
    broker: Broker, client: str, capfd: pytest.CaptureFixture[str]
) -> None:
    code = run(broker, client, password="hush-hush")
    out, err = capfd.readouterr()
    assert code == 10
    assert f"{REFUSED[client]}: " in err
    assert "hush-hush" not in out + err
    assert "Traceback" not in err


@pytest.mark.parametrize("client", CLIENTS)
def test_a_topic_that_is_not_there_is_named(broker: Broker, client: str, capfd: pytest.CaptureFixture[str]) -> None:
    code = run(broker, client, topic="nowhere")
    err = capfd.readouterr().err
    assert code == 10
    assert f"{UNKNOWN_TOPIC[client]}: no topic nowhere on the cluster; create it before the load" in err
    assert "Traceback" not in err


@contextmanager
def going_on(broker: Broker, client: str) -> Iterator[subprocess.Popen[str]]:
    """Load that ends when it is interrupted; records have a second to live."""
    options = ("--rate", "500", "--duration", "600", "--producer-property", "message.timeout.ms=1000")
    argv = [sys.executable, "-m", "meshmark", *arguments(broker, client, *options)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("client", CLIENTS)
def test_a_broker_that_dies_and_comes_back_leaves_a_closed_account(broker: Broker, client: str) -> None:
    before = broker.stored()
    with going_on(broker, client) as process:
        wait_for(lambda: broker.stored() > before + 500, "load is stored")
        broker.kill()
        broker.start()
        returned = broker.stored()
        wait_for(lambda: broker.stored() > returned + 500, "load goes on after the broker's return")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=BOUND_S)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    told = json.loads(out)
    lost = told["failed"] + told["unknown"]
    assert told["offered"] == told["acknowledged"] + lost
    assert told["outstanding"] == 0
    assert sum(told["errors"].values()) == lost > 0
    assert "_MSG_TIMED_OUT" in told["errors"]
    stored = broker.stored() - before
    assert told["acknowledged"] <= stored <= told["acknowledged"] + told["unknown"]
    assert told["notes"] == []
