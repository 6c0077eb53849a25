"""Resource definitions of others for a real API server, out of their own Go modules, kept outside the checkout.

    python -m tests.kubernetes.crds     downloads the modules: some MB, and next to no CPU

Versions are those that the schemas in tests/unit/kubernetes were cut from. Go checks each module's sum against the
public log of sums.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from meshmark.errors import DownloadError, MeshmarkError, MissingRequirement
from tests.kubernetes import build
from tests.kubernetes.controlplane import POLL_S, ControlPlane
from tools.kubernetes_schemas import CUSTOM_KINDS

COMMAND = "python -m tests.kubernetes.crds"
ESTABLISHED_S = 60.0


def modules() -> list[str]:
    """`PATH@vVERSION`, one for all files of it."""
    return sorted({f"{file.partition('@')[0]}@{file.partition('@')[2].partition('/')[0]}" for file in CUSTOM_KINDS})


def install(cluster: ControlPlane, *kinds: str) -> None:
    """The definitions of these kinds; returns when the server serves them. Skips where they have not been fetched."""
    files = [build.home() / "modules" / file for file, of in CUSTOM_KINDS.items() if set(of) & set(kinds)]
    if absent := [file.name for file in files if not file.is_file()]:
        pytest.skip(f"not built: {', '.join(absent)}; `{COMMAND}` does it")
    for file in files:
        _apply(cluster, file)
    _wait_until_served(cluster, kinds)


def define(cluster: ControlPlane, directory: Path, *definitions: Mapping[str, Any]) -> None:
    """Definitions of a test's own, as files of the directory; as above."""
    for number, each in enumerate(definitions):
        file = directory / f"definition-{number}.json"
        file.write_text(json.dumps(each), encoding="utf-8")
        _apply(cluster, file)
    _wait_until_served(cluster, [each["spec"]["names"]["kind"] for each in definitions])


def _apply(cluster: ControlPlane, file: Path) -> None:
    """Returns when all of it is established."""
    made = cluster.kubectl("apply", "--server-side", f"--filename={file}", "--output=name").stdout.split()
    deadline = time.monotonic() + ESTABLISHED_S
    while absent := [name for name in made if not _established(cluster, name)]:
        assert time.monotonic() < deadline, f"not established after {ESTABLISHED_S:g} s: {', '.join(absent)}"
        time.sleep(POLL_S)


def _wait_until_served(cluster: ControlPlane, kinds: Iterable[str]) -> None:
    for kind in kinds:  # an established kind still answers 429 for a moment, which kubectl waits for
        cluster.kubectl("get", kind, "--all-namespaces")


def _established(cluster: ControlPlane, name: str) -> bool:
    """Not by `kubectl wait`, which ends with an error where a definition has no conditions yet."""
    status = json.loads(cluster.kubectl("get", name, "--output=json").stdout).get("status") or {}
    conditions = status.get("conditions") or ()
    return any((each["type"], each["status"]) == ("Established", "True") for each in conditions)


def fetch() -> list[Path]:
    """Directories of the modules. Raises MissingRequirement without Go, and DownloadError."""
    go = shutil.which("go")
    if go is None:
        raise MissingRequirement("no Go on PATH", hint=f"Install one; {COMMAND} needs no certain version.")
    environment = os.environ | {"GOMODCACHE": str(build.home() / "modules"), "GOFLAGS": "-modcacherw", "GOWORK": "off"}
    with tempfile.TemporaryDirectory() as elsewhere:
        argv = [go, "mod", "download", *modules()]
        (Path(elsewhere) / "go.mod").write_text("module nothing\n", encoding="utf-8")
        if subprocess.run(argv, cwd=elsewhere, env=environment, check=False).returncode != 0:
            raise DownloadError("the modules were not downloaded; Go says why above")
    return [build.home() / "modules" / module for module in modules()]


def main() -> None:
    try:
        for directory in fetch():
            print(directory)
    except MeshmarkError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
