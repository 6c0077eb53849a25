"""A Kafka cluster over two real clusters, a node each, in one mesh of two istiods: what `up` refuses before brokers
are waited for, and the way from `up` to `down` with records from one region to the other.

The network between them is the lab's, and the mesh made by the script that meshmark prints (`several.py`).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from meshmark import planfile
from meshmark.backends.kubernetes.manifest import host
from meshmark.errors import ComponentFailed, MissingRequirement
from meshmark.kafka.properties import BROKER_PORT, CONTROLLER_PORT
from tests.kubernetes import build, images, istio
from tests.kubernetes.conftest import needs
from tests.kubernetes.controlplane import ControlPlane
from tests.kubernetes.node import PARTS
from tests.kubernetes.several import PLAN, Several, apart, one_mesh, several
from tests.kubernetes.test_pods import IDLE, SMALL, WAIT
from tests.kubernetes.verbs import TIMEOUT_S, documented_user

ASKED = "MESHMARK_TEST_STRETCHED"
SPACE = "meshmark-istio-mtls"
CLIENTS = "clients"
SOON = ("--timeout", "240")
RECORDS = 500
WRITE = """
import json, sys
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

servers, count = {"bootstrap.servers": sys.argv[1]}, int(sys.argv[2])
topic = NewTopic("records", num_partitions=3, replication_factor=3, config={"min.insync.replicas": "3"})
admin = AdminClient(servers)  # which ends what it was asked when nobody holds it
admin.create_topics([topic])["records"].result(60)
acknowledged = []
producer = Producer({**servers, "acks": "all"})
for number in range(count):
    told = lambda error, message: error or acknowledged.append(int(message.value()))
    producer.produce("records", str(number).encode(), on_delivery=told)
producer.flush(90)
print(json.dumps(sorted(acknowledged)))
"""
READ = """
import json, sys
from confluent_kafka import Consumer, TopicPartition

servers, count = {"bootstrap.servers": sys.argv[1]}, int(sys.argv[2])
consumer = Consumer({**servers, "group.id": "test", "enable.auto.commit": False})
consumer.assign([TopicPartition("records", partition, 0) for partition in range(3)])
read = []
while len(read) < count and (message := consumer.poll(90)) is not None:
    read.append(int(message.value()))
print(json.dumps(sorted(read)))
"""

pytestmark = pytest.mark.skipif(os.environ.get(ASKED) != "1", reason=f"not asked for: {ASKED}=1 runs these")


@pytest.fixture(scope="module")
def there(_machine: None) -> Iterator[Several]:
    """Two clusters that know Istio's kinds; no istiod runs."""
    needs((*PARTS, *build.ISTIO))
    [scenario] = planfile.load(PLAN).scenarios
    with ExitStack() as stack:
        try:
            made = stack.enter_context(several(scenario.cluster.topology))
        except MissingRequirement as error:
            pytest.skip(f"kernel: {error}")
        for plane in made.planes.values():
            istio.install(plane)
        yield made


@pytest.fixture(scope="module")
def users(there: Several) -> Path:
    """The documented ones of both."""
    return there.kubeconfig("users", {name: documented_user(plane) for name, plane in there.planes.items()})


def meshmark(there: Several, users: Path, verb: str, *more: str) -> subprocess.CompletedProcess[str]:
    backend = () if verb == "diff" else ("--backend", "kubernetes")
    argv = [sys.executable, "-m", "meshmark", verb, *backend, "-f", str(PLAN), *there.contexts, *more]
    return there.first.run(argv, timeout_s=TIMEOUT_S, kubeconfig=users)


def down(there: Several, users: Path) -> None:
    """It leaves nothing in either."""
    gone = meshmark(there, users, "down", *SOON)
    assert gone.returncode == 0, gone.stderr
    for plane in there.planes.values():
        assert "(NotFound)" in plane.kubectl("get", "namespace", SPACE, check=False).stderr
        volumes = json.loads(plane.kubectl("get", "persistentvolumes", "--output=json").stdout)["items"]
        claimed = [each for each in volumes if each["spec"].get("claimRef")]
        assert [each["metadata"]["name"] for each in claimed if each["status"]["phase"] != "Released"] == []


