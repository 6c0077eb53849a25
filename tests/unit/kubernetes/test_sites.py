"""`up`, `status`, `exec`, `diff`, `down` over two fake clusters: each has its part, and one that fails hides none."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
from contextlib import ExitStack

import pytest

from meshmark.backends.kubernetes import sites, stretched
from meshmark.backends.kubernetes.kinds import CONFIG_MAP, NAMESPACE, POD
from meshmark.cli import app
from meshmark.errors import ClusterUnreachable, ComponentFailed, NoRights, NotOurs, UsageError
from tests.lab.ground import ROOT
from tests.unit.kubernetes.conftest import SPACE, Two

Capture = pytest.CaptureFixture[str]
EXAMPLE = str(ROOT / "examples" / "stretched-24ms.yaml")
BEHIND_GATEWAYS = str(ROOT / "examples" / "gateways.yaml")
BOTH = ("--context", "first", "--context", "second")


def main(verb: str, *more: str, of: str = EXAMPLE) -> int:
    backend = () if verb == "diff" else ("--backend", "kubernetes")
    return app.main([verb, *backend, "-f", of, *more])


def test_up_puts_each_part_into_its_own_cluster(two: Two, capsys: Capture) -> None:
    two.rooted()
    assert main("up", *BOTH) == 0
    pods = [sorted(name for kind, _, name in fake.objects if kind == POD) for fake in two]
    assert pods == [["broker-1", "broker-2"], ["broker-3"]]
    services = [[name for name in fake.names() if name.startswith("service/")] for fake in two]
    assert services == [["service/broker-1", "service/broker-2", "service/broker-3", "service/kafka"]] * 2
    told = capsys.readouterr()
    assert told.out.count("state:      up") == 2
    assert [line.split()[-1] for line in told.out.splitlines() if line.startswith("cluster:")] == ["one", "two"]
    assert f"one: namespace/{SPACE} created" in told.err
    assert f"two: namespace/{SPACE} created" in told.err


def test_contexts_may_say_of_which_cluster_they_are(two: Two) -> None:
    two.rooted()
    assert main("up", "--context", "two=first", "--context", "one=second") == 0
    assert "pod/broker-3" in two.first.names()
    assert "pod/broker-1" in two.second.names()
    assert main("up", *BOTH) == NotOurs.exit_code


def test_pods_are_asked_once_whether_and_when_they_reach_those_of_the_other_cluster(two: Two, capsys: Capture) -> None:
    two.rooted()
    assert main("up", *BOTH) == 0
    asked = [["/bin/bash", "-c", sites.CONNECT, other.address, "5203"] for other in (two.second, two.first)]
    assert [fake.commands for fake in two] == [[each] for each in asked]
    told = [line for line in capsys.readouterr().err.splitlines() if "round trip" in line]
    assert [re.sub(r"\d+\.\d ms", "X ms", line) for line in told] == [
        f"round trip from {ends}: X ms; the plan says 24 ms" for ends in ("one to two", "two to one")
    ]


def test_networks_that_are_not_one_are_told_and_all_of_it_stays(two: Two, capsys: Capture) -> None:
    two.rooted()
    two.second.runs = False  # its command ends with 3 and no word of a refusal
    assert main("up", *BOTH) == ComponentFailed.exit_code
    told = capsys.readouterr().err
    assert "pods do not reach each other directly: two to one (127.0.0.1: no answer within 5 s)" in told
    assert "gateway: true" in told
    assert "statefulset/broker" in two.first.names()


def test_behind_gateways_nobody_is_asked(two: Two) -> None:
    two.rooted()
    assert main("up", *BOTH, of=BEHIND_GATEWAYS) == 0
    assert [fake.commands for fake in two] == [[], []]


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ("other", "the meshes of one, two have no root of trust in common"),
        ("", "no istiod has put its root of trust into the namespace meshmark-istio-mtls"),
    ],
)
def test_meshes_without_a_common_root_are_told(
    second: str, said: str, two: Two, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sites, "ROOT_S", 0.1)
    two.rooted(second=second)
    if not second:
        two.second.put(CONFIG_MAP, sites.ROOT, SPACE)
    assert main("up", *BOTH) == ComponentFailed.exit_code
    told = capsys.readouterr().err
    assert said in told
    assert "meshmark infra istio" in told


def test_nothing_is_applied_anywhere_before_every_cluster_would_take_it(two: Two, capsys: Capture) -> None:
    two.second.denied = {("create", "services"), ("patch", "configmaps")}
    assert main("up", *BOTH) == NoRights.exit_code
    assert "context second lacks 2 rights" in capsys.readouterr().err
    assert [fake.writes for fake in two] == [[], []]
    two.second.denied = set()
    two.second.put(NAMESPACE, SPACE)
    assert main("up", *BOTH) == NotOurs.exit_code
    assert [fake.writes for fake in two] == [[], []]


def test_brokers_that_are_not_ready_in_one_cluster_are_told(two: Two, capsys: Capture) -> None:
    two.rooted()
    two.second.brokers = "unplaced"
    assert main("up", *BOTH, "--timeout", "1") == ComponentFailed.exit_code
    told = capsys.readouterr().err
    assert "| broker-1: ready" in told
    assert "| broker-3: not placed on a node: Unschedulable" in told
    assert "| pod/broker-3: FailedScheduling" in told


def test_status_shows_every_cluster_and_hides_none_that_answers(two: Two, capsys: Capture) -> None:
    two.rooted()
    assert main("up", *BOTH) == 0
    capsys.readouterr()
    assert main("status", *BOTH, "-o", "json") == 0
    shown = json.loads(capsys.readouterr().out)["clusters"]
    assert [(each["context"], each["state"], each["cluster"]) for each in shown] == [
        ("first", "up", "one"),
        ("second", "up", "two"),
    ]
    assert main("status", "--context", "two=second", "-o", "json") == 0
    assert json.loads(capsys.readouterr().out)["cluster"] == "two"
    two.first.away = 1_000
    assert main("status", *BOTH) == ClusterUnreachable.exit_code
    told = capsys.readouterr()
    assert "context:    second" in told.out
    assert "first: " in told.err


def test_a_command_goes_to_the_cluster_that_has_the_host(two: Two, capsys: Capture) -> None:
    two.rooted()
    assert main("up", *BOTH) == 0
    assert main("exec", *BOTH, "broker-3", "--", "true") == 0
    assert (two.first.commands[-1] == ["true"], two.second.commands[-1]) == (False, ["true"])
    assert main("exec", *BOTH, "broker-4", "--", "true") == UsageError.exit_code
    assert "Hosts are: broker-1, broker-2, broker-3." in capsys.readouterr().err
    two.first.away = 1_000
    assert main("exec", *BOTH, "broker-3", "--", "false") == 1


def test_a_cluster_that_is_away_keeps_nothing_up_in_the_other(two: Two, capsys: Capture) -> None:
    two.rooted()
    assert main("up", *BOTH) == 0
    two.first.away = 1_000
    assert main("down", *BOTH) == ClusterUnreachable.exit_code
    told = capsys.readouterr()
    assert "the cluster is down of second" in told.out
    assert "pod/broker-3" not in two.second.names()
    assert "pod/broker-1" in two.first.names()
    two.first.away = 0
    assert app.main(["down", "--backend", "kubernetes", "-n", SPACE, "--context", "first"]) == 0
    assert two.first.names() == []


def test_a_namespace_alone_may_be_ended_in_all_clusters(two: Two) -> None:
    two.rooted()
    assert main("up", *BOTH) == 0
    assert app.main(["down", "--backend", "kubernetes", "-n", SPACE, *BOTH]) == 0
    assert [fake.names() for fake in two] == [[], []]


def test_a_diff_says_of_which_cluster_it_is(two: Two, capsys: Capture) -> None:
    two.rooted()
    assert main("up", *BOTH) == 0
    capsys.readouterr()
    assert main("diff", *BOTH) == 0
    assert capsys.readouterr().out == ""
    two.second.edit("statefulset/broker", ("spec", "replicas"), 1, "meshmark")
    two.second.body("statefulset/broker")["spec"]["replicas"] = 5
    assert main("diff", *BOTH) == 1
    told = capsys.readouterr().out
    assert told.startswith("# two: second\n")
    assert "-  replicas: 5" in told


def test_what_would_be_applied_is_printed_for_each_cluster(two: Two, capsys: Capture) -> None:
    assert main("up", "--dry-run", "client") == 0
    printed = capsys.readouterr().out
    assert [line for line in printed.splitlines() if line.startswith("#")] == ["# one", "# two"]
    assert main("up", *BOTH, "--dry-run", "server") == 0
    asked = capsys.readouterr().out
    assert [line for line in asked.splitlines() if line.startswith("#")] == ["# one: first", "# two: second"]
    assert [fake.writes for fake in two] == [[], []]


@pytest.mark.parametrize(
    ("contexts", "said"),
    [
        (["first"], "the topology has the clusters one, two, and it is not clear which context each is (first)"),
        ([], "(none is named)"),
        (["one=first"], "no context is named for two"),
        (["one=first", "second"], "it is not clear which context each is (one=first, second)"),
        (["one=first", "one=second"], "it is not clear which context each is (one=first, one=second)"),
        (["three=first", "four=second"], "there is no context three=first in the kubeconfig"),
        (["first", "again"], "the contexts first and again are one cluster"),
        (["first", "first"], "the contexts first and first are one cluster"),
        (["first", "second", "again"], "it is not clear which context each is (first, second, again)"),
    ],
)
def test_which_context_is_which_cluster_has_to_be_clear(
    contexts: list[str], said: str, two: Two, capsys: Capture
) -> None:
    options = [word for context in contexts for word in ("--context", context)]
    assert main("up", *options) == UsageError.exit_code
    assert said in capsys.readouterr().err
    assert [fake.used for fake in two] == [set(), set()]


def test_several_contexts_without_a_topology_are_refused(two: Two, capsys: Capture) -> None:
    for verb in (["up", "--backend", "kubernetes"], ["diff"], ["status", "--backend", "kubernetes"]):
        assert app.main([*verb, "--only", "plain", *BOTH]) == UsageError.exit_code
        assert "--context is given 2 times, and the scenario has no topology" in capsys.readouterr().err
    assert [fake.used for fake in two] == [set(), set()]


def test_doctor_looks_at_every_cluster(two: Two, capsys: Capture) -> None:
    two.second.denied = {("create", "services")}
    assert app.main(["doctor", EXAMPLE, "--backend", "kubernetes", *BOTH, "-o", "json"]) == 1
    found = {each["name"]: each["status"] for each in json.loads(capsys.readouterr().out)["checks"]}
    assert (found["first: rights of run"], found["second: rights of run"]) == ("ok", "missing")


def ask(*, limit: str = "5", port: int = stretched.PROBE_PORT) -> subprocess.CompletedProcess[str]:
    """What a pod's shell is told, on this machine."""
    script = sites.CONNECT.replace(f"-rt {sites.REACH_S} ", f"-rt {limit} ")
    return subprocess.run(
        ["bash", "-c", script, "127.0.0.1", str(port)], capture_output=True, text=True, check=False, timeout=60
    )


def test_a_refusal_is_an_answer_with_a_time() -> None:
    done = ask()
    assert (done.returncode, "/dev/tcp/127.0.0.1/5203: Connection refused" in done.stderr) == (1, True)
    assert [text.isdecimal() for text in done.stdout.split()] == [True] * 5


def test_silence_is_none_and_is_not_waited_for_long() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, ExitStack() as stack:
        for _ in range(3):  # nobody accepts them, and there is no room for more
            full = stack.enter_context(socket.socket())
            full.setblocking(False)
            full.connect_ex(server.getsockname())
        done = ask(limit="0.3", port=server.getsockname()[1])
    assert (done.returncode, done.stdout) == (sites.KILLED + signal.SIGTERM, "")
