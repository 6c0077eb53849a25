"""`meshmark install` against a fake API server, with stub programs on PATH that write down their arguments: no mesh is
installed by any of it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from meshmark.backends.kubernetes import install, survey
from meshmark.backends.kubernetes.kinds import POD
from meshmark.cli import app
from meshmark.errors import ComponentFailed, Inconclusive, MissingRequirement, NotOurs
from tests.unit.kubernetes.fake_api import FakeApi

Capture = pytest.CaptureFixture[str]
LINKERD = "policy.linkerd.io/v1beta3"
ISTIO = ("networking.istio.io", "security.istio.io")
STUB = """#!/bin/sh
printf '%s' "${{0##*/}}" >> {log}
for word in "$@"; do printf ' [%s]' "$word" >> {log}; done
echo >> {log}
{does}
"""


class Tools:
    """Stubs on PATH, and nothing else is; `run` has what was run, with each argument in brackets."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._log = directory / "log"

    def put(self, *names: str, does: str = "") -> None:
        for name in names:
            stub = self.directory / name
            stub.write_text(STUB.format(log=self._log, does=does), encoding="utf-8")
            stub.chmod(stub.stat().st_mode | stat.S_IXUSR)

    @property
    def run(self) -> list[str]:
        return self._log.read_text(encoding="utf-8").splitlines() if self._log.exists() else []


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return Tools(tmp_path / "bin")


@pytest.fixture(autouse=True)
def _bare(fake: FakeApi) -> None:
    """A cluster without any mesh."""
    fake.absent = ISTIO


def main(mesh: str, *more: str) -> int:
    return app.main(["install", mesh, "--context", "fake", *more])


def runs(fake: FakeApi, mesh: str, *, ready: bool = True) -> None:
    fake.absent = ()
    for program, labels in survey.MESHES[mesh].pods.items():
        status = {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]}
        fake.put(POD, program.replace(" ", "-"), "elsewhere", labels=dict(labels), spec={}, status=status)


def test_the_commands_are_shown_and_run_with_the_context_and_then_it_is_looked_at(
    fake: FakeApi, tools: Tools, capsys: Capture
) -> None:
    tools.put("istioctl", does="echo done so far")
    assert main("istio", "--yes", "--timeout", "1") == ComponentFailed.exit_code
    assert tools.run == ["istioctl [--context] [fake] [install] [-y]"]
    told = capsys.readouterr()
    assert told.err.count("$ istioctl --context fake install -y") == 2
    assert told.out == "done so far\n"
    assert "Istio is not ready after 1 s: not installed: no security.istio.io/v1" in told.err


