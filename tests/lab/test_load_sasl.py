"""`meshmark load` where clients must say who they are: one real broker with SASL, the command as a user runs it."""

from __future__ import annotations

import ctypes
import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from meshmark.cli.app import main
from meshmark.kafka import distribution, launch, storage
from meshmark.kafka.admin import create_topics, wait_for_brokers
from meshmark.plan import ClusterSpec
from tests.lab.ground import BOUND_S

MODULE = "org.apache.kafka.common.security.plain.PlainLoginModule"


@dataclass(frozen=True)
class Broker:
    address: str
    directory: Path

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
    with (directory / "broker.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=directory, preexec_fn=die_with_the_tests)
    try:
        made = Broker(address, directory)
        sasl: dict[str, str | int | float] = {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "log_level": 2,
        }
        admin = AdminClient(
            {"bootstrap.servers": address, "sasl.username": "tester", "sasl.password": "right", **sasl}
        )
        wait_for_brokers(admin, 1, BOUND_S)
        create_topics(admin, {"t": [[1], [1]]}, {}, BOUND_S)
        yield made
    finally:
        process.kill()
        process.wait(BOUND_S)


def run(broker: Broker, password: str) -> int:
    options = ["--topic", "t", "--rate", "200", "--even", "--duration", "1", "--workers", "2", "-o", "json"]
    return main(
        ["load", "--bootstrap-server", broker.address, *options, "--command-config", broker.properties(password)]
    )


def test_with_the_right_password_load_is_accounted_for(broker: Broker, capfd: pytest.CaptureFixture[str]) -> None:
    code = run(broker, "right")
    out, err = capfd.readouterr()
    told = json.loads(out)
    assert code in (0, 3), err
    assert told["offered"] == told["acknowledged"] == 200


def test_with_a_wrong_password_the_kind_is_named_and_the_password_is_not(
    broker: Broker, capfd: pytest.CaptureFixture[str]
) -> None:
    code = run(broker, "hush-hush")
    out, err = capfd.readouterr()
    assert code == 10
    assert "_AUTHENTICATION" in err
    assert "hush-hush" not in out + err
    assert "Traceback" not in err
