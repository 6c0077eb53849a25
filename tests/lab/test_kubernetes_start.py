"""A real broker starts from what `export` writes, by its script: real settings, real StorageTool, TLS as it says.

What stands in: this machine for the pod (a host of the lab, whose resolver is a file of Java's), files at other paths,
and two lines for Kafka's own start scripts, which are in no jar.
"""

from __future__ import annotations

import os
import platform
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from meshmark.backends.kubernetes import config, manifest, target
from meshmark.backends.lab.broker import STARTED
from meshmark.backends.lab.instance import instance
from meshmark.backends.lab.link import Host, network
from meshmark.data_plane import DataPlane
from meshmark.dataplane.identity import Authority
from meshmark.kafka import distribution
from meshmark.plan import ClusterSpec, Plan, Scenario, Workload
from tests.lab.ground import run_on, wait_for

pytestmark = pytest.mark.lab

NAMESPACE = "meshmark-it"
NAME = manifest.address(1, NAMESPACE)
JAVA_OPTIONS = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1"


def one_broker(data_plane: DataPlane) -> Plan:
    scenario = Scenario(
        name="it",
        data_plane=data_plane,
        cluster=ClusterSpec(brokers=1),
        workload=Workload(replication_factor=1, topic_config={"min.insync.replicas": 1}),
    )
    return Plan(name="small", log_budget_bytes=100_000_000, scenarios=(scenario,))


@contextmanager
def pod(host: Host, plan: Plan) -> Iterator[Path]:
    """The broker's log, while it runs."""
    scenario = plan.scenarios[0]
    asked = target(plan, scenario, kafka_version="4.4.0", namespace=NAMESPACE)
    paths = {
        config.TLS_DIRECTORY: host.directory / "tls",
        config.DIRECTORY: host.directory / "config",
        config.DATA_DIRECTORY: host.directory / "data",
        config.KAFKA_SCRIPTS: host.directory / "bin",
    }
    for path in paths.values():
        path.mkdir()
    for name, text in config.data(plan, scenario, asked).items():
        for there, here in paths.items():
            text = text.replace(there, str(here))
        (paths[config.DIRECTORY] / name).write_text(text, encoding="utf-8")
    if scenario.data_plane is DataPlane.KAFKA_TLS:
        identity = Authority(host.directory / "identity", "it").server_identity(NAME, host.address)
        (paths[config.TLS_DIRECTORY] / manifest.TLS_KEYSTORE).write_bytes(identity.keystore.read_bytes())
        (paths[config.TLS_DIRECTORY] / manifest.TLS_AUTHORITY).write_bytes(identity.authority.read_bytes())
    stand_in(paths[config.KAFKA_SCRIPTS], host)
    environment = {"PATH": os.environ["PATH"], config.NAME_VARIABLE: "broker-1", config.ZONE_VARIABLE: "zone-b"}
    script = str(paths[config.DIRECTORY] / config.START)
    with run_on(host, "/bin/bash", script, lines=False, env=environment) as process:
        yield process.log


def stand_in(directory: Path, host: Host) -> None:
    """For Kafka's scripts; names are those of a file, as they are the resolver's in a cluster."""
    names = host.directory / "hosts"
    names.write_text(f"{host.address} {NAME}\n127.0.0.1 localhost {platform.node()}\n", encoding="utf-8")
    jars = ":".join(map(str, distribution.fetch(offline=True)))
    logging = host.directory / "config" / config.LOG_SETTINGS
    java = (
        f"exec {distribution.java().path} {JAVA_OPTIONS} -Xmx256m -Djdk.net.hosts.file={names} "
        f"-Dlog4j2.configurationFile={logging} -cp {jars}"
    )
    for script, main in (("kafka-storage.sh", "kafka.tools.StorageTool"), ("kafka-server-start.sh", "kafka.Kafka")):
        path = directory / script
        path.write_text(f'#!/bin/sh\n{java} {main} "$@"\n', encoding="utf-8")
        path.chmod(0o755)


@pytest.mark.parametrize("data_plane", [DataPlane.PLAIN, DataPlane.KAFKA_TLS])
def test_kafka_starts_from_an_export_and_is_found_by_the_pods_name(data_plane: DataPlane) -> None:
    with instance("test") as made, network(made, brokers=1, clients=1) as net:
        host, client = net.hosts["broker-1"], net.hosts["client-1"]
        with pod(host, one_broker(data_plane)) as log:
            wait_for(lambda: STARTED in log.read_bytes(), "the broker has not started")
            text = log.read_text(encoding="utf-8")
            assert "broker.rack = zone-b" in text
            assert re.search(rf"advertised\.listeners = \[?CLIENT://{NAME}:9092", text)
            with client.call(lambda: socket.create_connection((host.address, 9092), 5)) as connection:
                if data_plane is DataPlane.KAFKA_TLS:
                    trusted = ssl.create_default_context(cafile=str(host.directory / "tls" / manifest.TLS_AUTHORITY))
                    with trusted.wrap_socket(connection, server_hostname=NAME) as secured:
                        assert secured.version() == "TLSv1.3"
        identity = (host.directory / "data" / "log" / "meta.properties").read_text(encoding="utf-8")
        assert "node.id=1\n" in identity
