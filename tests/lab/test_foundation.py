"""The ground the lab stands on: hosts, processes, locks, and what a killed conductor leaves (nothing).

Real namespaces and real processes; plain commands stand in for brokers, since nothing here knows what a broker is.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from meshmark.backends.lab.instance import WORK_DIR_VARIABLE, Instance, instance, reclaim, stored_instances
from meshmark.backends.lab.link import HOST_INTERFACE, Host, Network, network
from meshmark.backends.lab.namespace import CHILD_SOCKET_TABLE, SOCKET_BUCKETS
from meshmark.backends.lab.process import INSTANCE_VARIABLE, LabProcess, stop_all
from meshmark.errors import Busy, ComponentFailed
from tests.lab.ground import BOUND_S, POLL_S, alive, python, run_on, script, wait_for

# Says so once it ignores SIGTERM, which a test may only send after that.
STUBBORN = "import signal, sys, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"


def namespaces_in_use() -> set[int]:
    """Inodes of the network namespaces that some process of this machine is in or holds open."""
    found = set()
    for link in (*Path("/proc").glob("[0-9]*/ns/net"), *Path("/proc").glob("[0-9]*/fd/*")):
        try:
            target = str(link.readlink())
        except OSError:
            continue
        if target.startswith("net:["):
            found.add(int(target[5:-1]))
    return found


def interfaces() -> list[str]:
    with IPRoute() as netlink:
        return [str(link.get_attr("IFLA_IFNAME")) for link in netlink.get_links()]


@pytest.fixture
def made() -> Iterator[Instance]:
    with instance("test") as it:
        yield it


@pytest.fixture
def net(made: Instance) -> Iterator[Network]:
    with network(made, brokers=2, clients=1) as it:
        yield it


@pytest.fixture
def host(net: Network) -> Host:
    return net.hosts["broker-1"]


def test_hosts_reach_each_other(net: Network) -> None:
    broker, client = net.hosts["broker-2"], net.hosts["client-1"]
    with (
        broker.call(lambda: socket.create_server((broker.address, 9092))) as server,
        client.call(lambda: socket.create_connection((broker.address, 9092), 5)) as there,
        server.accept()[0] as here,
    ):
        here.sendall(b"hello")
        assert there.recv(5) == b"hello"
        assert here.getpeername()[0] == client.address


def test_hosts_reach_nothing_else(net: Network) -> None:
    def connect() -> int:
        with socket.socket() as attempt:
            return attempt.connect_ex(("192.0.2.1", 80))

    assert net.hosts["client-1"].call(connect) == errno.ENETUNREACH


def test_each_host_has_its_own_loopback(net: Network) -> None:
    there, elsewhere = net.hosts["broker-1"], net.hosts["broker-2"]
    with there.call(lambda: socket.create_server(("127.0.0.1", 9092))), pytest.raises(ConnectionRefusedError):
        elsewhere.call(lambda: socket.create_connection(("127.0.0.1", 9092), 5))


def test_the_machines_own_network_is_not_touched(made: Instance) -> None:
    before = interfaces()
    with network(made, brokers=1, clients=1) as net:
        assert interfaces() == before
        assert sorted(net.switches[""].call(interfaces)) == ["bridge", "broker-1", "client-1", "lo"]
        assert sorted(net.hosts["client-1"].call(interfaces)) == [HOST_INTERFACE, "lo"]
    assert interfaces() == before


def test_a_host_has_its_own_table_of_connections_and_the_machine_keeps_its_setting(host: Host) -> None:
    if not os.access(CHILD_SOCKET_TABLE, os.W_OK):
        pytest.skip("kernel: before 6.1, or its settings cannot be written; namespaces share one table")
    before = CHILD_SOCKET_TABLE.read_text(encoding="ascii")
    table = CHILD_SOCKET_TABLE.with_name("tcp_ehash_entries")
    assert int(host.call(lambda: table.read_text(encoding="ascii"))) == SOCKET_BUCKETS, "negative: not its own"
    assert host.call(lambda: CHILD_SOCKET_TABLE.read_text(encoding="ascii")).strip() == "0"
    assert CHILD_SOCKET_TABLE.read_text(encoding="ascii") == before


def test_leaving_a_network_removes_its_namespaces_and_directories(made: Instance) -> None:
    with network(made, brokers=2, clients=1) as net:
        inodes = {
            os.fstat(namespace.fd).st_ino
            for namespace in (*net.switches.values(), *(h.namespace for h in net.hosts.values()))
        }
        assert len(inodes) == 4
        assert inodes <= namespaces_in_use()
    assert not inodes & namespaces_in_use()
    assert [entry.name for entry in made.path.iterdir()] == ["lock"]


def test_what_a_call_raises_is_raised_by_it(host: Host) -> None:
    with pytest.raises(ZeroDivisionError):
        host.call(lambda: 1 // 0)


def test_load_workers_have_their_cpus_alone_where_they_have_some(made: Instance) -> None:
    every = sorted(os.sched_getaffinity(0))
    if len(every) < 2:
        pytest.skip("one CPU")
    with network(made, brokers=1, clients=1, client_cpus=1) as net:
        found = {}
        for component, name in (("client", "client-1"), ("sidecar", "client-1"), ("kafka", "broker-1")):
            with run_on(net.hosts[name], "sleep", "600", component=component) as process:
                wait_for(
                    lambda: Path(f"/proc/{process.pid}/comm").read_text(encoding="utf-8") == "sleep\n", "no sleep"
                )
                found[component] = sorted(os.sched_getaffinity(process.pid))
    assert found == {"client": every[-1:], "sidecar": every[:-1], "kafka": every[:-1]}
    with network(made, brokers=1, clients=0) as net, run_on(net.hosts["broker-1"], "sleep", "600") as process:
        assert sorted(os.sched_getaffinity(process.pid)) == every


def test_a_process_runs_in_its_hosts_network_and_directory(host: Host) -> None:
    code = "import os; print(os.stat('/proc/self/ns/net').st_ino, os.getcwd(), flush=True)"
    with run_on(host, *python(code)) as process:
        inode, directory = str(process.read_line(BOUND_S)).split()
    assert int(inode) == os.fstat(host.namespace.fd).st_ino
    assert Path(directory) == host.directory


def test_a_process_gets_no_stray_environment(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Xint")
    code = "import json, os; print(json.dumps(dict(os.environ)), flush=True)"
    with run_on(host, *python(code), env={"KAFKA_HEAP": "1"}) as process:
        environment = json.loads(str(process.read_line(BOUND_S)))
    assert "JAVA_TOOL_OPTIONS" not in environment
    assert environment["KAFKA_HEAP"] == "1"
    assert environment[INSTANCE_VARIABLE] == host.instance_id


def test_a_process_ignores_no_signal_and_leads_its_session(host: Host) -> None:
    with run_on(host, "cat") as process:
        process.send_line("")
        process.read_line(BOUND_S)
        ignored = [
            line.split()[1]
            for line in Path(f"/proc/{process.pid}/status").read_text().splitlines()
            if "SigIgn" in line
        ]
        assert ignored == ["0" * 16]
        assert os.getsid(process.pid) == process.pid


def test_lines_that_come_in_pieces_are_not_lost(host: Host) -> None:
    code = (
        "import sys; w = lambda t: (sys.stdout.write(t), sys.stdout.flush())\n"
        "w('one\\ntw'); input(); w('o\\nthree\\n'); input()"
    )
    with run_on(host, *python(code)) as process:
        assert process.read_line(BOUND_S) == "one"
        assert process.read_line(0) is None
        assert process.read_line(POLL_S) is None
        process.send_line("go on")
        assert process.read_line(BOUND_S) == "two"
        assert process.read_line(BOUND_S) == "three"


def test_lines_longer_than_a_pipe_pass(host: Host) -> None:
    with run_on(host, *python("print(len(input()), flush=True)")) as process:
        process.send_line("x" * 1_000_000)
        assert process.read_line(BOUND_S) == "1000000"


@pytest.mark.parametrize("act", ["read", "send", "check"])
def test_a_process_that_ended_is_told_with_the_end_of_its_log(host: Host, act: str) -> None:
    with run_on(host, "sh", "-c", "echo first >&2; echo out of order >&2; exit 3") as process:
        assert process.wait(BOUND_S) == 3
        with pytest.raises(ComponentFailed, match="exit status 3") as caught:
            {"read": lambda: process.read_line(1), "send": lambda: process.send_line("x"), "check": process.check}[
                act
            ]()
    assert caught.value.log_tail == ("first", "out of order")


def test_lines_are_still_read_after_the_end(host: Host) -> None:
    with run_on(host, "sh", "-c", "echo last") as process:
        process.wait(BOUND_S)
        assert process.read_line(1) == "last"
        with pytest.raises(ComponentFailed, match="exit status 0"):
            process.read_line(1)


def test_a_command_that_is_not_there_says_so(host: Host) -> None:
    with run_on(host, "no-such-command", lines=False) as process:
        assert process.wait(BOUND_S) == 127
        assert "no-such-command" in process.log_tail()[-1]


def test_a_process_that_does_not_end_in_time_is_told(host: Host) -> None:
    with run_on(host, "sleep", "600") as process, pytest.raises(ComponentFailed, match="did not end"):
        process.wait(0)


def test_without_lines_both_streams_go_to_the_log(host: Host) -> None:
    with run_on(host, "sh", "-c", "echo out; echo err >&2", lines=False) as process:
        process.wait(BOUND_S)
    assert process.log_tail() == ("out", "err")


def test_leaving_ends_a_process_politely(host: Host) -> None:
    code = STUBBORN.replace("signal.SIG_IGN", "lambda *_: sys.exit(7)")
    with run_on(host, *python(code)) as process:
        assert process.read_line(BOUND_S) == "ready"
    assert process.returncode == 7


def test_leaving_kills_what_stays_and_what_it_started(host: Host) -> None:
    code = f"import subprocess; print(subprocess.Popen(['sleep', '600']).pid, flush=True); {STUBBORN}"
    with run_on(host, *python(code), grace_s=POLL_S) as process:
        grandchild = int(str(process.read_line(BOUND_S)))
        assert process.read_line(BOUND_S) == "ready"
    assert process.returncode == -signal.SIGKILL
    wait_for(lambda: not alive(grandchild), "the grandchild lives")


def test_several_are_ended_at_once(host: Host) -> None:
    """Each ends only when all have got the signal; ended one after the other, the first would be killed."""
    code = (
        "import os, pathlib, signal, sys, time\n"
        "def end(*_):\n"
        "    pathlib.Path(sys.argv[1]).touch()\n"
        "    while len(list(pathlib.Path().glob('ended-*'))) < 3: time.sleep(0.01)\n"
        "    sys.exit(0)\n"
        "signal.signal(15, end); print('ready', flush=True); time.sleep(600)"
    )
    with ExitStack() as stack:
        processes = [stack.enter_context(run_on(host, *python(code), f"ended-{number}")) for number in range(3)]
        assert [process.read_line(BOUND_S) for process in processes] == ["ready"] * 3
        stop_all(processes, grace_s=BOUND_S)
        assert [process.returncode for process in processes] == [0, 0, 0]


def test_a_process_outlives_the_thread_that_asked_for_it(host: Host) -> None:
    with ExitStack() as stack:
        started: list[LabProcess] = []

        def start() -> None:
            started.append(stack.enter_context(run_on(host, "cat")))
            started[0].send_line("")  # answered once its life is bound to a thread's
            started[0].read_line(BOUND_S)

        thread = threading.Thread(target=start)
        thread.start()
        thread.join()
        started[0].send_line("still here")
        assert started[0].read_line(BOUND_S) == "still here"


def test_only_one_instance_uses_the_machine(made: Instance) -> None:
    with pytest.raises(Busy, match=f"process {os.getpid()} ") as caught, instance("second"):
        pass
    assert "down" in caught.value.hint


def test_an_instance_that_lives_is_left_alone(made: Instance, net: Network) -> None:
    with run_on(net.hosts["broker-1"], "cat") as process:
        assert reclaim() == []
        process.send_line("still here")
        assert process.read_line(BOUND_S) == "still here"


def test_leaving_an_instance_removes_memory_and_stray_processes() -> None:
    with instance("test") as made, network(made, brokers=1, clients=1) as net:
        memory = made.memory_directory()
        assert made.memory_directory() == memory
        (memory / "segment").write_bytes(b"x")
        code = "import subprocess; print(subprocess.Popen(['sleep', '600'], start_new_session=True).pid, flush=True)"
        with run_on(net.hosts["broker-1"], *python(code)) as process:
            stray = int(str(process.read_line(BOUND_S)))
            process.wait(BOUND_S)
        assert alive(stray)
    assert not alive(stray)
    assert not memory.exists()
    assert not made.path.exists()


def test_an_instance_removed_by_hand_ends_without_a_word() -> None:
    with instance("test") as made:
        memory = made.memory_directory()
        shutil.rmtree(made.path)
    assert not memory.exists()


def test_memory_of_an_instance_that_was_removed_by_hand_is_reclaimed(tmp_path: Path) -> None:
    gone = Instance(id="test-gone", path=tmp_path / "gone", reclaimed=())
    memory = gone.memory_directory()
    with instance("test") as made:
        living = made.memory_directory()
        assert str(memory) in made.reclaimed[0]
        assert reclaim() == []
        assert living.exists()
    assert not memory.exists()


CONDUCTOR = """
import json, os, signal, sys
from contextlib import ExitStack
from meshmark.backends.lab.cgroups import make_group
from meshmark.backends.lab.instance import instance
from meshmark.backends.lab.link import network
from meshmark.backends.lab.process import running
with ExitStack() as stack:
    made = stack.enter_context(instance("run"))
    group = make_group(made.path)
    net = stack.enter_context(network(made, brokers=2, clients=1, groups=group))
    made.memory_directory().joinpath("segment").touch()
    argv = [sys.executable, "-I", "-S", "-c", sys.argv[1]]
    processes = [
        stack.enter_context(running(host, argv, name="p", component="kafka", log=host.directory / "log", lines=True))
        for host in net.hosts.values()
    ]
    strays = [int(process.read_line(60)) for process in processes]
    namespaces = [*net.switches.values(), *(host.namespace for host in net.hosts.values())]
    inodes = [os.fstat(namespace.fd).st_ino for namespace in namespaces]
    pids = [process.pid for process in processes]
    print(json.dumps([str(made.path), str(made.memory_directory()), str(group), pids, strays, inodes]), flush=True)
    signal.pause()
