"""`up`, `status`, `exec` and `down` against a fake API server: what is there afterwards, and in which order."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from meshmark.backends.kubernetes import contexts, manifests, target
from meshmark.backends.kubernetes.kinds import NAMESPACE, SECRET, Kind, name_of
from meshmark.cli import app
from meshmark.data_plane import DataPlane
from meshmark.errors import ClusterUnreachable, ComponentFailed, NoRights, NotOurs, ObjectRefused
from meshmark.planfile import builtin
from tests.planes import WHOLE
from tests.unit.kubernetes.fake_api import FakeApi, Refused

Capture = pytest.CaptureFixture[str]
CONFIG_MAP = Kind(name="ConfigMap", plural="configmaps")
OURS = {"app.kubernetes.io/managed-by": "meshmark"}


def main(verb: str, *more: str, only: str = "plain") -> int:
    return app.main([verb, "--backend", "kubernetes", "--context", "fake", "--only", only, *more])


def one_scenario(data_plane: str) -> str:
    """A plan whose only scenario, `s`, has it."""
    return f"name: mine\nscenarios:\n- name: s\n  dataPlane: {data_plane}\n"


def applied(data_plane: DataPlane) -> list[str]:
    """Names of what the export of that scenario has, in its order."""
    plan = builtin("banzai-2019")
    scenario = plan.scenario(data_plane)
    return [name_of(made.body) for made in manifests(plan, scenario, target(plan, scenario, kafka_version="4.4.0"))]


@pytest.mark.parametrize("data_plane", WHOLE)
def test_up_applies_what_export_writes_and_returns_when_all_brokers_are_ready(
    data_plane: DataPlane, fake: FakeApi, capsys: Capture
) -> None:
    assert main("up", only=data_plane) == 0
    assert [name for name in fake.writes if name != "secret/broker-tls"] == applied(data_plane)
    assert ("secret/broker-tls" in fake.writes) is (data_plane is DataPlane.KAFKA_TLS)
    told = capsys.readouterr()
    assert "state:      up" in told.out
    assert "namespace/meshmark-" + data_plane + " created" in told.err
    assert [line.split() for line in told.out.splitlines() if line.startswith("  broker-")] == [
        [f"broker-{number}", "Running", "yes", "0", "n1", "a"] for number in (1, 2, 3)
    ]


def test_a_second_up_changes_nothing(fake: FakeApi, capsys: Capture) -> None:
    assert main("up", only="kafka-tls") == 0
    fake.writes.clear()
    capsys.readouterr()
    assert main("up", only="kafka-tls") == 0
    assert fake.writes == []
    told = capsys.readouterr().err
    assert told.count(" unchanged") == len(applied(DataPlane.KAFKA_TLS))
    assert "configured" not in told


def test_what_an_earlier_up_left_over_is_removed(fake: FakeApi, tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    for data_plane in ("istio-mtls", "plain"):
        plan.write_text(one_scenario(data_plane), encoding="utf-8")
        assert main("up", "-f", str(plan), only="s") == 0
    assert [name for name in fake.names() if name.startswith(("peer", "dest"))] == []
    assert fake.writes[-2:] == ["removed peerauthentication/default", "removed destinationrule/kafka"]


def test_keys_are_in_the_secret_and_nowhere_else(fake: FakeApi, capsys: Capture) -> None:
    assert main("up", only="kafka-tls") == 0
    told = capsys.readouterr()
    data = {name: base64.b64decode(text) for name, text in fake.body("secret/broker-tls")["data"].items()}
    key = serialization.load_pem_private_key(data["tls-combined.pem"].partition(b"-----BEGIN CERT")[0], None)
    leaf, authority = x509.load_pem_x509_certificates(
        data["tls-combined.pem"].partition(b"PRIVATE KEY-----\n")[2].partition(b"PRIVATE KEY-----\n")[2]
    )
    assert key.public_key() == leaf.public_key()
    leaf.verify_directly_issued_by(authority)
    assert data["ca.crt"] == authority.public_bytes(serialization.Encoding.PEM)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
        x509.DNSName
    )
    assert names == ["kafka.meshmark-kafka-tls.svc", "*.kafka.meshmark-kafka-tls.svc"]
    assert "PRIVATE" not in told.out + told.err
    assert main("diff", only="kafka-tls") == 2  # --backend is not of diff
    others = {name: body for name in fake.names() if not name.startswith("secret/") and (body := fake.body(name))}
    assert "PRIVATE" not in json.dumps(others)


def test_a_certificate_that_has_expired_is_told_and_not_replaced(fake: FakeApi, capsys: Capture) -> None:
    assert main("up", only="kafka-tls") == 0
    fake.body("secret/broker-tls")["data"]["tls-combined.pem"] = ""
    assert main("up", only="kafka-tls") == ObjectRefused.exit_code
    assert "has expired at" in capsys.readouterr().err


def test_brokers_that_are_not_ready_in_time_are_told_with_their_state_and_events(
    fake: FakeApi, capsys: Capture
) -> None:
    fake.brokers = "unplaced"
    assert main("up", "--timeout", "1") == ComponentFailed.exit_code
    told = capsys.readouterr().err
    assert "are not ready after 1 s" in told
    message = "0/1 nodes are available: 1 Insufficient memory."
    assert f"| broker-2: not placed on a node: Unschedulable: {message}" in told
    assert f"| pod/broker-2: FailedScheduling: {message}" in told
    assert main("status") == 1
    shown = capsys.readouterr()
    assert "problem:    broker-3: not placed on a node" in shown.out
    assert f"warning: pod/broker-3: FailedScheduling: {message}" in shown.err
    fake.brokers = "ready"
    assert main("up") == 0, "the same command goes on"


def test_a_quota_that_keeps_pods_from_being_made_is_told(fake: FakeApi, capsys: Capture) -> None:
    fake.brokers = "quota"
    assert main("up", "--timeout", "1") == ComponentFailed.exit_code
    told = capsys.readouterr().err
    assert "| broker-1: Missing" in told
    assert "| statefulset/broker: FailedCreate: exceeded quota: small" in told


def test_an_object_that_the_server_refuses_ends_up_and_down_still_works(fake: FakeApi, capsys: Capture) -> None:
    fake.refusals["statefulset/broker"] = Refused(403, 'statefulsets "broker" is forbidden: exceeded quota: small')
    assert main("up") == ObjectRefused.exit_code
    told = capsys.readouterr().err
    assert "applying statefulset/broker: the API server refused it (403)" in told
    assert "exceeded quota: small" in told
    assert main("down") == 0
    assert fake.names() == []


def test_status_as_json(fake: FakeApi, capsys: Capture) -> None:
    assert main("status", "-o", "json") == 1
    assert json.loads(capsys.readouterr().out) == {"state": "down", "warnings": []}
    assert main("up", "-n", "mine") == 0
    capsys.readouterr()
    assert main("status", "-o", "json", "-n", "mine") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["state"], found["namespace"], found["wanted"]) == ("up", "mine", 3)
    assert [(each["name"], each["ready"], each["zone"]) for each in found["brokers"]] == [
        (f"broker-{number}", True, "a") for number in (1, 2, 3)
    ]


def test_exec_runs_in_the_brokers_container_and_ends_with_the_commands_code(
    fake: FakeApi, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert main("up") == 0
    capfdbinary.readouterr()
    assert main("exec", "broker-2", "--", "ls", "-l") == 3
    assert fake.commands == [["ls", "-l"]]
    assert capfdbinary.readouterr().out == b"ls -l"


@pytest.mark.parametrize(
    ("change", "said", "code"),
    [
        ({"refusals": {"pod/broker-1": Refused(400, "not running")}}, "(400): Bad Request", ObjectRefused.exit_code),
        ({"refusals": {"pod/broker-1": Refused(502, "no kubelet")}}, "answered 502", ClusterUnreachable.exit_code),
        ({"refusals": {"pod/broker-1": Refused(403, "no")}}, "the API server forbids it (403)", NoRights.exit_code),
        (
            {"unknown_command": 'exec: "ls": not found'},
            'it could not be run: exec: "ls": not',
            ObjectRefused.exit_code,
        ),
        ({"breaks": True}, "the connection broke before the command ended", ClusterUnreachable.exit_code),
    ],
)
def test_exec_that_the_cluster_does_not_carry_out(
    change: dict[str, Any], said: str, code: int, fake: FakeApi, capsys: Capture
) -> None:
    assert main("up") == 0
    for name, value in change.items():
        setattr(fake, name, value)
    assert main("exec", "broker-1", "--", "ls") == code
    assert said in capsys.readouterr().err


def test_exec_whose_output_nobody_reads_any_more(fake: FakeApi) -> None:
    class Closed(io.BytesIO):
        def write(self, _: object) -> int:
            raise BrokenPipeError

    assert main("up") == 0
    api = contexts.connect(contexts.contexts(), "fake")
    with pytest.raises(BrokenPipeError):
        api.execute("broker-1", "meshmark-plain", "kafka", ["ls"], Closed(), io.BytesIO())


def test_exec_on_a_host_that_is_not_there(fake: FakeApi, capsys: Capture) -> None:
    assert main("exec", "broker-1", "--", "ls") == 2
    assert "no cluster is up" in capsys.readouterr().err
    assert main("up") == 0
    assert main("exec", "client-1", "--", "ls") == 2
    assert "Hosts are: broker-1, broker-2, broker-3" in capsys.readouterr().err


def test_down_removes_the_namespace_with_all_in_it_and_waits(fake: FakeApi, capsys: Capture) -> None:
    fake.put(NAMESPACE, "other")
    fake.put(CONFIG_MAP, "theirs", "other")
    assert main("up") == 0
    fake.put(CONFIG_MAP, "kube-root-ca.crt", "meshmark-plain")
    fake.lasts = 3
    assert main("down") == 0
    assert fake.names() == ["configmap/theirs", "namespace/other"]
    assert main("down") == 0
    assert "no cluster was up" in capsys.readouterr().out


@pytest.mark.parametrize("made", [True, False])
def test_down_ends_brokers_at_once_before_anything_else_goes(made: bool, fake: FakeApi) -> None:
    if not made:
        fake.put(NAMESPACE, "meshmark-plain", labels=OURS)
    assert main("up") == 0
    fake.writes.clear()
    assert main("down") == 0
    pods = [f"removed pod/broker-{number} within 1 s" for number in (1, 2, 3)]
    assert fake.writes[:4] == ["removed statefulset/broker", *pods]
    assert ("removed namespace/meshmark-plain" in fake.writes) is made


def test_down_removes_the_namespace_though_a_node_does_not_say_that_its_pod_has_ended(
    fake: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshmark.backends.kubernetes.lifecycle.ENDED_S", 0.05)
    monkeypatch.setattr("meshmark.backends.kubernetes.lifecycle.GRACE_S", None)
    assert main("up") == 0
    assert main("down") == 0
    assert fake.names() == []


def test_down_goes_on_with_a_namespace_that_is_being_removed(fake: FakeApi, capsys: Capture) -> None:
    assert main("up") == 0
    fake.lasts = -1
    assert main("down", "--timeout", "1") == ComponentFailed.exit_code
    assert "still there after 1 s: a pod is still there" in capsys.readouterr().err
    assert main("up") == ObjectRefused.exit_code
    assert "is still being removed: a pod is still there" in capsys.readouterr().err
    fake.lasts = 1
    assert main("down") == 0
    assert fake.names() == []


def test_down_leaves_the_objects_of_others_and_says_which(fake: FakeApi, capsys: Capture) -> None:
    assert main("up", only="kafka-tls") == 0
    fake.put(CONFIG_MAP, "theirs", "meshmark-kafka-tls")
    assert main("down", only="kafka-tls") == NotOurs.exit_code
    assert [name for name in fake.names() if not name.startswith("event/")] == [
        "configmap/theirs",
        "namespace/meshmark-kafka-tls",
    ]
    assert next(name for name in fake.writes if name.startswith("removed")) == "removed statefulset/broker"
    assert "with objects that are not: configmap/theirs" in capsys.readouterr().err


def test_down_sees_a_secret_of_others_that_has_the_name_of_ours(fake: FakeApi, capsys: Capture) -> None:
    assert main("up") == 0
    fake.put(SECRET, "broker-tls", "meshmark-plain", data={})
    assert main("down") == NotOurs.exit_code
    assert "with objects that are not: secret/broker-tls" in capsys.readouterr().err
    assert "secret/broker-tls" in fake.names()
    del fake.objects[SECRET, "meshmark-plain", "broker-tls"]
    assert main("down") == 0
    assert [name for name in fake.names() if not name.startswith("event/")] == []


@pytest.mark.parametrize("ups", [1, 2])
def test_down_leaves_a_namespace_that_up_did_not_make_and_another_scenario_may_follow(
    ups: int, fake: FakeApi, capsys: Capture
) -> None:
    fake.put(NAMESPACE, "mine", labels={**OURS, "team": "shop"})
    fake.put(SECRET, "theirs", "mine", data={})
    for _ in range(ups):
        assert main("up", "-n", "mine", only="istio") == 0
    capsys.readouterr()
    assert main("down", "-n", "mine", only="istio") == 0
    told = capsys.readouterr()
    assert "namespace/mine stays: `up` did not make it" in told.err
    assert told.out == "the cluster is down\n"
    assert fake.names() == ["namespace/mine", "secret/theirs"]
    assert fake.body("namespace/mine")["metadata"]["labels"] == {**OURS, "team": "shop"}
    assert main("down", "-n", "mine") == 0
    assert capsys.readouterr().out == "no cluster was up in the namespace mine\n"
    assert main("up", "-n", "mine") == 0


def test_down_removes_the_namespace_that_up_made_however_often_it_was_up(fake: FakeApi) -> None:
    for _ in range(2):
        assert main("up") == 0
    assert main("down") == 0
    assert fake.names() == []


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (Refused(403, 'namespaces "meshmark-plain" is forbidden: User "u" cannot get resource "namespaces"'), 3),
        (Refused(401, "Unauthorized"), NoRights.exit_code),
    ],
)
def test_down_whose_end_cannot_be_seen(
    refusal: Refused, code: int, fake: FakeApi, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert main("up") == 0
    whole = FakeApi._get

    def get(api: FakeApi, kind: Kind, namespace: str, name: str) -> Any:
        if "removed namespace/meshmark-plain" in api.writes:
            raise refusal
        return whole(api, kind, namespace, name)

    monkeypatch.setattr(FakeApi, "_get", get)
    assert main("down") == code
    told = capsys.readouterr()
    assert "the cluster is down" not in told.out
    assert ("its end cannot be seen" in told.err) is (code == 3)


def test_down_leaves_a_namespace_that_was_made_anew_since_it_was_looked_at(
    fake: FakeApi, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert main("up") == 0
    whole = FakeApi._delete

    def delete(api: FakeApi, kind: Kind, *more: Any) -> Any:
        if kind == NAMESPACE:
            api.body("namespace/meshmark-plain")["metadata"]["uid"] = "another"
        return whole(api, kind, *more)

    monkeypatch.setattr(FakeApi, "_delete", delete)
    assert main("down") == NotOurs.exit_code
    assert "it was removed and made anew since it was looked at" in capsys.readouterr().err
    assert "namespace/meshmark-plain" in fake.names()


def test_a_server_that_goes_away_for_a_moment_is_waited_for(fake: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.brokers = "unplaced"
    lists = iter(range(100))
    whole = FakeApi._list

    def counted(api: FakeApi, *arguments: Any) -> Any:
        if next(lists) == 30:
            fake.away, fake.brokers = 3, "ready"
        return whole(api, *arguments)

    monkeypatch.setattr(FakeApi, "_list", counted)
    assert main("up") == 0
    assert fake.away == 0


def test_a_server_that_stays_away_ends_the_wait_with_what_was_seen_last(
    fake: FakeApi, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr("meshmark.backends.kubernetes.lifecycle.PATIENCE_S", 0.1)
    fake.brokers = "unplaced"
    lists = iter(range(1000))
    whole = FakeApi._list

    def counted(api: FakeApi, *arguments: Any) -> Any:
        if next(lists) == 30:
            fake.away = 10**6
        return whole(api, *arguments)

    monkeypatch.setattr(FakeApi, "_list", counted)
    assert main("up") == ClusterUnreachable.exit_code
    told = capsys.readouterr().err
    assert "cannot be reached" in told
    assert "last seen of the brokers: broker-1: not placed on a node" in told


def test_a_secret_of_others_is_not_taken_for_ours(fake: FakeApi, capsys: Capture) -> None:
    fake.put(NAMESPACE, "meshmark-kafka-tls", labels=OURS)
    fake.put(SECRET, "broker-tls", "meshmark-kafka-tls", data={})
    assert main("up", only="kafka-tls") == NotOurs.exit_code
    assert fake.writes == []
    assert "the Secret broker-tls" in capsys.readouterr().err
