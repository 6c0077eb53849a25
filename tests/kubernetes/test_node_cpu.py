"""What a real kubelet says of a node, to a user with the documented right and to no other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshmark.analysis.nodes import spent_on
from meshmark.backends.kubernetes import contexts, rights
from meshmark.backends.kubernetes.api import Api
from meshmark.backends.kubernetes.metering import Meter, Metering, metered
from meshmark.errors import ClusterUnreachable, NoRights
from meshmark.nodes import PODS, CpuReading
from tests.kubernetes import node
from tests.kubernetes.controlplane import ControlPlane
from tests.kubernetes.credentials import CONTEXT
from tests.kubernetes.test_pods import client
from tests.kubernetes.verbs import RIGHTS

NODES = {node.NAME: node.ADDRESS}
METERED = "metered"
CONTAINER = "client/client"
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


@pytest.fixture(scope="module")
def pod(one_node: ControlPlane) -> Iterator[None]:
    """One that runs, in METERED."""
    with client(one_node, METERED):
        yield


@pytest.fixture
def api(reader: Path, monkeypatch: pytest.MonkeyPatch) -> Api:
    monkeypatch.setenv(contexts.VARIABLE, str(reader))
    return contexts.connect(contexts.contexts(), CONTEXT)


def read_twice(meter: Meter, *parts: str) -> list[CpuReading]:
    """Until the node and these parts of it were read as often as it takes to tell them apart: a kubelet reads each
    control group every 10 to 15 s."""
    found: list[CpuReading] = []

    def told() -> bool:
        found[:], _ = meter.read(time.time())
        spent = spent_on(found, node.NAME)
        return spent is not None and all(spent.parts.get(part) for part in parts)

    wait_for(told, f"there are no two readings of the node and of {parts}")
    return found


def require_sound(found: list[CpuReading]) -> None:
    """The kubelet and the runtime of this node run outside pods."""
    spent = spent_on(found, node.NAME)
    assert spent is not None
    pods = spent.parts[PODS]
    assert pods is not None
    assert 0 <= pods.low <= pods.high
    assert 0 < spent.outside.high <= spent.node_s
    assert spent.seconds > 0


@pytest.mark.usefixtures("pod")
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
    with pytest.raises(NoRights, match="answered 403"), metered(api, Metering(kubelet=True), NODES, METERED):
        raise AssertionError("not reached")
    other = one_node.credentials.front_proxies
    asked = Metering(kubelet=True, authority=str(other))
    with pytest.raises(ClusterUnreachable, match="cannot be asked"), metered(api, asked, NODES, METERED):
        raise AssertionError("not reached")
