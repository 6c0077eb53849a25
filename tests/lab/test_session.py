"""The cluster that is kept up: up, status, exec, down; and what is left when its keeper is killed (nothing).

Real namespaces and real processes; `sleep` stands in for brokers, since the keeper does not know what a broker is.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from meshmark.backends.lab import session
from meshmark.backends.lab.instance import Instance, instance, reclaim, stored_instances
from meshmark.backends.lab.link import Network, network
from meshmark.backends.lab.process import LabProcess
from meshmark.errors import Busy, ComponentFailed, MeshmarkError, UsageError
from tests.lab.ground import BOUND_S, alive, run_on, script, wait_for


class Sleepers:
    """What the keeper needs of a cluster: two hosts with a process each."""

    bootstrap_servers = "10.77.0.11:9092"
    client_config: Mapping[str, str] = {"security.protocol": "PLAINTEXT"}

    def __init__(self, net: Network, processes: Sequence[LabProcess]) -> None:
        self.network = net
        self.processes = processes

    def check(self) -> None:
        for process in self.processes:
            process.check()


@contextmanager
def sleepers(made: Instance) -> Iterator[Sleepers]:
    with ExitStack() as stack:
        net = stack.enter_context(network(made, brokers=1, clients=1))
        yield Sleepers(net, [stack.enter_context(run_on(host, "sleep", "600")) for host in net.hosts.values()])


@contextmanager
def failing(made: Instance) -> Iterator[Sleepers]:
    with sleepers(made) as cluster:
        with run_on(cluster.network.hosts["broker-1"], "sh", "-c", "echo no >&2; exit 1") as process:
            if process.wait(BOUND_S) != 0:
                raise process.failure("refused its configuration", hint="Look into it.")
        yield cluster


@contextmanager
def faulty(made: Instance) -> Iterator[Sleepers]:
    with sleepers(made) as cluster:
        cluster.network.hosts["a defect"].call(os.getpid)
        yield cluster


@pytest.fixture
def kept() -> Iterator[session.Session]:
    it = session.up(sleepers, {"dataPlane": "plain"})
    try:
        yield it
    finally:
        session.down()


ENTER = "import sys; from meshmark.backends.lab.session import exec_in; exec_in(sys.argv[1], sys.argv[2:])"


def test_a_cluster_is_up_until_down(kept: session.Session) -> None:
    assert kept.state == "up"
    assert session.status() == kept
    assert [host.name for host in kept.hosts] == ["broker-1", "client-1"]
    pids = [pid for host in kept.hosts for pid in host.pids.values()]
    assert all(map(alive, [*pids, kept.keeper_pid]))
    assert Path(kept.client_properties).read_text(encoding="utf-8") == "security.protocol=PLAINTEXT\n"
    with pytest.raises(Busy, match=str(kept.keeper_pid)):
        session.up(sleepers, {})
    with pytest.raises(Busy, match=str(kept.keeper_pid)), instance("run"):
        pass
    assert session.down() is True
    assert not any(map(alive, [*pids, kept.keeper_pid]))
    assert session.status() is None
    assert session.down() is False
    assert stored_instances() == []


def test_a_command_runs_on_a_host_of_it(kept: session.Session) -> None:
    with script(ENTER, "client-1", "cat", "/proc/net/fib_trie") as command:
        output, errors = command.communicate(timeout=BOUND_S)
    assert (command.returncode, errors) == (0, "")
    assert kept.hosts[1].address in output
    assert kept.hosts[0].address not in output


def test_its_exit_status_is_passed_on(kept: session.Session) -> None:
    with script(ENTER, "broker-1", "sh", "-c", "exit 5") as command:
        assert command.wait(BOUND_S) == 5


def test_a_command_that_is_not_there_is_told(kept: session.Session) -> None:
    with script(ENTER, "broker-1", "no-such-command") as command:
        assert "cannot run no-such-command" in command.communicate(timeout=BOUND_S)[1]


def test_a_command_on_a_host_ends_with_the_cluster(kept: session.Session) -> None:
    with script(ENTER, "client-1", "cat") as command:
        assert command.stdin
        assert command.stdout
        command.stdin.write("hello\n")
        command.stdin.flush()
        assert command.stdout.readline() == "hello\n"
        session.down()
        assert command.wait(BOUND_S) == -signal.SIGKILL


def test_a_host_that_is_not_there_is_told_with_those_that_are(kept: session.Session) -> None:
    with pytest.raises(UsageError, match="broker-1, client-1"):
        session.exec_in("broker-9", ["true"])


def test_a_start_that_fails_is_told_and_leaves_nothing() -> None:
    with pytest.raises(ComponentFailed, match="refused its configuration") as caught:
        session.up(failing, {})
    assert caught.value.log_tail == ("no",)
    assert caught.value.hint == "Look into it."
    assert session.status() is None
    assert stored_instances() == []


def test_a_defect_in_the_start_is_told_and_leaves_nothing() -> None:
    with pytest.raises(MeshmarkError, match=r"KeyError.*a defect"):
        session.up(faulty, {})
    assert stored_instances() == []


def test_a_component_that_dies_is_in_the_status(kept: session.Session) -> None:
    os.kill(kept.hosts[0].pids["test"], signal.SIGKILL)
    wait_for(lambda: (session.status() or kept).state == "failed", "the death was not seen")
    found = session.status()
    assert found
    assert "broker-1" in found.problem
    assert "SIGKILL" in found.problem
    assert session.down() is True


def test_a_killed_keeper_is_in_the_status_and_reclaimed(kept: session.Session) -> None:
    os.kill(kept.keeper_pid, signal.SIGKILL)
    os.waitpid(kept.keeper_pid, 0)
    found = session.status()
    assert found
    assert found.state == "lost"
    pids = [pid for host in kept.hosts for pid in host.pids.values()]
    wait_for(lambda: not any(map(alive, pids)), "components outlive the keeper")
    with pytest.raises(UsageError):
        session.exec_in("broker-1", ["true"])
    assert [kept.directory in line for line in reclaim()] == [True]
    assert session.status() is None


SLOW_START = """
import time
from contextlib import contextmanager
from tests.lab.test_session import sleepers
from meshmark.backends.lab import session
@contextmanager
def slow(made):
    with sleepers(made) as cluster:
        print(*[process.pid for process in cluster.processes], flush=True)
        time.sleep(600)
        yield cluster
session.up(slow, {})
"""


def test_a_start_that_is_interrupted_leaves_nothing() -> None:
    with script(SLOW_START) as starter:
        assert starter.stdout
        pids = [int(word) for word in starter.stdout.readline().split()]
        assert len(pids) == 2
        starter.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in starter.communicate(timeout=BOUND_S)[1]
    assert not any(map(alive, pids))
    assert stored_instances() == []


def test_a_start_whose_caller_was_killed_leaves_nothing() -> None:
    with script(SLOW_START.replace("600", "0.2")) as starter:
        assert starter.stdout
        pids = [int(word) for word in starter.stdout.readline().split()]
        starter.kill()
    wait_for(lambda: not any(map(alive, pids)), "a cluster that nobody knows of is up")
    wait_for(lambda: stored_instances() == [], "its directory is left")
