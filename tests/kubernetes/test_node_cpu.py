"""What a real kubelet and a real Prometheus say of a node, to a user with the documented right and to no other."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from meshmark.analysis.nodes import spent_on
from meshmark.backends.kubernetes import contexts, rights
from meshmark.backends.kubernetes.api import Api
from meshmark.backends.kubernetes.metering import Meter, Metering, metered
from meshmark.backends.kubernetes.pods import USER
from meshmark.backends.kubernetes.prometheus import Prometheus
from meshmark.errors import ClusterUnreachable, MissingRequirement, NoRights
from meshmark.nodes import PODS, CpuReading
from tests.kubernetes import images
from tests.kubernetes.controlplane import ControlPlane
from tests.kubernetes.credentials import CONTEXT
from tests.kubernetes.place import HERE
from tests.kubernetes.scraping import Scraping
from tests.kubernetes.test_pods import WAIT
from tests.kubernetes.verbs import RIGHTS

NODES = {HERE.node: HERE.address}
METERED = "metered"
BUSY, BESIDE = "busy", "beside"
CONTAINER = f"broker/{BUSY}"
QUOTA = """
import json, os
from pathlib import Path
from meshmark.probes.quota import QuotaProbe, group_within
for pid in filter(str.isdigit, os.listdir("/proc")):
    if b"while :" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\\n")[0]:
        print(json.dumps(QuotaProbe("h", "kafka", group_within(Path(f"/proc/{pid}/root"))).read()))
"""
TIMEOUT_S = 180.0
POLL_S = 1.0
"""Who asks more often makes a kubelet work for nothing."""


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(POLL_S)


@pytest.fixture(scope="module")
def reader(one_node: ControlPlane) -> Path:
    """Of a service account that may read nodes' statistics."""
    one_node.kubectl("apply", f"--filename={RIGHTS}")
    return one_node.account("node-reader", "default", everywhere=[rights.OF_NODES])


def busy_and_beside() -> dict[str, Any]:
    """A pod as a broker's: what it has to do takes more CPU than it gets, and another container sees its processes."""
    shared = {"image": images.MESHMARK, "securityContext": {"capabilities": {"drop": ["ALL"]}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "broker", "namespace": METERED},
        "spec": {
            "shareProcessNamespace": True,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsUser": USER, "runAsGroup": USER},
            "containers": [
                {
                    **shared,
                    "name": BUSY,
                    "command": ["bash", "-c", "while :; do :; done"],
                    "resources": {"limits": {"cpu": "50m", "memory": "64Mi"}},
                },
                {**shared, "name": BESIDE, "command": ["sleep", "2147483647"]},
            ],
        },
    }


@pytest.fixture(scope="module")
def pod(one_node: ControlPlane) -> Iterator[None]:
    """It runs."""
    here = f"--namespace={METERED}"
    one_node.kubectl("create", "namespace", METERED)
    try:
        one_node.kubectl("wait", "--for=create", "serviceaccount/default", here, WAIT)
        one_node.kubectl("create", "--filename=-", stdin=busy_and_beside())
        one_node.kubectl("wait", "--for=condition=Ready", "pod/broker", here, WAIT)
        yield
    finally:
        one_node.kubectl("delete", "namespace", METERED, WAIT)


@pytest.mark.usefixtures("pod")
def test_a_containers_quota_is_read_from_beside_it(one_node: ControlPlane) -> None:
    beside = ("exec", "broker", f"--namespace={METERED}", f"--container={BESIDE}", "--", "python", "-c", QUOTA)
    found: dict[str, float] = {}

    def held_back() -> bool:
        found.update(json.loads(one_node.kubectl(*beside).stdout))
        return found["h/kafka/cpu_throttled_s"] > 0

    wait_for(held_back, "the container was never held back")
    assert 0 < found["h/kafka/cpu_throttled_periods"] <= found["h/kafka/cpu_periods"]


@pytest.fixture
def api(reader: Path, monkeypatch: pytest.MonkeyPatch) -> Api:
    monkeypatch.setenv(contexts.VARIABLE, str(reader))
    return contexts.connect(contexts.contexts(), CONTEXT)


