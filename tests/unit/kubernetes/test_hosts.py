"""Pods as hosts of an experiment, on a fake API server that runs commands on this machine: no Kafka, and no node."""

from __future__ import annotations

import math
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest

from meshmark.backends.kubernetes import (
    clocks,
    cluster,
    contexts,
    hosts,
    lifecycle,
    manifests,
    replaced,
    rights,
    stream,
    target,
)
from meshmark.backends.kubernetes.api import Api
from meshmark.backends.kubernetes.change import Wanted
from meshmark.backends.kubernetes.cluster import testbed as opened
from meshmark.backends.kubernetes.hosts import PodsTestbed
from meshmark.backends.kubernetes.kinds import POD
from meshmark.backends.kubernetes.lifecycle import Site
from meshmark.backends.kubernetes.measured import LoadPods, measured
from meshmark.backends.kubernetes.stream import AgentLink
from meshmark.cli import app
from meshmark.data_plane import DataPlane
from meshmark.errors import Busy, ClusterUnreachable, ComponentFailed, MissingRequirement, NoRights, ObjectRefused
from meshmark.plan import ClusterSpec, Plan, Scenario, Workload
from tests.unit.kubernetes.conftest import faked
from tests.unit.kubernetes.fake_api import FakeApi, Refused
from tests.unit.kubernetes.test_cluster_rights import in_use, plain

TOLD: list[str] = []


def wanted(data_plane: DataPlane = DataPlane.PLAIN) -> Wanted:
    scenario = Scenario(
        name="it", data_plane=data_plane, cluster=ClusterSpec(brokers=1), workload=Workload(replication_factor=1)
    )
    plan = Plan(name="small", scenarios=(scenario,))
    place = target(plan, scenario, kafka_version="4.4.0", share_nodes=True)
    made = manifests(plan, scenario, place)
    return Wanted(
        scenario=scenario, manifests=measured(made, scenario, place, LoadPods(image="meshmark:1"), kafka=False)
    )


def at(api: Api, data_plane: DataPlane = DataPlane.PLAIN) -> list[Site]:
    return [Site(api=api, wanted=wanted(data_plane))]


@contextmanager
def running(fake: FakeApi) -> Iterator[PodsTestbed]:
    fake.runs = True
    api = contexts.connect(contexts.contexts(), "fake")
    with opened(at(api), tell=TOLD.append, timeout_s=5) as made:
        yield made


@pytest.fixture
def bed(fake: FakeApi) -> Iterator[PodsTestbed]:
    with running(fake) as made:
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PodsTestbed]:
    """For all tests that leave it as it is: agents take a second to start."""
    with faked(tmp_path_factory.mktemp("shared")) as fake, running(fake) as made:
        yield made


