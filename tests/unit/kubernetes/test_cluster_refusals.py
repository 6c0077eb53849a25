"""What stops a verb before anything is changed: no context, no rights, somebody else's namespace, object or field."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from meshmark.backends.kubernetes import contexts
from meshmark.backends.kubernetes.contexts import EXEC_API_READ
from meshmark.backends.kubernetes.kinds import NAMESPACE, STATEFUL_SET
from meshmark.cli import app
from meshmark.errors import ClusterUnreachable, NoRights, NotOurs, ObjectRefused
from tests.unit.kubernetes.conftest import write_kubeconfig
from tests.unit.kubernetes.fake_api import TOKEN, FakeApi, Refused
from tests.unit.kubernetes.test_cluster import OURS, main

Capture = pytest.CaptureFixture[str]
VERBS = ("up", "status", "down")


def test_a_context_must_be_named_where_nobody_can_be_asked(fake: FakeApi, capsys: Capture) -> None:
    assert app.main(["up", "--backend", "kubernetes", "--only", "plain"]) == 2
    told = capsys.readouterr().err
    assert "no cluster is touched unasked" in told
    assert "--context CTX; there are: fake, stranger, broken" in told
    assert fake.used == set()


@pytest.mark.parametrize(("answer", "code"), [("y", 1), ("n", 2)])
def test_a_person_is_asked_whether_the_current_context_is_meant(
    answer: str, code: int, fake: FakeApi, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)

    def confirm(text: str, **_: Any) -> bool:
        asked.append(text)
        return answer == "y"

    monkeypatch.setattr("typer.confirm", confirm)
    assert app.main(["status", "--backend", "kubernetes", "--only", "plain"]) == code
    assert [text.partition(" (http")[0] for text in asked] == ["Use the context fake"]
    assert bool(fake.used) is (answer == "y")


@pytest.mark.parametrize(
    ("context", "said", "code"),
    [
        ("cloud", "there is no context cloud in the kubeconfig\n  Contexts are: fake, stranger, broken.", 2),
        ("broken", "the context broken names the cluster there, which the kubeconfig does not have", 2),
        ("stranger", "the API server does not know the user of the context stranger (401)", NoRights.exit_code),
    ],
)
def test_a_context_that_cannot_be_used(context: str, said: str, code: int, fake: FakeApi, capsys: Capture) -> None:
    assert app.main(["status", "--backend", "kubernetes", "--only", "plain", "--context", context]) == code
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("file", ["none", "~nobody-of-that-name/none"])
def test_no_kubeconfig(file: str, verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUBECONFIG", file)
    assert main(verb) == 2
    assert f"there is no kubeconfig: {tmp_path / file}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "cannot be read"),
        ("just text", "is no kubeconfig"),
        ("contexts: 5", "its contexts are no list of a name and a context each"),
        ("contexts: [{name: [1]}]", "its contexts are no list of a name and a context each"),
        ("users: [{name: a, user: [1]}]", "its users are no list of a name and a user each"),
    ],
)
def test_a_kubeconfig_that_is_none(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(text, encoding="utf-8")
    monkeypatch.setenv("KUBECONFIG", str(file))
    assert main("status") == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("token: s3cret: x", "it is no YAML at line 2, column 14"),
        ("token: s3cret\ntoken: s3cret", "it is no YAML at line 3, column 1"),
        ("token: s3cret\x07", "it is no YAML"),
        ("token: s3cret\xd8", "it is not UTF-8"),
    ],
)
def test_what_a_kubeconfig_that_cannot_be_read_says_is_not_told(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    file = tmp_path / "kubeconfig"
    file.write_bytes(f"kind: Config\n{text}".encode("latin-1"))
    monkeypatch.setenv("KUBECONFIG", str(file))
    assert main("status") == 2
    told = capsys.readouterr().err
    assert f"the kubeconfig {file} cannot be read: {said}\n" in told
    assert "s3cret" not in told


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "{token: good}",
            "{as: admin, as-groups: [a], as-uid: 5, token: good}",
            "user me has as, as-uid, as-groups, wh",
        ),
        ("{token: good}", "{as-user-extra: {reason: [x]}, token: good}", "user me has as-user-extra, which"),
        (
            "{server:",
            "{tls-server-name: a, proxy-url: 'http://b', server:",
            "cluster here has tls-server-name, proxy-url",
        ),
    ],
)
def test_what_a_context_says_and_meshmark_would_not_heed(
    old: str, new: str, said: str, fake: FakeApi, tmp_path: Path, capsys: Capture
) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(file.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    assert main("status") == 2
    assert f"the context fake cannot be used: its {said}" in capsys.readouterr().err
    assert fake.used == set()


@pytest.mark.parametrize("server", ["http://127.0.0.1:port", "http://a\\x00b"])
def test_an_address_that_is_none(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    write_kubeconfig(tmp_path / "kubeconfig", server)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    assert main("status") == 2
    assert "the context fake cannot be used" in capsys.readouterr().err


def test_paths_in_a_kubeconfig_are_relative_to_it_and_not_to_where_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_kubeconfig(tmp_path / "kubeconfig", "http://127.0.0.1:1")
    text = (tmp_path / "kubeconfig").read_text(encoding="utf-8")
    (tmp_path / "kubeconfig").write_text(text.replace("token: good", "tokenFile: mine"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUBECONFIG", "kubeconfig")
    assert contexts.contexts().merged["users"][0]["user"]["tokenFile"] == str(tmp_path / "mine")


@pytest.mark.parametrize(
    "user",
    ["{token: [1]}", "{exec: {command: 5}}", "{auth-provider: {name: gcp}}", "{client-certificate: 5, client-key: 5}"],
)
def test_a_user_of_a_kubeconfig_that_says_nothing_that_can_be_used(
    user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    write_kubeconfig(tmp_path / "kubeconfig", "http://127.0.0.1:1")
    text = (tmp_path / "kubeconfig").read_text(encoding="utf-8")
    (tmp_path / "kubeconfig").write_text(text.replace("{token: good}", user), encoding="utf-8")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    assert main("status") == 2
    assert "the context fake" in capsys.readouterr().err


def test_something_else_that_answers_there(fake: FakeApi, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(FakeApi, "answer", lambda *_: "<html>Welcome</html>")
    assert main("status") == ClusterUnreachable.exit_code
    assert "is no API server" in capsys.readouterr().err


def test_several_kubeconfigs_are_merged_and_the_first_counts(
    fake: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_kubeconfig(tmp_path / "second", "http://127.0.0.1:1")
    files = [os.environ["KUBECONFIG"], str(tmp_path / "none"), str(tmp_path / "second")]
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join(files))
    assert main("up") == 0


def test_certificates_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    write_kubeconfig(tmp_path / "kubeconfig", "https://127.0.0.1:1")
    text = (tmp_path / "kubeconfig").read_text(encoding="utf-8")
    (tmp_path / "kubeconfig").write_text(
        text.replace("server:", "certificate-authority: none, server:"), encoding="utf-8"
    )
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    assert main("status") == 2
    assert "the context fake cannot be used" in capsys.readouterr().err


@pytest.mark.parametrize("verb", VERBS)
def test_a_server_that_cannot_be_reached(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    write_kubeconfig(tmp_path / "kubeconfig", "http://127.0.0.1:1")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    assert main(verb) == ClusterUnreachable.exit_code
    told = capsys.readouterr().err
    assert "the API server http://127.0.0.1:1 of the context fake cannot be reached" in told


@pytest.mark.parametrize("message", ["upstream is down", ""])
def test_an_answer_that_is_no_servers(message: str, fake: FakeApi, capsys: Capture) -> None:
    fake.refusals["namespace/meshmark-plain"] = Refused(503, message, reason="")
    assert main("up") == ClusterUnreachable.exit_code
    assert f"the API server answered 503: {message or 'nothing'}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("refused", "code"),
    [
        (Refused(503, "away", reason="", content_type=""), ClusterUnreachable.exit_code),
        (Refused(503, "away", reason="", content_type="application/json"), ClusterUnreachable.exit_code),
        (Refused(503, "away", says=0), ClusterUnreachable.exit_code),
        (Refused(408, "slow"), ClusterUnreachable.exit_code),
        (Refused(410, "gone"), ClusterUnreachable.exit_code),
        (Refused(422, "wrong", says=0), ObjectRefused.exit_code),
        (Refused(422, "wrong", reason="", content_type=""), ObjectRefused.exit_code),
    ],
)
@pytest.mark.parametrize("by_command", [False, True])
def test_the_code_of_an_answer_counts_whatever_it_says(
    refused: Refused, code: int, by_command: bool, fake: FakeApi, tmp_path: Path, capsys: Capture
) -> None:
    if by_command:
        credential = {"kind": "ExecCredential", "apiVersion": EXEC_API_READ, "status": {"token": TOKEN}}
        says = {"apiVersion": EXEC_API_READ, "command": "echo", "args": [json.dumps(credential)]}
        file = tmp_path / "kubeconfig"
        text = file.read_text(encoding="utf-8").replace("{token: good}", json.dumps({"exec": says}))
        file.write_text(text, encoding="utf-8")
    fake.refusals["namespace/meshmark-plain"] = refused
    assert main("up") == code
    assert f"{refused.code}" in capsys.readouterr().err


def test_a_list_whose_pages_are_gone_is_asked_for_once_more(fake: FakeApi, capsys: Capture) -> None:
    assert main("up") == 0
    fake.expired = 1
    assert main("status") == 0
    assert fake.expired == 0
    capsys.readouterr()
    fake.expired = 2
    assert main("status") == ClusterUnreachable.exit_code
    assert "listing pods: the API server answered 410: The provided continue" in capsys.readouterr().err


def test_all_rights_that_are_missing_are_told_at_once(fake: FakeApi, capsys: Capture) -> None:
    fake.denied = {("patch", "statefulsets"), ("create", "namespaces"), ("get", "secrets")}
    assert main("up") == NoRights.exit_code
    told = capsys.readouterr().err
    assert "lacks 3 rights that up needs in the namespace meshmark-plain: " in told
    assert "create namespaces, get secrets/broker-tls, patch statefulsets.apps" in told
    assert fake.writes == []


def test_who_was_given_a_namespace_needs_no_right_to_make_one(fake: FakeApi) -> None:
    fake.put(NAMESPACE, "meshmark-plain", labels=OURS)
    fake.denied = {("create", "namespaces")}
    assert main("up") == 0


@pytest.mark.parametrize("verb", VERBS)
def test_a_namespace_that_is_not_ours_is_left_alone(verb: str, fake: FakeApi, capsys: Capture) -> None:
    fake.put(NAMESPACE, "meshmark-plain", labels={"team": "shop"})
    assert main(verb) == NotOurs.exit_code
    assert "the namespace meshmark-plain is there and not ours" in capsys.readouterr().err
    assert fake.writes == []


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", ["default", "kube-system", "istio-system", "Not A Name"])
def test_namespaces_that_are_never_ours(verb: str, name: str, fake: FakeApi, capsys: Capture) -> None:
    assert main(verb, "-n", name) == 2
    assert name in capsys.readouterr().err
    assert fake.used == set()


def test_a_namespace_holds_one_scenario(fake: FakeApi, capsys: Capture) -> None:
    assert main("up", "-n", "mine") == 0
    fake.writes.clear()
    assert main("up", "-n", "mine", only="istio") == NotOurs.exit_code
    assert "the namespace mine holds the scenario plain of the plan banzai-2019" in capsys.readouterr().err
    assert fake.writes == []


@pytest.mark.parametrize("verb", [["status"], ["exec", "broker-1", "--", "ls"], ["down"]])
@pytest.mark.parametrize("other", [["-n", "mine", "--only", "istio"], ["-n", "mine", "-f", "PLAN"]])
def test_a_namespace_that_holds_another_scenario_than_the_one_that_is_meant(
    verb: list[str], other: list[str], fake: FakeApi, tmp_path: Path, capsys: Capture
) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("name: other\nscenarios:\n- name: plain\n  dataPlane: plain\n", encoding="utf-8")
    assert main("up", "-n", "mine") == 0
    fake.writes.clear()
    options = ["--backend", "kubernetes", "--context", "fake"]
    meant = [str(plan) if word == "PLAN" else word for word in other]
    assert app.main([verb[0], *options, *meant, *verb[1:]]) == NotOurs.exit_code
    told = capsys.readouterr().err
    assert "the namespace mine holds the scenario plain of the plan banzai-2019" in told
    assert "`meshmark down` with -n mine, and neither -f nor --only" in told
    assert (fake.writes, fake.commands) == ([], [])
    assert app.main([verb[0], *options, "-n", "mine", *verb[1:]]) == (3 if verb[0] == "exec" else 0)


def test_the_namespace_of_a_scenario_that_another_plan_has_as_well(fake: FakeApi, tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("name: other\nscenarios:\n- name: plain\n  dataPlane: plain\n", encoding="utf-8")
    assert main("up", "-f", str(plan)) == 0
    fake.writes.clear()
    assert main("down") == NotOurs.exit_code
    assert fake.writes == []
    assert main("down", "-f", str(plan)) == 0


def test_objects_of_others_with_the_same_names_are_left_alone(fake: FakeApi, capsys: Capture) -> None:
    fake.put(NAMESPACE, "meshmark-plain", labels=OURS)
    fake.put(STATEFUL_SET, "broker", "meshmark-plain", spec={"replicas": 1})
    assert main("up") == NotOurs.exit_code
    assert "objects of the same names that are not ours: statefulset/broker" in capsys.readouterr().err
    assert fake.writes == []


def test_fields_that_others_manage_are_told_and_taken_over_only_if_asked(fake: FakeApi, capsys: Capture) -> None:
    assert main("up") == 0
    fake.edit("statefulset/broker", ("spec", "replicas"), 5, "kubectl-scale")
    assert main("up") == NotOurs.exit_code
    told = capsys.readouterr().err
    assert 'fields of it are managed by others: spec.replicas (conflict with "kubectl-scale")' in told
    assert "--force-conflicts" in told
    assert fake.body("statefulset/broker")["spec"]["replicas"] == 5
    assert main("up", "--force-conflicts") == 0
    assert fake.body("statefulset/broker")["spec"]["replicas"] == 3


def test_conflicts_of_all_objects_are_told_before_any_is_changed(fake: FakeApi, capsys: Capture) -> None:
    assert main("up") == 0
    fake.edit("statefulset/broker", ("spec", "replicas"), 5, "kubectl-scale")
    fake.edit("service/kafka", ("spec", "clusterIP"), "10.0.0.1", "kubectl-edit")
    fake.edit("configmap/broker-config", ("data", "earlier"), "x", "meshmark")
    fake.writes.clear()
    assert main("up") == NotOurs.exit_code
    told = capsys.readouterr().err
    assert "applying service/kafka: fields of it are managed by others: spec.clusterIP" in told
    assert "applying statefulset/broker: fields of it are managed by others: spec.replicas" in told
    assert "Nothing was changed." in told
    assert fake.writes == []
    assert main("up", "--force-conflicts") == 0
    assert fake.writes == ["configmap/broker-config", "service/kafka", "statefulset/broker"]


def test_what_cannot_change_while_it_is_up(fake: FakeApi, capsys: Capture) -> None:
    assert main("up") == 0
    assert main("up", "--volume-size", "900Gi") == ObjectRefused.exit_code
    told = capsys.readouterr().err
    assert "(422): spec.volumeClaimTemplates: field is immutable\n" in told
    assert "`meshmark down` first" in told


def test_a_kind_that_the_cluster_does_not_have(fake: FakeApi, capsys: Capture) -> None:
    fake.absent = ("security.istio.io", "networking.istio.io")
    for verb in (["up", "--backend", "kubernetes"], ["diff"]):
        assert app.main([*verb, "--context", "fake", "--only", "istio-mtls"]) == ObjectRefused.exit_code
        told = capsys.readouterr().err
        assert "no kind PeerAuthentication (security.istio.io), DestinationRule (networking.istio.io)\n" in told
        assert told.count("istioctl install") == 1
        assert fake.writes == []
    assert main("down", only="istio-mtls") == 0
    assert main("up") == 0, "what needs no mesh needs no Istio"


def test_monitors_need_the_operator(fake: FakeApi, capsys: Capture) -> None:
    fake.absent = ("monitoring.coreos.com",)
    assert main("up", "--monitors") == ObjectRefused.exit_code
    told = capsys.readouterr().err
    assert "no kind PrometheusRule (monitoring.coreos.com)" in told
    assert "leave out --monitors" in told
    assert fake.writes == []
    assert main("up") == 0
    assert main("down") == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["up", "--context", "fake"], "--context says nothing to the backend lab"),
        (["up", "--cpus", "2", "--dry-run", "server"], "--dry-run, --cpus say nothing to the backend lab"),
        (
            ["up", "--backend", "kubernetes", "--data-plane", "istio"],
            "--data-plane says nothing to the backend kubern",
        ),
        (["down", "-n", "mine"], "--namespace says nothing to the backend lab"),
        (["status", "--backend", "cloud"], "the backend cloud keeps no clusters"),
        (["up", "--backend", "kubernetes", "--only", "plain", "--dry-run", "yes"], "--dry-run yes is not allowed"),
        (["up", "--backend", "kubernetes"], "it is one scenario at a time"),
    ],
)
def test_options_that_say_nothing_there(arguments: list[str], said: str, fake: FakeApi, capsys: Capture) -> None:
    assert app.main(arguments) == 2
    assert said in capsys.readouterr().err
    assert fake.used == set()


def test_credentials_that_a_command_does_not_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    text = """
clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: u, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: "COMMAND"}}}]
contexts: [{name: fake, context: {cluster: c, user: u}}]
"""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    found: dict[str, Any] = {}
    for command in ("false", "echo", "no-such-command"):
        (tmp_path / "kubeconfig").write_text(text.replace("COMMAND", command), encoding="utf-8")
        found[command] = main("status")
        assert "the credentials of the context fake cannot be had" in capsys.readouterr().err
    assert set(found.values()) == {NoRights.exit_code}
