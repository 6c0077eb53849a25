"""How a broker's pod starts: the script itself, with stand-ins for Kafka's own scripts."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from meshmark import planfile
from meshmark.backends.kubernetes import config, manifests, target

RECORD = '#!/bin/sh\nprintf \'%s\\n\' "$(basename "$0")" "$@" "heap=$KAFKA_HEAP_OPTS" >> {log}\n'


def started(directory: Path, *, pod: str, zone: str | None, storage: str = RECORD) -> tuple[int, list[str]]:
    """The exit code, and each script with its arguments, a line each."""
    plan = planfile.builtin("banzai-2019")
    scenario = plan.scenario("plain")
    text = config.data(plan, scenario, target(plan, scenario, kafka_version="4.4.0"))[config.START]
    log = directory / "log"
    for name, body in (("kafka-storage.sh", storage), ("kafka-server-start.sh", RECORD)):
        path = directory / name
        path.write_text(body.format(log=log), encoding="utf-8")
        path.chmod(0o755)
    script = directory / "start.sh"
    script.write_text(text.replace(config.KAFKA_SCRIPTS, str(directory)), encoding="utf-8")
    environment = {"PATH": "/usr/bin:/bin", "POD_NAME": pod, "KAFKA_HEAP_OPTS": "-Xmx10g"}
    if zone is not None:
        environment["NODE_ZONE"] = zone
    done = subprocess.run(["/bin/bash", str(script)], env=environment, check=False)
    return done.returncode, log.read_text(encoding="utf-8").splitlines() if log.exists() else []


@pytest.mark.parametrize("zone", [None, ""])
def test_the_ordinal_says_which_broker_it_is(tmp_path: Path, zone: str | None) -> None:
    code, lines = started(tmp_path, pod="broker-3", zone=zone)
    settings = "/etc/meshmark/broker-3.properties"
    assert code == 0
    assert lines[:3] == ["kafka-storage.sh", "format", "--ignore-formatted"]
    assert lines[5:8] == ["--config", settings, "heap=-Xmx256M"]
    assert lines[8:] == ["kafka-server-start.sh", settings, "heap=-Xmx10g"]


def test_the_nodes_zone_is_the_rack(tmp_path: Path) -> None:
    _, lines = started(tmp_path, pod="broker-1", zone="eu-west1-b")
    assert lines[-3:] == ["--override", "broker.rack=eu-west1-b", "heap=-Xmx10g"]


def test_a_volume_that_cannot_be_formatted_ends_the_start(tmp_path: Path) -> None:
    code, lines = started(tmp_path, pod="broker-1", zone=None, storage="#!/bin/sh\nexit 7\n")
    assert (code, lines) == (7, [])


def test_a_probe_finds_whether_the_port_accepts_connections() -> None:
    plan = planfile.builtin("banzai-2019")
    scenario = plan.scenario("plain")
    made = manifests(plan, scenario, target(plan, scenario, kafka_version="4.4.0"))
    [body] = [each.body for each in made if each.body["kind"] == "StatefulSet"]
    [container] = body["spec"]["template"]["spec"]["containers"]
    command = container["readinessProbe"]["exec"]["command"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        here = [part.replace("9092", str(server.getsockname()[1])) for part in command]
        assert subprocess.run(here, check=False).returncode == 0
    assert subprocess.run(here, check=False, stderr=subprocess.DEVNULL).returncode != 0
