"""The whole way on a real node: `up` under the documented rights until all brokers are ready, records, `down`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from meshmark.backends.kubernetes.manifest import host
from meshmark.backends.lab.instance import reclaim
from meshmark.kafka.properties import BROKER_PORT
from tests.kubernetes import groups, images, node, verbs
from tests.kubernetes.controlplane import ControlPlane
from tests.kubernetes.place import HERE
from tests.lab.ground import script, wait_for
from tests.lab.runs import processes

BROKERS = ("broker-1", "broker-2", "broker-3")
RECORDS = 5_000
ODD_STATUS = 7
PLAN = """
apiVersion: meshmark/v1
kind: Plan
name: one-node
logBudgetBytes: 1000000000
cluster:
  brokers: 3
  heapBytes: 268435456
  sidecarConcurrency: 1
  jvmOptions: [-XX:+UseSerialGC, -XX:TieredStopAtLevel=1]
scenarios: [plain]
"""
SMALL = ("--share-nodes", "--cpus", "1", "--memory", "768Mi", "--image", images.KAFKA)
SOON = ("--timeout", "240")
WAIT = "--timeout=150s"
CLIENTS = "clients"
IDLE = "trap exit TERM; sleep infinity & wait"
"""Ends at once when it is told to, as nothing else with the number 1 does by itself."""

RECORDS_BOTH_WAYS = """
import json, sys
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

servers, count = {"bootstrap.servers": sys.argv[1]}, int(sys.argv[2])
topic = NewTopic("records", num_partitions=3, replication_factor=3, config={"min.insync.replicas": "3"})
admin = AdminClient(servers)
admin.create_topics([topic])["records"].result(60)
errors, acknowledged = [], []
producer = Producer({**servers, "acks": "all"})
for number in range(count):
    told = lambda error, message: (errors if error else acknowledged).append(message.value())
    producer.produce("records", str(number).encode(), on_delivery=told)
    producer.poll(0)
left = producer.flush(90)
consumer = Consumer({**servers, "group.id": "test", "enable.auto.commit": False})
consumer.assign([TopicPartition("records", partition, 0) for partition in range(3)])
read = []
while len(read) < len(acknowledged):
    message = consumer.poll(90)
    if message is None:
        break
    read.append(message.value())
print(json.dumps({"left": left, "errors": len(errors), "acknowledged": len(acknowledged),
                  "same": sorted(read) == sorted(acknowledged)}))
"""
NODE = """
import signal
from tests.kubernetes.controlplane import control_plane
from tests.kubernetes.node import node
from tests.own_network import enter_own_network
enter_own_network()
with control_plane() as plane, node(plane):
    print(plane.directory, flush=True)
    signal.pause()
"""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plan") / "plan.yaml"
    path.write_text(PLAN, encoding="utf-8")
    return path


@contextmanager
def client(cluster: ControlPlane, namespace: str) -> Iterator[None]:
    """A namespace with a pod `client`, of the image of meshmark's workers, that is ready."""
    cluster.kubectl("create", "namespace", namespace)
    try:
        pod = ("pod/client", f"--namespace={namespace}")
        cluster.kubectl("wait", "--for=create", "serviceaccount/default", f"--namespace={namespace}", WAIT)
        image = f"--image={images.MESHMARK}"
        cluster.kubectl("run", "client", f"--namespace={namespace}", image, "--command", "--", "bash", "-c", IDLE)
        cluster.kubectl("wait", "--for=condition=Ready", *pod, WAIT)
        yield
    finally:
        cluster.kubectl("delete", "namespace", namespace, WAIT)


def python(cluster: ControlPlane, namespace: str, code: str, *arguments: object) -> str:
    inside = ("exec", "client", f"--namespace={namespace}", "--container=client", "--", "python", "-c", code)
    return cluster.kubectl(*inside, *map(str, arguments)).stdout.strip()