def test_istiods_with_a_root_each_are_refused(there: Several, users: Path) -> None:
    with apart(there):
        up = meshmark(there, users, "up", *SMALL, *SOON)
        assert up.returncode == ComponentFailed.exit_code, up.stderr
        assert "the meshes of one, two have no root of trust in common" in up.stderr, up.stderr
        down(there, users)


def client(plane: ControlPlane) -> None:
    """A pod in the mesh, in a namespace of its own, that is ready."""
    here = f"--namespace={CLIENTS}"
    plane.kubectl("create", "namespace", CLIENTS)
    plane.kubectl("label", "namespace", CLIENTS, "istio-injection=enabled")
    plane.kubectl("wait", "--for=create", "serviceaccount/default", here, WAIT)
    plane.kubectl("run", "client", here, f"--image={images.MESHMARK}", "--command", "--", "bash", "-c", IDLE)


def said(plane: ControlPlane, namespace: str, pod: str, container: str, *command: str) -> str:
    inside = ("exec", pod, f"--namespace={namespace}", f"--container={container}", "--", *command)
    return plane.kubectl(*inside).stdout


def python(plane: ControlPlane, code: str) -> Any:
    argv = ("python", "-c", code, f"{host(SPACE)}:{BROKER_PORT}", str(RECORDS))
    return json.loads(said(plane, CLIENTS, "client", "client", *argv))


def handshakes(plane: ControlPlane, namespace: str, pod: str, broker: int, port: int) -> int:
    """Of TLS, that the pod's sidecar made with a broker's, for a port."""
    about = f"cluster.outbound|{port}||broker-{broker}.{SPACE}.svc.cluster.local"
    stats = said(plane, namespace, pod, "istio-proxy", "pilot-agent", "request", "GET", "stats?filter=ssl.handshake")
    return sum(int(line.rpartition(":")[2]) for line in stats.splitlines() if line.startswith(about))


def test_brokers_of_two_clusters_are_one_kafka(there: Several, users: Path) -> None:
    one, two = there.planes.values()
    with one_mesh(there):
        with there.cut("one-two"):
            up = meshmark(there, users, "up", *SMALL, *SOON)
        assert up.returncode == ComponentFailed.exit_code, up.stderr
        assert "pods do not reach each other directly: one to two (10.77.1." in up.stderr, up.stderr
        for plane in (one, two):
            client(plane)
        up = meshmark(there, users, "up", *SMALL, *SOON)
        assert up.returncode == 0, up.stderr
        for ends in ("one to two", "two to one"):
            assert re.search(rf"round trip from {ends}: [\d.]+ ms; the plan says 10 ms", up.stderr), up.stderr
        nothing = meshmark(there, users, "diff", *SMALL)
        assert (nothing.returncode, nothing.stdout) == (0, ""), nothing.stderr
        status = meshmark(there, users, "status", "-o", "json")
        assert status.returncode == 0, status.stderr
        found = {each["cluster"]: each["brokers"] for each in json.loads(status.stdout)["clusters"]}
        ready = {
            cluster: [(each["name"], each["node"]) for each in brokers if each["ready"]]
            for cluster, brokers in found.items()
        }
        assert ready == {
            "one": [("broker-1", "node-one"), ("broker-2", "node-one")],
            "two": [("broker-3", "node-two")],
        }
        for plane in (one, two):
            plane.kubectl("wait", "--for=condition=Ready", "pod/client", f"--namespace={CLIENTS}", WAIT)
        assert python(one, WRITE) == list(range(RECORDS)) == python(two, READ)
        from_client = [handshakes(two, CLIENTS, "client", broker, BROKER_PORT) for broker in (1, 2, 3)]
        assert min(from_client) > 0, from_client
        there_and_back = ((one, 1, 3), (one, 2, 3), (two, 3, 1), (two, 3, 2))
        quorum = [handshakes(at, SPACE, f"broker-{own}", to, CONTROLLER_PORT) for at, own, to in there_and_back]
        assert max(quorum) > 0, quorum
        listed = meshmark(there, users, "exec", "broker-3", "--", "ls", "/var/lib/kafka/data/log")
        assert {f"records-{partition}" for partition in range(3)} <= set(listed.stdout.split()), listed.stderr
        down(there, users)