def test_a_mesh_that_is_there_in_the_end_is_told(
    fake: FakeApi, tools: Tools, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools.put("istioctl")
    run = install.run

    def finished(step: install.Step, tell: install.Tell, timeout_s: float) -> None:
        run(step, tell, timeout_s)
        runs(fake, "ambient")

    monkeypatch.setattr(install, "run", finished)
    assert main("ambient", "--yes") == 0
    assert tools.run == ["istioctl [--context] [fake] [install] [--set] [profile=ambient] [-y]"]
    assert "ambient mode is there: ztunnel: 1 of 1 pods ready; istio-cni: 1 of 1" in capsys.readouterr().out


def test_helm_is_taken_where_istioctl_is_not_there(fake: FakeApi, tools: Tools) -> None:
    tools.put("helm")
    main("ambient", "--yes", "--timeout", "1")
    there = "[--kube-context] [fake] [upgrade] [--install] [-n] [istio-system] [--create-namespace] [--wait]"
    assert tools.run == [
        f"helm {there} [istio-base] [istio/base]",
        f"helm {there} [istiod] [istio/istiod] [--set] [profile=ambient]",
        f"helm {there} [istio-cni] [istio/cni] [--set] [profile=ambient]",
        f"helm {there} [ztunnel] [istio/ztunnel]",
    ]


def test_what_linkerd_prints_goes_to_kubectl_and_is_shown_to_nobody(
    fake: FakeApi, tools: Tools, capsys: Capture, tmp_path: Path
) -> None:
    tools.put("linkerd", does='test "$3" = install && echo "private key"; echo "said by linkerd" >&2')
    tools.put("kubectl", does=f"/bin/cat >> {tmp_path}/applied; echo applied")
    main("linkerd", "--yes", "--timeout", "1")
    linkerd = "linkerd [--context] [fake]"
    assert sorted(tools.run) == sorted(
        [
            f"{linkerd} [check] [--pre]",
            f"{linkerd} [install] [--crds]",
            f"{linkerd} [install]",
            f"{linkerd} [check]",
            *["kubectl [--context] [fake] [apply] [-f] [-]"] * 2,
        ]
    )
    assert (tmp_path / "applied").read_text(encoding="utf-8") == "private key\n" * 2
    told = capsys.readouterr()
    assert "private key" not in told.out + told.err
    assert told.out.count("applied") == 2
    assert "said by linkerd" in told.out


def test_a_tool_that_fails_is_told_in_its_own_words_and_nothing_follows(
    fake: FakeApi, tools: Tools, capsys: Capture
) -> None:
    tools.put("helm", does="echo 'repo istio not found' >&2; exit 3")
    assert main("istio", "--yes") == ComponentFailed.exit_code
    assert len(tools.run) == 1
    told = capsys.readouterr().err
    assert "istio-base istio/base` ended with 3" in told
    assert "| repo istio not found" in told


@pytest.mark.parametrize("does", ["exit 4", "/bin/cat > /dev/null; exit 4"])
def test_of_a_pipe_the_one_that_failed_is_told(does: str) -> None:
    step: install.Step = (("/bin/sh", "-c", "echo x"), ("/bin/sh", "-c", does))
    with pytest.raises(ComponentFailed, match=r"`/bin/sh -c '.*exit 4'` ended with 4"):
        install.run(step, print, 60)


def test_a_command_that_does_not_end_is_ended_with_what_it_said_last(
    fake: FakeApi, tools: Tools, capsys: Capture
) -> None:
    tools.put("istioctl", does="echo waiting; printf 'half a line'; exec /bin/sleep 1000")
    assert main("istio", "--yes", "--timeout", "1") == ComponentFailed.exit_code
    told = capsys.readouterr().err
    assert "`istioctl --context fake install -y` has not ended after 1 s, and was ended" in told
    assert "| waiting" in told


def test_a_program_that_cannot_be_started_is_told(fake: FakeApi, tools: Tools, capsys: Capture) -> None:
    tools.put("istioctl")
    (tools.directory / "istioctl").write_bytes(b"\x7fELF of another machine")
    assert main("istio", "--yes") == ComponentFailed.exit_code
    assert "`istioctl --context fake install -y` cannot be started: Exec format error" in capsys.readouterr().err


def test_a_last_line_without_an_end_is_told_too() -> None:
    said: list[str] = []
    install.run((("/bin/sh", "-c", "printf 'one\\ntwo'"),), said.append, 60)
    assert said == ["one", "two"]


def test_without_a_tool_it_says_how(fake: FakeApi, tools: Tools, capsys: Capture) -> None:
    tools.put("linkerd")  # without kubectl
    for mesh, said in (
        ("istio", "none of istioctl, helm is on PATH"),
        ("linkerd", "none of linkerd with kubectl is on PATH"),
    ):
        assert main(mesh, "--yes") == MissingRequirement.exit_code
        told = capsys.readouterr().err
        assert said in told
        assert "--context fake" in told
    assert tools.run == []


def test_nothing_is_run_unless_somebody_confirms_it(fake: FakeApi, tools: Tools, capsys: Capture) -> None:
    tools.put("istioctl")
    assert main("istio") == 2
    told = capsys.readouterr().err
    assert "$ istioctl --context fake install -y" in told
    assert "nobody is there to confirm it" in told
    assert tools.run == []


@pytest.mark.parametrize("mesh", ["istio", "ambient", "linkerd"])
def test_nothing_is_run_where_the_mesh_is_there(mesh: str, fake: FakeApi, tools: Tools, capsys: Capture) -> None:
    fake.more = (LINKERD,)
    tools.put("istioctl", "helm", "linkerd", "kubectl")
    runs(fake, mesh)
    assert main(mesh, "--yes") == 0
    assert "is there already, and nothing was run: " in capsys.readouterr().out
    assert tools.run == []


def test_an_installation_that_others_may_use_is_not_changed(fake: FakeApi, tools: Tools, capsys: Capture) -> None:
    tools.put("istioctl")
    runs(fake, "istio")
    assert main("ambient", "--yes") == NotOurs.exit_code
    assert "has something of ambient mode: API group networking.istio.io;" in capsys.readouterr().err
    assert tools.run == []


@pytest.mark.parametrize("mesh", ["istio", "ambient"])
@pytest.mark.parametrize(
    ("groups", "pod"),
    [
        (("networking.istio.io/v1beta1",), ""),  # older than 1.22
        (("networking.istio.io/v1", "security.istio.io/v1"), ""),  # its control plane is elsewhere
        ((), "istiod"),
    ],
)
def test_what_is_of_another_version_or_only_half_there_is_not_changed(
    mesh: str, groups: tuple[str, ...], pod: str, fake: FakeApi, tools: Tools, capsys: Capture
) -> None:
    tools.put("istioctl")
    fake.more = groups
    if pod:
        fake.put(POD, pod, "elsewhere", labels={"app": pod}, spec={}, status={"phase": "Pending"})
    assert main(mesh, "--yes") == NotOurs.exit_code
    told = capsys.readouterr().err
    assert all(f"API group {group.partition('/')[0]}" in told for group in groups)
    assert ("istiod: 0 of 1 pods ready" in told) == bool(pod)
    assert tools.run == []


def test_where_it_cannot_be_seen_whether_it_runs_nothing_is_run(fake: FakeApi, tools: Tools) -> None:
    tools.put("istioctl")
    fake.denied.add(("list", "pods"))
    assert main("istio", "--yes") == Inconclusive.exit_code
    assert tools.run == []


def test_there_are_three_meshes(fake: FakeApi, capsys: Capture) -> None:
    assert main("cilium") == 2
    assert "there is no mesh cilium to install" in capsys.readouterr().err
    assert fake.used == set()