def records(cluster: ControlPlane, clients: str, brokers: str) -> Any:
    return json.loads(python(cluster, clients, RECORDS_BOTH_WAYS, f"{host(brokers)}:{BROKER_PORT}", RECORDS))


ALL_RECORDS = {"left": 0, "errors": 0, "acknowledged": RECORDS, "same": True}


@contextmanager
def up(cluster: ControlPlane, user: Path, plan: Path, scenario: str) -> Iterator[None]:
    """What `up` made, and afterwards that `down` leaves nothing of it."""
    where = ("--backend", "kubernetes", "-f", str(plan), "--only", scenario)
    try:
        done = verbs.meshmark(cluster, user, "up", *where, *SMALL, *SOON)
        assert done.returncode == 0, done.stderr
        yield
    finally:
        gone = verbs.meshmark(cluster, user, "down", *where, *SOON)
    assert gone.returncode == 0, gone.stderr
    namespace = f"meshmark-{scenario}"
    assert "(NotFound)" in cluster.kubectl("get", "namespace", namespace, check=False).stderr
    volumes = json.loads(cluster.kubectl("get", "persistentvolumes", "--output=json").stdout)["items"]
    claimed = [each for each in volumes if each["spec"].get("claimRef", {}).get("namespace") == namespace]
    assert sorted({each["status"]["phase"] for each in claimed}) == ["Released"]


def on(cluster: ControlPlane, user: Path, namespace: str, verb: str, *more: str) -> subprocess.CompletedProcess[str]:
    return verbs.meshmark(cluster, user, verb, "--backend", "kubernetes", "-n", namespace, *more)


def test_plain_from_up_to_down(one_node: ControlPlane, node_user: Path, plan: Path) -> None:
    namespace = "meshmark-plain"
    with up(one_node, node_user, plan, "plain"):
        status = on(one_node, node_user, namespace, "status", "-o", "json")
        assert status.returncode == 0, status.stderr
        told = json.loads(status.stdout)
        assert [each["name"] for each in told["brokers"] if each["ready"]] == list(BROKERS)
        assert {(each["node"], each["zone"]) for each in told["brokers"]} == {(HERE.node, HERE.zone)}
        listed = on(one_node, node_user, namespace, "exec", "broker-2", "--", "ls", "/var/lib/kafka/data")
        assert (listed.returncode, "log" in listed.stdout.split()) == (0, True), listed
        ends = ("bash", "-c", f"cat; echo no >&2; exit {ODD_STATUS}")
        odd = on(one_node, node_user, namespace, "exec", "broker-2", "--", *ends)
        assert (odd.returncode, odd.stderr.strip()) == (ODD_STATUS, "no")
        said = one_node.kubectl("logs", "broker-3", f"--namespace={namespace}").stdout
        assert f"broker.rack = {HERE.zone}" in said
        with client(one_node, CLIENTS):
            assert records(one_node, CLIENTS, namespace) == ALL_RECORDS


@pytest.mark.usefixtures("one_node")  # so that it is skipped where that is
def test_a_node_whose_owner_is_killed_leaves_nothing_after_the_next_start() -> None:
    settings = {path: Path(path).read_text(encoding="ascii") for path in node.COVERED}
    with script(NODE) as process:
        try:
            assert process.stdout is not None
            directory = process.stdout.readline().strip()
            instance = Path(directory).parent
            assert len(processes(instance.name)) >= len({"etcd", "kube-apiserver", "containerd", "kubelet"})
            own = f"{groups.PREFIX}{process.pid}-{HERE.node}"
        finally:
            process.kill()
    wait_for(lambda: processes(instance.name) == [], "a part outlives its owner")
    groups.sweep()
    assert list(Path("/sys/fs/cgroup").glob(f"**/{own}")) == []
    assert [line for line in reclaim() if str(instance) in line]
    assert not instance.exists()
    assert directory not in Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    assert {path: Path(path).read_text(encoding="ascii") for path in node.COVERED} == settings
