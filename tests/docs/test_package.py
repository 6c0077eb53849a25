"""The wheel is whole, and the core needs no extra."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from meshmark.cli.app import EXTRAS

ROOT = Path(__file__).parents[2]
# Runs the command line with the libraries of all extras hidden.
CORE_ONLY = """
import sys
from meshmark.cli.app import EXTRAS, main

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

hidden = {module for modules in EXTRAS.values() for module in modules}
assert not hidden & set(sys.modules), hidden & set(sys.modules)
sys.meta_path.insert(0, Hidden())
sys.argv[0] = "meshmark"
sys.exit(main())
"""


def test_the_wheel_holds_every_file_of_the_package(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("meshmark-*.whl"))) as wheel:
        packed = set(wheel.namelist())
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "meshmark"], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert len(listed) > 10
    assert set(listed) - packed == set()


@pytest.mark.parametrize("arguments", [("--help",), ("version",), ("plan", "show"), ("report", "--help")])
def test_the_core_works_without_extras(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CORE_ONLY, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_the_command_line_knows_what_each_extra_brings() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    owners = packages_distributions()
    for extra, modules in EXTRAS.items():
        declared = {_normal(re.split(r"[^\w.-]", line)[0]) for line in project["optional-dependencies"][extra]}
        assert {_normal(name) for module in modules for name in owners[module]} == declared


def _normal(name: str) -> str:
    """As package indexes compare names (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
