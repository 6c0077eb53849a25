"""Records of a simulated run: whole, and as it was while it went on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from meshmark.cli import app

PLAN = """name: small
repeats: 1
environment: {diskSeconds: 0, networkSeconds: 0}
method: {warmupSeconds: 1, windowSeconds: 2, trials: 2}
scenarios: [plain, istio-mtls]
"""


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("follow")
    (directory / "plan.yaml").write_text(PLAN, encoding="utf-8")
    argv = ["run", str(directory / "plan.yaml"), "--backend", "simulated", "--out", str(directory / "run")]
    assert app.main(argv) == 0
    return directory / "run"


AT_EDGES = {f"machine/{component}/cpu_{part}_s" for component in ("kernel", "others") for part in ("user", "system")}
AT_EDGES |= {"broker-1/net/queued_packets"}


@pytest.fixture
def edges(going_on: Path) -> Path:
    """As the lab's sampler leaves it: every second reading, the last among them, was a tick of its clock, and has none
    of what is read at the edges of windows alone."""
    (series,) = going_on.glob("rounds/002-*/series.jsonl")
    read = [json.loads(line) for line in series.read_text(encoding="utf-8").splitlines()]
    for place, sample in enumerate(reversed(read)):
        sample["values"]["broker-1/net/queued_packets"] = float(len(read) - place)
        if place % 2 == 0:
            sample["values"] = {key: value for key, value in sample["values"].items() if key not in AT_EDGES}
    series.write_text("".join(json.dumps(sample, separators=(",", ":")) + "\n" for sample in read), encoding="utf-8")
    return going_on


@pytest.fixture
def going_on(whole: Path, tmp_path: Path) -> Path:
    """As it was when the second round was almost over."""
    copy = tmp_path / "run"
    shutil.copytree(whole, copy)
    (copy / "finished.json").unlink()
    (last,) = copy.glob("rounds/002-*")
    (last / "finished.json").unlink()
    return copy
