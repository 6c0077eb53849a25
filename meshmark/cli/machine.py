"""What this machine is and has, as `doctor` needs it: read once, nothing judged.

Every reader survives what it does not find: a value that cannot be told is None, a part that is not there is a
Part with a problem. Only `look` touches the machine; the rest of `doctor` works on its result.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from pathlib import Path

from meshmark.errors import MeshmarkError
from meshmark.planfile.hardware import Limited

PROBE_TIMEOUT_S = 60.0
PACKAGES = ("confluent-kafka", "cryptography", "pyroute2")
"""Python packages of the lab beside those that carry Java and Envoy."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Something that is installed: its version, or what is wrong and what to do."""

    version: str = ""
    problem: str = ""
    hint: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """`kernel`: feature -> "" if it works, else the reason; a feature that could not be tried is absent. `perf`: the
    same of sampling all CPUs; None: not tried. `limits`: of what a host could have less, empty: not tried."""

    system: str
    architecture: str
    libc: str
    root: bool
    kernel: dict[str, str]
    perf: str | None
    cgroup: str
    limits: Mapping[Limited, Part]
    pressure: bool
    cores: int
    memory_bytes: int | None
    available_bytes: int | None
    load_1min: float
    steal_share: float | None
    work_directory: str
    free_bytes: int | None
    java: Part
    envoy: Part
    packages: dict[str, Part]
    jars_there: int
    jars_wanted: int


def look(*, perf: bool = True, limits: bool = True) -> Machine:
    """This machine, now. Takes about a second, and another to try perf."""
    directory, free_bytes = _space()
    jars_there, jars_wanted = _jars()
    memory = _memory(_text("/proc/meminfo"))
    return Machine(
        system=platform.system(),
        architecture=platform.machine(),
        libc=" ".join(platform.libc_ver()).strip(),
        root=os.geteuid() == 0,
        kernel=_kernel(),
        perf=_perf() if perf else None,
        cgroup=cgroup_version(_text("/proc/self/mounts")),
        limits=_limits() if limits else {},
        pressure=Path("/proc/pressure/cpu").is_file(),
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=memory.get("MemTotal"),
        available_bytes=memory.get("MemAvailable"),
        load_1min=os.getloadavg()[0],
        steal_share=steal_share(_text("/proc/stat")),
        work_directory=str(directory),
        free_bytes=free_bytes,
        java=_part(_java),
        envoy=_part(_envoy),
        packages={name: _package(name) for name in PACKAGES},
        jars_there=jars_there,
        jars_wanted=jars_wanted,
    )


def cgroup_version(mounts: str) -> str:
    """`v2`, `v1`, `hybrid` (v2 mounted beside v1's controllers), or `none`."""
    kinds = {fields[2] for fields in map(str.split, mounts.splitlines()) if len(fields) > 2}
    if {"cgroup", "cgroup2"} <= kinds:
        return "hybrid"
    return "v2" if "cgroup2" in kinds else "v1" if "cgroup" in kinds else "none"


def steal_share(stat: str) -> float | None:
    """Part of all CPU time since boot that the hypervisor gave to others."""
    first = stat.partition("\n")[0].split()
    if len(first) < 9 or first[0] != "cpu":
        return None
    ticks = [int(field) for field in first[1:9]]  # guest time, which follows, is inside user time already
    return ticks[7] / sum(ticks) if sum(ticks) else None


def _memory(meminfo: str) -> dict[str, int]:
    rows = [line.replace(":", " ").split() for line in meminfo.splitlines()]
    return {row[0]: int(row[1]) * 1024 for row in rows if len(row) >= 2 and row[1].isdigit()}


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _space() -> tuple[Path, int | None]:
    """Where the brokers' logs would be, and what is free there."""
    from meshmark.backends.lab.instance import DEFAULT_WORK_DIR, WORK_DIR_VARIABLE

    directory = Path(os.environ.get(WORK_DIR_VARIABLE) or DEFAULT_WORK_DIR).absolute()
    there = next(path for path in (directory, *directory.parents) if path.exists())
    try:
        return directory, shutil.disk_usage(there).free
    except OSError:
        return directory, None


def _perf() -> str:
    from meshmark.backends.lab.perf import trouble

    return trouble()


def _limits() -> dict[Limited, Part]:
    """Where the first cannot be had, the second is not tried."""
    from meshmark.backends.lab.cgroups import leave_leaf
    from meshmark.backends.lab.limits import REQUIRE

    found: dict[Limited, Part] = {}
    try:
        for limited, required in REQUIRE.items():
            found[limited] = _part(partial(_works, required))
            if found[limited].problem:
                break
    finally:
        leave_leaf()
    return found


def _works(required: Callable[[], None]) -> str:
    required()
    return "can be set"


def _jars() -> tuple[int, int]:
    from meshmark.kafka import companion, distribution

    paths = [
        distribution.cache_dir() / "jars" / artifact.path
        for lock in (distribution.KAFKA, companion.ECJ)
        for artifact in distribution.read_lock(lock)
    ]
    return sum(path.is_file() for path in paths), len(paths)


def _part(find: Callable[[], str]) -> Part:
    try:
        return Part(version=find())
    except MeshmarkError as error:
        return Part(problem=error.message, hint=error.hint)
    except (OSError, subprocess.SubprocessError) as error:
        return Part(problem=str(error), hint="Install it again.")


def _java() -> str:
    from meshmark.kafka import distribution

    return distribution.java().version


def _envoy() -> str:
    from meshmark.kafka import distribution

    return distribution.envoy_version()


def _package(name: str) -> Part:
    try:
        return Part(version=package_version(name))
    except PackageNotFoundError:
        return Part(problem="not installed", hint="Install the lab's packages: pip install 'meshmark[lab]'.")


def _kernel() -> dict[str, str]:
    """Asks a process of its own, which may enter a user namespace."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "meshmark.cli.kernel"],
            capture_output=True,
            text=True,
            timeout=PROBE_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return {str(name): str(reason) for name, reason in json.loads(done.stdout).items()}
    except (OSError, ValueError, AttributeError, subprocess.SubprocessError):
        return {}