"""


@pytest.mark.parametrize("gone", [False, True], ids=["its directory is there", "its directory is gone"])
def test_control_groups_of_one_killed_in_another_working_directory_go_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv(WORK_DIR_VARIABLE, str(tmp_path))
        with script(CONDUCTOR, "import os, time; print(os.getpid(), flush=True); time.sleep(600)") as conductor:
            assert conductor.stdout
            path, memory, group, pids, *_ = json.loads(conductor.stdout.readline())
            conductor.kill()
    wait_for(lambda: not any(map(alive, pids)), "children live on")
    assert group == "None" or Path(group).is_dir()
    if gone:
        shutil.rmtree(path)
    with instance("next") as following:
        assert len(following.reclaimed) == 1
        assert (memory if gone else path) in following.reclaimed[0]
    assert not any(Path(each).exists() for each in (path, memory, group))


def test_a_killed_conductor_leaves_nothing() -> None:
    """Its children die with it; a grandchild that got away, and the directories, go at the next start."""
    child = (
        "import subprocess, sys, time\n"
        "stray = subprocess.Popen(['sleep', '600'], start_new_session=True, stdout=subprocess.DEVNULL)\n"
        "print(stray.pid, flush=True)\n"
        "time.sleep(600)"
    )
    with script(CONDUCTOR, child) as conductor:
        assert conductor.stdout
        path, memory, group, pids, strays, inodes = json.loads(conductor.stdout.readline())
        assert set(inodes) <= namespaces_in_use()
        assert all(map(alive, pids + strays))
        conductor.kill()
    wait_for(lambda: not any(map(alive, pids)), "children live on")
    with instance("next") as following:
        assert len(following.reclaimed) == 1
        assert path in following.reclaimed[0]
        assert "3 of its processes" in following.reclaimed[0]
        assert not any(map(alive, strays))
        assert not Path(path).exists()
        assert not Path(memory).exists()
        assert not Path(group).exists()
        assert not set(inodes) & namespaces_in_use()
    assert stored_instances() == []