def read_twice(meter: Meter, *parts: str) -> list[CpuReading]:
    """Until the node and these parts of it were read as often as it takes to tell them apart, and that CONTAINER was
    held back by its limit as well: a kubelet reads each control group every 10 to 15 s."""
    found: list[CpuReading] = []

    def told() -> bool:
        read = meter.read(time.time())
        found[:], spent = read.cpu, spent_on(read.cpu, HERE.node)
        held_back = [each for each in read.quotas if each.part == CONTAINER and each.throttled_periods > 0]
        return len(held_back) > 1 and spent is not None and all(spent.parts.get(part) for part in parts)

    wait_for(told, f"there are no two readings of the node, of {parts} and of what was held back")
    return found


def require_sound(found: list[CpuReading]) -> None:
    """The kubelet and the runtime of this node run outside pods."""
    spent = spent_on(found, HERE.node)
    assert spent is not None
    pods = spent.parts[PODS]
    assert pods is not None
    assert 0 <= pods.low <= pods.high
    assert 0 < spent.outside.high <= spent.node_s
    assert spent.seconds > 0


@pytest.mark.usefixtures("pod", "prometheus")
def test_a_kubelet_tells_what_the_node_spends_outside_pods(api: Api) -> None:
    assert all(api.may(right.attributes("default")) for right in rights.KUBELET)
    with metered(api, Metering(kubelet=True), NODES, METERED) as meter:
        assert meter is not None
        require_sound(read_twice(meter, PODS, CONTAINER))


def test_a_kubelet_refuses_who_has_not_the_right_and_is_not_asked_unverified(
    one_node: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = one_node.account("node-stranger", "default")
    monkeypatch.setenv(contexts.VARIABLE, str(nobody))
    api = contexts.connect(contexts.contexts(), CONTEXT)
    assert not any(api.may(right.attributes("default")) for right in rights.KUBELET)
    with (
        pytest.raises(NoRights, match="answered 403"),
        metered(api, Metering(kubelet=True), NODES, METERED, required=True),
    ):
        raise AssertionError("not reached")
    one_node.kubectl("create", "clusterrole", "statistics", "--verb=get", "--resource=nodes/stats")
    half = one_node.account("node-half", "default", everywhere=["statistics"])
    monkeypatch.setenv(contexts.VARIABLE, str(half))
    api = contexts.connect(contexts.contexts(), CONTEXT)
    assert [right.resource for right in rights.KUBELET if not api.may(right.attributes("default"))] == [
        "nodes/metrics"
    ]
    with (
        pytest.raises(NoRights, match=r"answered 403: .*subresource\(s\)=\[metrics"),
        metered(api, Metering(kubelet=True), NODES, METERED, required=True),
    ):
        raise AssertionError("not reached")
    other = one_node.credentials.front_proxies
    asked = Metering(kubelet=True, authority=str(other))
    with (
        pytest.raises(ClusterUnreachable, match="cannot be asked"),
        metered(api, asked, NODES, METERED, required=True),
    ):
        raise AssertionError("not reached")


@pytest.mark.usefixtures("pod")
def test_a_prometheus_tells_the_same_by_the_kubelets_own_times(api: Api, prometheus: Scraping | None) -> None:
    if prometheus is None:
        pytest.skip("prometheus is not installed (Debian: apt-get install prometheus)")
    wait_for(_opens(api, Metering(prometheus=prometheus.url)), "Prometheus has nothing of the node")
    meter = Prometheus(prometheus.url, NODES, METERED, prometheus.begun_at)
    found = read_twice(meter, PODS, CONTAINER)
    require_sound(found)
    assert len({(each.part, each.read_at) for each in found}) == len(found)
    assert found[-1].read_at < time.time()


def _opens(api: Api, asked: Metering) -> Callable[[], bool]:
    def there() -> bool:
        try:
            with metered(api, asked, NODES, METERED, required=True):
                return True
        except (ClusterUnreachable, MissingRequirement):
            return False

    return there
