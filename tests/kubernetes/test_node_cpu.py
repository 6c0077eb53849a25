"""What a real kubelet and a real Prometheus say of a node, to a user with the documented right and to no other."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from meshmark.analysis.nodes import spent_on
from meshmark.backends.kubernetes import contexts, rights
from meshmark.backends.kubernetes.api import Api
from meshmark.backends.kubernetes.metering import Meter, Metering, metered
from meshmark.backends.kubernetes.pods import USER
from meshmark.backends.kubernetes.prometheus import Prometheus
from meshmark.errors import ClusterUnreachable, MissingRequirement, NoRights
from meshmark.nodes import PODS, CpuReading
from tests.kubernetes import images, node
from tests.kubernetes.controlplane import ControlPlane, free_ports
from tests.kubernetes.credentials import ADDRESS, CONTEXT
from tests.kubernetes.test_pods import WAIT
from tests.kubernetes.verbs import RIGHTS

NODES = {node.NAME: node.ADDRESS}
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
SCRAPES = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
- job_name: cadvisor
  scheme: https
  metrics_path: /metrics/cadvisor
  authorization: {{credentials_file: {token}}}
  tls_config: {{ca_file: {authority}}}
  static_configs: [{{targets: ["{address}:10250"]}}]
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


class Scraping(NamedTuple):
    url: str
    begun_at: float


@pytest.fixture(scope="module")
def prometheus(one_node: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraping | None]:
    """One that scrapes the node's kubelet every second, from the first test of this module on; None: not installed."""
    tool = shutil.which("prometheus")
    if tool is None:
        yield None
        return
    one_node.kubectl("create", "clusterrole", "scraper", "--verb=get", "--resource=nodes/metrics")
    scraper = json.loads(one_node.account("scraper", "default", everywhere=["scraper"]).read_text(encoding="utf-8"))
    home = tmp_path_factory.mktemp("prometheus")
    token, settings, authority = home / "token", home / "prometheus.yml", one_node.credentials.authority
    token.write_text(scraper["users"][0]["user"]["token"], encoding="ascii")
    settings.write_text(SCRAPES.format(token=token, authority=authority, address=node.ADDRESS), encoding="utf-8")
    [port] = free_ports(1)
    argv = [tool, f"--config.file={settings}", f"--storage.tsdb.path={home / 'data'}"]
    argv += [f"--web.listen-address={ADDRESS}:{port}", "--log.level=error"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield Scraping(f"http://{ADDRESS}:{port}", time.time())
        finally:
            process.kill()


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
    other = one_node.credentials.front_proxies
    asked = Metering(kubelet=True, authority=str(other))
    with (
        pytest.raises(ClusterUnreachable, match="cannot be asked"),
        metered(api, asked, NODES, METERED, required=True),
    ):
        raise AssertionError("not reached")


def test_a_prometheus_tells_the_same_by_the_kubelets_own_times(api: Api, prometheus: Scraping | None) -> None:
    if prometheus is None:
        pytest.skip("prometheus is not installed (Debian: apt-get install prometheus)")
    wait_for(_opens(api, Metering(prometheus=prometheus.url)), "Prometheus has nothing of the node")
    meter = Prometheus(prometheus.url, NODES, METERED, prometheus.begun_at)
    found = read_twice(meter, PODS)  # cAdvisor does not know this node's containers: their runtime is elsewhere
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
