"""Records of a simulated run: whole, and as it was while it went on."""

from __future__ import annotations

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


@pytest.fixture
def going_on(whole: Path, tmp_path: Path) -> Path:
    """As it was when the second round was almost over."""
    copy = tmp_path / "run"
    shutil.copytree(whole, copy)
    (copy / "finished.json").unlink()
    (last,) = copy.glob("rounds/002-*")
    (last / "finished.json").unlink()
    return copy
