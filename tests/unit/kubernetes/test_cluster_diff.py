"""`diff` and `--dry-run`: what would change, by the server's word, and that nothing does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from meshmark.backends.kubernetes.kinds import NAMESPACE, SECRET
from meshmark.cli import app
from meshmark.data_plane import DataPlane
from meshmark.errors import NoRights, NotOurs
from tests.unit.kubernetes.fake_api import FakeApi
from tests.unit.kubernetes.test_cluster import OURS, applied, main, one_scenario

Capture = pytest.CaptureFixture[str]


def diff(*more: str, only: str = "plain") -> int:
    return app.main(["diff", "--context", "fake", "--only", only, *more])


def changed(text: str) -> list[str]:
    """The lines that come or go."""
    return [line for line in text.splitlines() if line[0] in "+-" and not line.startswith(("---", "+++"))]


def test_nothing_differs_from_what_was_just_applied(fake: FakeApi, capsys: Capture) -> None:
    assert main("up", only="kafka-tls") == 0
    fake.writes.clear()
    capsys.readouterr()
    assert diff(only="kafka-tls") == 0
    assert capsys.readouterr().out == ""
    assert fake.writes == []


def test_a_diff_has_what_would_change_and_no_more(fake: FakeApi, capsys: Capture) -> None:
    assert main("up") == 0
    fake.writes.clear()
    capsys.readouterr()
    assert diff("--cpus", "2") == 1
    text = capsys.readouterr().out
    assert text.startswith("--- live/statefulset/broker\n+++ merged/statefulset/broker\n")
    assert [" ".join(line.split()) for line in changed(text)] == ['- cpu: "4"', '+ cpu: "2"'] * 2
    assert fake.writes == []


def test_in_a_namespace_that_is_not_there_all_is_new(fake: FakeApi, capsys: Capture) -> None:
    assert diff(only="kafka-tls") == 1
    text = capsys.readouterr().out
    assert {line.removeprefix("+++ merged/") for line in text.splitlines() if line.startswith("+++ ")} == {
        *applied(DataPlane.KAFKA_TLS),
        "secret/broker-tls",
    }
    assert {line[0] for line in changed(text)} == {"+"}
    assert "*** (made at `up`)" in text
    assert "PRIVATE" not in text
    assert fake.names() == []


def test_what_would_be_removed_is_in_the_diff(fake: FakeApi, capsys: Capture, tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(one_scenario("istio"), encoding="utf-8")
    assert main("up", "-f", str(plan), only="s") == 0
    capsys.readouterr()
    plan.write_text(one_scenario("plain"), encoding="utf-8")
    assert diff("-f", str(plan), only="s") == 1
    assert "--- live/destinationrule/kafka\n+++ merged/destinationrule/kafka\n@@" in capsys.readouterr().out


@pytest.mark.parametrize("data", [{"tls-combined.pem": "s3cret"}, None])
def test_what_is_in_a_secret_is_not_told(data: dict[str, str] | None, fake: FakeApi, capsys: Capture) -> None:
    fake.put(NAMESPACE, "meshmark-plain", labels=OURS)
    fake.put(SECRET, "broker-tls", "meshmark-plain", labels=OURS, data=data)
    applied_last = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps({"data": "s3cret"})}
    fake.body("secret/broker-tls")["metadata"]["annotations"] = applied_last
    assert diff() == 1
    text = capsys.readouterr().out
    assert "--- live/secret/broker-tls\n" in text
    assert "s3cret" not in text


@pytest.mark.parametrize(
    ("denied", "labels", "code"),
    [({("patch", "services")}, OURS, NoRights.exit_code), (set(), {}, NotOurs.exit_code)],
)
def test_a_diff_that_cannot_be_told_is_neither_yes_nor_no(
    denied: set[tuple[str, str]], labels: dict[str, str], code: int, fake: FakeApi
) -> None:
    fake.denied = denied
    fake.put(NAMESPACE, "meshmark-plain", labels=labels)
    assert diff() == code > 1


def test_the_servers_dry_run_changes_nothing(fake: FakeApi, capsys: Capture) -> None:
    assert main("up", "--dry-run", "server") == 0
    told = capsys.readouterr().out
    assert "namespace/meshmark-plain created (would be; nothing was changed)" in told
    assert "statefulset/broker: not asked: the server checks nothing in a namespace that is not there yet" in told
    assert fake.names() == []
    fake.put(NAMESPACE, "meshmark-kafka-tls", labels=OURS)
    assert main("up", "--dry-run", "server", only="kafka-tls") == 0
    told = capsys.readouterr().out
    assert "statefulset/broker created (would be" in told
    assert "secret/broker-tls created (would be" in told
    assert fake.names() == ["namespace/meshmark-kafka-tls"]
    assert fake.writes == []


def test_the_clients_dry_run_prints_the_objects_and_asks_nobody(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("KUBECONFIG", "nowhere")
    assert app.main(["up", "--backend", "kubernetes", "--only", "kafka-tls", "--dry-run", "client"]) == 0
    told = capsys.readouterr()
    printed = list(YAML(typ="safe", pure=True).load_all(told.out))
    names = [f"{body['kind'].lower()}/{body['metadata']['name']}" for body in printed]
    assert names == applied(DataPlane.KAFKA_TLS)
    assert "PRIVATE" not in told.out
    assert "Secret" in told.err
