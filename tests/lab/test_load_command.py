"""`meshmark load` on a real broker: the whole account as JSON, errors by kind, exit codes."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from meshmark.backends.lab.cluster import LabCluster
from meshmark.cluster import Process
from meshmark.data_plane import DataPlane
from tests.lab.ground import BOUND_S
from tests.lab.load_ground import CLOCK, broker_signal, end_offsets, prepared, scenario, workload

# Runs the command and says in one line how it ended.
RUN = (
    "import json, subprocess, sys;"
    "done = subprocess.run([sys.executable, '-m', 'meshmark', 'load', *sys.argv[1:]], capture_output=True, text=True);"
    "print(json.dumps([done.returncode, done.stdout, done.stderr]), flush=True)"
)
FINE = (0, 3)
"""Nothing was lost; 3 when this machine was too busy to offer load on time, which is not what is tested here."""


@pytest.fixture(scope="module", params=[DataPlane.PLAIN, DataPlane.KAFKA_TLS])
def cluster(request: pytest.FixtureRequest) -> Iterator[LabCluster]:
    with prepared() as backend, backend.cluster(scenario(request.param)) as made:
        yield made


@pytest.fixture
def properties(cluster: LabCluster, tmp_path: Path) -> Path:
    """The cluster's client settings by Kafka's names."""
    settings = dict(cluster.client_config)
    if authority := settings.pop("ssl.ca.location", None):
        settings |= {"ssl.truststore.type": "PEM", "ssl.truststore.location": authority}
    file = tmp_path / "client.properties"
    file.write_text("".join(f"{key} = {value}\n" for key, value in settings.items()))
    return file


@contextmanager
def command(cluster: LabCluster, *arguments: str) -> Iterator[Process]:
    argv = ["python", "-c", RUN, "--bootstrap-server", cluster.bootstrap_servers, *arguments]
    with cluster.spawn("client-1", argv, name="load-command") as process:
        yield process


def ended(process: Process) -> tuple[int, str, str]:
    line = process.read_line(2 * BOUND_S)
    assert line is not None
    code, out, err = json.loads(line)
    return code, out, err


def account(out: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(out)
    parts = told["acknowledged"] + told["failed"] + told["unknown"] + told["outstanding"]
    assert told["offered"] == parts
    assert told["outstanding"] == 0
    return told


def test_an_open_loop_is_told_whole(cluster: LabCluster, properties: Path) -> None:
    layout = cluster.create_topics(workload(), "open")
    options = (
        "--topic",
        "open-1",
        "--topic",
        "open-2",
        "--rate",
        "500",
        "--even",
        "--duration",
        "2",
        "--clients",
        "2",
    )
    with command(cluster, *options, "--command-config", str(properties), "-o", "json") as process:
        code, out, err = ended(process)
    told = account(out)
    stored = end_offsets(cluster, layout)
    cluster.delete_topics(layout)
    assert code in FINE, err
    assert (code == 0) == told["valid"]
    assert told["mode"] == "open loop"
    assert told["acknowledged"] == sum(stored.values()) == 1_000
    assert told["errors"] == {}
    assert 0 < told["latency_ms"]["p50"] <= told["latency_ms"]["p99_9"] <= told["latency_ms"]["max"]
    assert told["lateness"]["records"] == told["offered"]
    assert set(told["client_settings"]) == {"producer-1", "producer-2"}
    assert told["client_settings"]["producer-1"]["max.in.flight.requests.per.connection"] == "1000000"


def test_a_closed_loop_is_named_so(cluster: LabCluster, properties: Path) -> None:
    layout = cluster.create_topics(workload(), "closed")
    options = ("--topic", "closed-1", "--duration", "1", "--workers", "2")
    config = ("--command-config", str(properties), "--producer-property", "queue.buffering.max.messages=200")
    with command(cluster, *options, *config) as process:
        code, out, err = ended(process)
    cluster.delete_topics(layout)
    assert code == 0, err
    assert out.startswith("closed loop for 1 s")
    assert "acknowledged" in out
    assert "latency " not in out


@pytest.mark.parametrize("cluster", [DataPlane.PLAIN], indirect=True)
@pytest.mark.parametrize("client", ["librdkafka", "raw"])
def test_an_impossible_rate_ends_in_time_as_the_generators_fault(cluster: LabCluster, client: str) -> None:
    layout = cluster.create_topics(workload(), f"impossible-{client}")
    options = ("--topic", f"impossible-{client}-1", "--rate", "100000000", "--duration", "1", "--client", client)
    config = ("--workers", "2", "--producer-property", "queue.buffering.max.messages=500", "-o", "json")
    with command(cluster, *options, *config) as process:
        code, out, err = ended(process)
    told = account(out)
    stored = sum(end_offsets(cluster, layout).values())
    cluster.delete_topics(layout)
    assert code == 3, err
    assert "load generator" in err
    assert "Traceback" not in err
    assert not told["valid"]
    assert told["acknowledged"] == stored > 0
    assert set(told["errors"]) == {"_NOT_ACCEPTED"}


def test_a_topic_that_does_not_exist_is_named(cluster: LabCluster, properties: Path) -> None:
    with command(cluster, "--topic", "nowhere", "--command-config", str(properties)) as process:
        code, _, err = ended(process)
    assert code == 10
    assert "UNKNOWN_TOPIC_OR_PART: no topic nowhere on the cluster" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("cluster", [DataPlane.KAFKA_TLS], indirect=True)
def test_authentication_that_fails_is_told_by_kind(cluster: LabCluster, tmp_path: Path) -> None:
    file = tmp_path / "client.properties"
    file.write_text("security.protocol=SSL\n")
    with command(cluster, "--topic", "t", "--command-config", str(file)) as process:
        code, _, err = ended(process)
    assert code == 10
    assert "_SSL: " in err
    assert "certificate" in err


def test_a_cluster_that_vanishes_and_returns_leaves_a_closed_account(cluster: LabCluster, properties: Path) -> None:
    layout = cluster.create_topics(workload(), "gone")
    options = ("--topic", "gone-1", "--rate", "500", "--duration", "9", "-o", "json", "--producer-property")
    config = ("message.timeout.ms=1500", "--command-config", str(properties))
    with command(cluster, *options, *config) as process:
        stored = 0
        while stored < 300:
            stored = sum(end_offsets(cluster, layout).values())
        broker_signal(cluster, signal.SIGSTOP)
        CLOCK.sleep(4)
        broker_signal(cluster, signal.SIGCONT)
        back = sum(end_offsets(cluster, layout).values())
        code, out, err = ended(process)
    told = account(out)
    stored = sum(end_offsets(cluster, layout).values())
    cluster.delete_topics(layout)
    assert code == 1, err
    assert sum(told["errors"].values()) == told["failed"] + told["unknown"] > 0
    assert set(told["errors"]) == {"_MSG_TIMED_OUT"}
    assert back < stored, "load went on after the cluster's return"
    assert told["acknowledged"] <= stored <= told["acknowledged"] + told["unknown"]
