"""In CI a test that should run cannot be skipped unseen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SKIPPED = {
    "a test of the lab": ("import pytest\n@pytest.mark.lab\ndef test():\n    pytest.skip('WHY')\n", 1),
    "a test of the browser": (
        "import pytest\n@pytest.mark.browser\n@pytest.mark.skipif(True, reason='WHY')\ndef test(): ...\n",
        1,
    ),
    "a test of promtool": ("import pytest\n@pytest.mark.promtool\ndef test():\n    pytest.skip('WHY')\n", 1),
    "a module": ("import pytest\npytest.importorskip('no_such_module', reason='WHY')\ndef test(): ...\n", 2),
    "another test": ("import pytest\ndef test():\n    pytest.skip('WHY')\n", 0),
}


def outcome(directory: Path, text: str, **settings: str) -> tuple[int, str]:
    (directory / "test_it.py").write_text(text, encoding="utf-8")
    (directory / "test_other.py").write_text("def test_that_runs(): ...\n", encoding="utf-8")
    argv = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "--rootdir", "."]
    environment = {name: value for name, value in os.environ.items() if name != "MESHMARK_CI"}
    environment |= {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **settings}
    done = subprocess.run(argv, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


@pytest.mark.parametrize(("text", "code"), SKIPPED.values(), ids=SKIPPED)
def test_skips_fail_in_ci_with_their_reason(tmp_path: Path, text: str, code: int) -> None:
    found, output = outcome(tmp_path, text.replace("WHY", "not installed"), MESHMARK_CI="1")
    assert found == code, output
    assert ("must run: not installed" in output) == (code != 0)


@pytest.mark.parametrize("text", [text for text, _ in SKIPPED.values()], ids=SKIPPED)
def test_what_kernel_cache_or_a_person_lacks_stays_a_skip(tmp_path: Path, text: str) -> None:
    assert outcome(tmp_path, text.replace("WHY", "not installed"))[0] == 0
    for reason in ("kernel: no such thing", "not built: etcd", "not asked for: A=1"):
        assert outcome(tmp_path, text.replace("WHY", reason), MESHMARK_CI="1")[0] == 0