class Silent:
    """A connection to something that does nothing of what it is told."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send_bytes(self, data: bytes) -> None:
        self.sent.append(data)

    def receive_bytes(self, timeout: float | None = None) -> bytes:
        raise TimeoutError


def test_a_process_in_a_pod_is_spoken_to_in_lines_and_ends_with_its_input(shared: PodsTestbed) -> None:
    with shared.spawn("client-1", ["cat"], name="echo") as process:
        process.send_line("one")
        process.send_line("two")
        assert [process.read_line(5), process.read_line(5)] == ["one", "two"]
        assert process.read_line(0) is None
    assert process.wait(5) == 0


def test_what_a_process_writes_as_an_error_is_its_log_and_is_told_when_it_has_ended(shared: PodsTestbed) -> None:
    with shared.spawn("client-1", ["sh", "-c", "echo no such thing >&2; exit 3"], name="bad") as process:
        with pytest.raises(ComponentFailed, match=r"bad on client-1 ended \(exit status 3\)") as failed:
            process.read_line(5)
        assert failed.value.log_tail == ("no such thing",)
        with pytest.raises(ComponentFailed, match="exit status 3"):
            process.send_line("more")
    assert shared.logs()["client-1-bad.log"].read_text(encoding="utf-8") == "no such thing\n"


def test_a_process_is_stopped_and_goes_on_by_the_pods_agent(shared: PodsTestbed) -> None:
    with shared.spawn("client-1", ["cat"], name="echo") as process:
        process.signal(signal.SIGSTOP)
        process.send_line("one")
        assert process.read_line(0.3) is None
        process.signal(signal.SIGCONT)
        assert process.read_line(5) == "one"


def test_the_cpu_of_a_process_is_booked_to_its_component_and_the_node_is_read_once(shared: PodsTestbed) -> None:
    with shared.spawn("client-1", ["python", "-c", "sum(range(10**6)); input(print())"], name="busy") as process:
        assert process.read_line(20) == ""
        [read] = [values for probe in shared.probes() if (values := probe.read()) and "machine/cpu/idle_s" in values]
    assert read["client-1/client/cpu_user_s"] > 0
    assert {"broker-1/meshmark/cpu_user_s", "client-1/meshmark/cpu_user_s"} <= read.keys()
    assert {key.split("/")[0] for key in read} == {"broker-1", "client-1", "machine"}


def test_a_pod_that_is_gone_or_was_started_again_is_told_with_its_events(
    bed: PodsTestbed, fake: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "CHECK_S", 0.0)
    bed.check()
    fake.body("pod/client-1")["status"]["containerStatuses"][0]["restartCount"] = 1
    with pytest.raises(ComponentFailed, match="client-1 was started again"):
        bed.check()
    del fake.objects[POD, "meshmark-it", "client-1"]
    with pytest.raises(ComponentFailed, match="client-1"):
        bed.check()


def test_an_agent_that_does_not_answer_any_more_is_told(shared: PodsTestbed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "CHECK_S", 0.0)
    [agents, *_] = shared.probes()
    agents.read()
    shared.check()
    with monkeypatch.context() as silent:
        silent.setattr(stream.PodProcess, "read_line", lambda *_: None)
        read = agents.read()
    assert "broker-1/meshmark/cpu_user_s" not in read
    with pytest.raises(ComponentFailed, match="agent on broker-1 did not answer `read` within 20 s"):
        shared.check()
    assert {"broker-1/meshmark/cpu_user_s", "machine/cpu/idle_s"} <= agents.read().keys()
    shared.check()


class Met:
    """An agent that answers once all of them were asked."""

    def __init__(self, together: threading.Barrier) -> None:
        self._together = together

    def ask(self, question: str) -> dict[str, float]:
        self._together.wait(timeout=20)
        return {f"{question}/{id(self)}": 1.0}


def test_all_pods_are_asked_at_once() -> None:
    together = threading.Barrier(3)
    agents = {f"host-{number}": Met(together) for number in range(3)}
    with ThreadPoolExecutor(len(agents)) as pool:
        probe = hosts.AgentsProbe(cast("Mapping[str, AgentLink]", agents), pool)
        assert len(probe.read()) == len(agents)
        assert len(probe.read()) == len(agents)
    assert len(probe.spreads_s) == 2
    assert probe.failures == {}


def test_an_answer_that_came_too_late_is_not_taken_for_the_next_one(
    shared: PodsTestbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = shared.agents["client-1"]
    with monkeypatch.context() as silent:
        silent.setattr(stream.PodProcess, "read_line", lambda *_: None)
        with pytest.raises(ComponentFailed, match="did not answer `facts`"):
            agent.ask("facts")
    assert agent.ask("clock").keys() == {"boot_id", "monotonic_s"}
    with pytest.raises(ComponentFailed, match="there is no question 'odd'"):
        agent.ask("odd")


def test_a_process_that_no_agent_can_signal_is_left_to_its_pod(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "GRACE_S", 0.0)
    socket = Silent()
    stream.PodProcess(socket, host="client-1", context="fake", name="agent", log=tmp_path / "log").end()
    assert socket.sent == [stream.END_OF_INPUT]


AHEAD_S = 5_000
ANOTHER_CLOCK = ("unshare", "--user", "--map-root-user", "--time", f"--monotonic={AHEAD_S}", "--fork")


def test_what_runs_by_another_clock_is_told_how_far_that_is_ahead_and_how_well_it_was_known_is_kept(
    fake: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clocks, "MOST_S", math.inf)  # a busy machine answers late
    if subprocess.run([*ANOTHER_CLOCK, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this kernel gives nobody a clock of its own")
    fake.runs, fake.elsewhere = True, {"client-1": ANOTHER_CLOCK}
    api = contexts.connect(contexts.contexts(), "fake")
    tells = ["python", "-c", "import time; print(time.monotonic(), flush=True); input()"]
    with opened(at(api), tell=TOLD.append, timeout_s=5) as bed:
        assert not bed.one_clock
        begun_s = time.monotonic()
        with bed.spawn("client-1", tells, name="one") as one, bed.spawn("client-1", tells, name="two") as two:
            assert one.clock_ahead_s == two.clock_ahead_s
            told_s = float(two.read_line(20) or "nothing") - two.clock_ahead_s
            heard_s = time.monotonic()
        with bed.spawn("client-1", tells, name="admin", component="meshmark") as other:
            assert other.clock_ahead_s == 0
        assert sorted((each.host, each.worker) for each in bed.clocks) == [("client-1", "one"), ("client-1", "two")]
        for each in bed.clocks:
            assert each.error_s is not None
            assert each.bound_s <= each.error_s
            assert each.ahead_s - each.error_s <= AHEAD_S <= each.ahead_s + each.error_s
    assert begun_s - each.bound_s <= told_s <= heard_s + each.bound_s


def test_a_clock_that_is_not_known_well_is_refused(fake: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.runs = True
    monkeypatch.setattr(hosts, "BOOT_ID", Path("/proc/sys/kernel/ostype"))
    monkeypatch.setattr(clocks, "MOST_S", 0.0)
    api = contexts.connect(contexts.contexts(), "fake")
    with (
        pytest.raises(MissingRequirement, match="on the node n1 go by another clock"),
        opened(at(api), tell=TOLD.append, timeout_s=5),
    ):
        raise AssertionError("not reached")
    assert "namespace/meshmark-it" in " ".join(fake.writes)
    assert fake.names() == []


def test_a_run_needs_the_rights_to_speak_to_pods_before_it_makes_any(
    fake: FakeApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.denied = {("create", "pods/exec")}
    run = ["run", "--backend", "kubernetes", "--context", "fake", "--client-image", "x", "--only", "plain"]
    assert app.main([*run, "--share-nodes", "--out", str(tmp_path / "run")]) == NoRights.exit_code
    told = capsys.readouterr().err
    assert "lacks 1 right that run needs in the namespace meshmark-plain: create pods/exec" in told
    assert "brokers may share nodes and reserve next to no CPU" in told
    assert fake.writes == []


def test_nothing_is_left_however_it_ends_and_what_is_up_already_is_left_alone(fake: FakeApi) -> None:
    fake.runs = True
    api = contexts.connect(contexts.contexts(), "fake")
    names: list[str] = []

    def interrupted() -> None:
        with opened(at(api, DataPlane.ISTIO), tell=TOLD.append, timeout_s=5):
            names.extend(fake.names())
            with pytest.raises(Busy, match="a cluster is up in the namespace meshmark-it already"):
                opened(at(api), tell=TOLD.append, timeout_s=5).__enter__()
            assert fake.names() == names
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert {"pod/broker-1", "pod/client-1", "pod/stranger-1"} <= set(names)
    assert fake.names() == []


def test_pods_that_never_start_are_told_and_removed(fake: FakeApi) -> None:
    fake.brokers = "unplaced"
    api = contexts.connect(contexts.contexts(), "fake")
    with (
        pytest.raises(ComponentFailed, match=r"not ready after 0\.2 s") as failed,
        opened(at(api), tell=TOLD.append, timeout_s=0.2),
    ):
        raise AssertionError("not reached")
    assert any("Insufficient memory" in line for line in failed.value.log_tail)
    assert failed.value.hint == "It is removed; `meshmark up` shows the same and keeps it."
    assert fake.names() == []


def test_of_pods_that_never_start_events_and_what_they_wrote_are_kept(fake: FakeApi) -> None:
    fake.brokers = "unplaced"
    api = contexts.connect(contexts.contexts(), "fake")
    texts: dict[str, str] = {}

    def keep(files: Mapping[str, Path]) -> None:
        texts.update({name: file.read_text(encoding="utf-8") for name, file in files.items()})

    with (
        pytest.raises(ComponentFailed, match=r"not ready after 0\.2 s"),
        cluster.cluster(at(api), keep, tell=TOLD.append, timeout_s=0.2),
    ):
        raise AssertionError("not reached")
    assert "Warning pod/broker-1: FailedScheduling: 0/1 nodes are available" in texts["events.log"]
    assert texts["broker-1-kafka.log"] == "what broker-1 wrote\n"
    assert texts["client-1-client.log"] == "what client-1 wrote\n"
    assert fake.names() == []


def test_a_pod_that_is_evicted_under_load_is_told_with_its_events_and_all_is_removed(
    fake: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "CHECK_S", 0.0)
    fake.runs = True
    api = contexts.connect(contexts.contexts(), "fake")

    def evicted() -> None:
        with opened(at(api), tell=TOLD.append, timeout_s=5) as bed:
            fake.evict("client-1", "meshmark-it")
            bed.check()

    with pytest.raises(ComponentFailed, match="client-1 is gone: it was removed or evicted") as failed:
        evicted()
    assert failed.value.log_tail == ("pod/client-1: Evicted: The node was low on resource: memory.",)
    assert fake.names() == []


def test_a_pod_is_replaced_once_its_budget_allows_it_and_its_host_is_the_other_one(
    bed: PodsTestbed, fake: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "CHECK_S", 0.0)
    monkeypatch.setattr(replaced, "POLL_S", 0.01)
    before, agent = fake.body("pod/broker-1")["metadata"]["uid"], bed.agents["broker-1"]
    fake.budget = 2
    bed.replace("broker-1")
    assert fake.budget == 0
    assert fake.body("pod/broker-1")["metadata"]["uid"] != before
    assert bed.agents["broker-1"] is not agent
    assert "boot_id" in bed.agents["broker-1"].ask("clock")
    bed.check()


def test_a_pod_that_does_not_come_back_is_told(
    bed: PodsTestbed, fake: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaced, "POLL_S", 0.01)
    pod = fake.body("pod/broker-1")
    fake.brokers = "unplaced"
    with pytest.raises(ComponentFailed, match=r"broker-1 is not back 0\.5 s after .* Unschedulable") as failed:
        replaced.replaced(bed.sites[0].api, "meshmark-it", pod, timeout_s=0.5)
    assert "Insufficient memory" in failed.value.log_tail[-1]


def test_a_process_that_ended_with_its_pod_is_told_as_the_pod(bed: PodsTestbed, fake: FakeApi) -> None:
    fake.evict("client-1", "meshmark-it")
    with pytest.raises(ComponentFailed, match="client-1 is gone"):
        bed.explain()


def test_a_server_that_goes_away_ends_it_and_down_removes_the_rest_once_it_is_back(
    fake: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.runs = True
    api = contexts.connect(contexts.contexts(), "fake")
    told: list[str] = []

    def left_alone() -> None:
        with (
            opened(at(api), tell=told.append, timeout_s=5) as bed,
            bed.spawn("client-1", ["cat"], name="echo") as process,
        ):
            fake.go_away()
            process.read_line(20)

    with pytest.raises(ClusterUnreachable, match="the connection to echo on client-1 broke"):
        left_alone()
    assert told[-1].startswith("the namespace meshmark-it is left: ")
    assert told[-1].endswith("; `meshmark down` removes it")
    down = ["down", "--backend", "kubernetes", "--context", "fake", "-n", "meshmark-it"]
    assert app.main(down) == ClusterUnreachable.exit_code
    fake.away = 0
    assert app.main(down) == 0
    assert "the cluster is down" in capsys.readouterr().out
    assert fake.names() == []


def test_an_object_that_is_refused_is_not_said_to_stay(fake: FakeApi) -> None:
    fake.refusals = {"statefulset/client": Refused(422, "spec: odd")}
    api = contexts.connect(contexts.contexts(), "fake")
    with (
        pytest.raises(ObjectRefused, match="spec: odd") as failed,
        opened(at(api), tell=TOLD.append, timeout_s=5),
    ):
        raise AssertionError("not reached")
    assert failed.value.hint == "It is removed; `meshmark up` shows the same and keeps it."
    assert fake.names() == []


def test_a_removal_that_is_interrupted_says_what_may_be_left(fake: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    fake.runs = True
    monkeypatch.setattr(lifecycle, "down", interrupted)
    told: list[str] = []
    api = contexts.connect(contexts.contexts(), "fake")
    with pytest.raises(KeyboardInterrupt), opened(at(api), tell=told.append, timeout_s=5):
        pass
    down = "meshmark down --backend kubernetes -n meshmark-it --context fake"
    assert told[-1] == f"the namespace meshmark-it may be left: `{down}` removes it"


def test_a_run_uses_no_right_that_it_does_not_ask_for(bed: PodsTestbed, fake: FakeApi) -> None:
    bed.logs()
    assert in_use(fake.used) <= {plain(right) for right in rights.needed("run")}


def test_options_of_kubernetes_need_it_and_load_needs_an_image(
    fake: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main(["run", "--client-image", "x", "--context", "fake"]) == 2
    assert "--context, --client-image say nothing to the backend lab" in capsys.readouterr().err
    assert app.main(["run", "--backend", "kubernetes", "--context", "fake"]) == 2
    assert "--client-image IMAGE" in capsys.readouterr().err
    run = ["run", "--backend", "kubernetes", "--context", "fake", "--client-image", "x"]
    assert app.main([*run, "--explain"]) == 2
    assert "nodes are what they are" in capsys.readouterr().err
    assert app.main([*run, "--client-nodes", "pool"]) == 2
    assert fake.writes == []
