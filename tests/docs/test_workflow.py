"""The example workflow: its steps as they stand in its file, in a repository that has meshmark as `meshmark`.

What stands in: bash, with the options that the service gives it, for the service; a script for `sudo`; the simulated
system for the lab. What this machine may lack for the lab (`doctor` says 1) stops nothing here.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.docs.checkouts import ROOT, program
from tests.docs.conftest import Fresh

WORKFLOW = ROOT / "examples" / "github-actions.yaml"
SUDO = """case "$2" in
doctor) "$@" || [ $? -eq 1 ] ;;
run) exec "$@" --backend simulated ;;
*) exec "$@" ;;
esac"""


@dataclass
class Done:
    """`codes`: exit codes of the steps that were carried out, by name. `kept`: what was uploaded."""

    codes: dict[str, int] = field(default_factory=dict)
    told: str = ""
    summary: str = ""
    kept: tuple[str, ...] = ()


def steps() -> list[dict[str, Any]]:
    workflow = YAML(typ="safe").load(WORKFLOW.read_text(encoding="utf-8"))
    (job,) = workflow["jobs"].values()
    return list(job["steps"])


def carried_out(repository: Path, place: Path) -> Done:
    """As the service does it: after a step that failed, only those that are always carried out."""
    program(place / "sudo", SUDO)
    summary = place / "summary.md"
    own = {"PATH": f"{place}{os.pathsep}{os.environ['PATH']}", "GITHUB_STEP_SUMMARY": str(summary)}
    environment = {name: value for name, value in os.environ.items() if name != "MESHMARK_VENV"} | own
    done = Done()
    for step in steps():
        if any(done.codes.values()) and step.get("if") != "always()":
            continue
        if "run" in step:
            ran = subprocess.run(
                ["bash", "-e", "-c", step["run"]], cwd=repository, env=environment, capture_output=True, text=True,
                stdin=subprocess.DEVNULL, timeout=300, check=False,
            )  # fmt: skip
            done.codes[step["name"]] = ran.returncode
            done.told += f"{step['name']}: {ran.returncode}\n{ran.stdout}{ran.stderr}\n"
        elif step["uses"].startswith("actions/upload-artifact@"):
            done.kept += tuple(path.name for path in (repository / step["with"]["path"]).iterdir())
    done.summary = summary.read_text(encoding="utf-8")
    return done


@pytest.mark.parametrize(("limit", "code"), [("<50%", 0), ("<5%", 1)], ids=["held", "broken"])
def test_the_steps_gate_tell_and_keep(fresh: Fresh, tmp_path: Path, limit: str, code: int) -> None:
    """Where it is broken, the summary and the record are there all the same."""
    plan = (ROOT / "examples" / "gate.yaml").read_text(encoding="utf-8")
    assert plan.count("saturation_loss: <50%") == 1
    (fresh.directory / "examples" / "gate.yaml").write_text(plan.replace("<50%", limit), encoding="utf-8")
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "meshmark").symlink_to(fresh.directory)
    done = carried_out(repository, tmp_path)
    assert list(done.codes.values()) == [0, code, 0], done.told
    titles = [line for line in done.summary.splitlines() if line.startswith("## ")]
    assert titles == ["## gate", "## gate:istio-mtls against gate:plain"]
    assert ("| broken |" in done.summary) == bool(code)
    assert {"plan.json", "finished.json", "digests.jsonl", "rounds"} <= set(done.kept)
