"""What the components' CPU time goes into: `perf record` on all CPUs by the software clock, and its samples counted.

The clock needs no hardware counters, so this works in virtual machines. Raw samples lie in the instance's directory
until they are counted. perf itself runs as a process of the first client host's component `meshmark`, where the ledger
books it. Methods and stubs of a JVM have names by the map that the JVM writes when asked (`jcmd PID Compiler.perfmap
FILE`, Java 21 and newer). Of programs without symbols `probes.elf` tells what is crypto; what copies in the C
library is found by where this process has it. Needs root, or what else lets perf see all CPUs.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache
from pathlib import Path

from meshmark.backends.lab.link import Host
from meshmark.backends.lab.process import LabProcess
from meshmark.cluster import Process
from meshmark.errors import ComponentFailed, LabError, MissingRequirement
from meshmark.probes import perf, procfs
from meshmark.probes.elf import Program
from meshmark.probes.host import MACHINE, PAGE_BYTES, TICKS_PER_S
from meshmark.probes.perf import CodeMap, Sample
from meshmark.record import CpuProfile, CpuSamples, WorkKind

RECORD = ("perf", "record", "-q", "-a", "-e", "cpu-clock", "-k", "CLOCK_MONOTONIC", "-B", "-N")
"""Times are those of the records; no look at the build ids of every program that ran."""
SCRIPT = ("perf", "script", *perf.OPTIONS)
MOST_S = 600
"""perf ends by itself after this, whatever becomes of us."""
STOP_TIMEOUT_S = 15.0
COUNT_TIMEOUT_S = 120.0
TRY_TIMEOUT_S = 30.0
COVERED = 0.9
"""Of the samples that a window should have: with fewer, perf did not run all the time, and nothing is told."""
ANONYMOUS = "no file"


def trouble() -> str:
    """Why CPUs cannot be sampled here; empty if they can. Takes a second."""
    if shutil.which("perf") is None:
        return "perf is not installed"
    with tempfile.TemporaryDirectory(prefix="meshmark-perf-") as directory:
        data = Path(directory) / "perf.data"
        try:
            _run([*RECORD, "-F", "99", "-o", str(data), "--", "sleep", "0.2"], TRY_TIMEOUT_S)
            perf.recorded(_run([*SCRIPT, "-i", str(data)], TRY_TIMEOUT_S))
        except (LabError, ValueError) as error:
            return str(error)
    # To whom the kernel does not tell addresses, all of them are 0.
    symbols = _text(Path("/proc/kallsyms")).splitlines()
    if not any(int(line.split()[0], 16) for line in symbols):
        return "the kernel hides the addresses of its functions (sysctl kernel.kptr_restrict)"
    return ""


def require_perf() -> None:
    """MissingRequirement, with what to do, where CPUs cannot be sampled."""
    if reason := trouble():
        raise MissingRequirement(f"CPUs cannot be sampled (--perf): {reason}", hint="`meshmark doctor` tells more")


class Profiler:
    """Samples trials of one cluster, and counts what it has of them when their processes still run."""

    def __init__(self, spawn: Callable[..., AbstractContextManager[Process]], host: Host) -> None:
        """`spawn` as in `cluster.Testbed`; on this host perf runs, and in its directory lies what it records."""
        self._spawn = spawn
        self._host = host
        self._sampled: dict[int, tuple[int, Path]] = {}

    @contextmanager
    def recording(self, trial: int, hz: int) -> Iterator[None]:
        data = self._host.directory / f"perf-{trial}.data"
        words = [*RECORD, "-F", str(hz), "-o", str(data), "--", "sleep", str(MOST_S)]
        with self._spawn(self._host.name, words, name="perf", component="meshmark") as process:
            yield
            process.signal(signal.SIGINT)
            with suppress(ComponentFailed):  # what it has then is not enough, and is told
                process.wait(STOP_TIMEOUT_S)
        self._sampled[trial] = hz, data

    def counted(self, windows: Mapping[int, tuple[float, float]], processes: Sequence[LabProcess]) -> list[CpuProfile]:
        """`processes`: all that were ever started. Trials of which perf does not have enough are left out."""
        jvms = [process.pid for process in processes if process.component == "kafka"]
        owners = {process.pid: f"{process.host}/{process.component}" for process in processes}
        components = Components(owners, code_maps(jvms, self._host.directory))
        found = []
        for trial, (hz, data) in self._sampled.items():
            if trial in windows:
                with suppress(LabError, ValueError):
                    found.append(counted(_script(data), windows[trial], components, trial=trial, hz=hz))
        return found


class Components:
    """Whose the processes of the lab are, and what their code is called."""

    def __init__(self, owners: Mapping[int, str], code: Mapping[int, CodeMap]) -> None:
        """`owners`: process -> HOST/COMPONENT; `code`: of the JVMs among them."""
        self._owners = {**owners, os.getpid(): f"{MACHINE}/meshmark"}
        self._code = code

    def owner(self, pid: int) -> str:
        if pid not in self._owners:
            self._owners[pid] = f"{MACHINE}/kernel" if _is_kernel_thread(pid) else f"{MACHINE}/others"
        return self._owners[pid]

    def kind(self, sample: Sample, place: tuple[str, int] | None) -> WorkKind:
        """`place`: file and offset of its code, if it has one."""
        if sample.pid in self._code and perf.is_jvm_thread(sample.thread):
            return "jvm"
        if sample.in_kernel:
            return perf.kernel_kind(sample.function)
        kind = perf.named_kind(sample.function, sample.file)
        if kind != "unknown":
            return kind
        if name := self._code[sample.pid].name(sample.address) if sample.pid in self._code else None:
            return perf.java_kind(name)
        return _unnamed_kind(*place) if place else "unknown"


def counted(text: str, window: tuple[float, float], components: Components, *, trial: int, hz: int) -> CpuProfile:
    """Samples of a window from the text of `perf script`; LabError if it does not have (nearly) all of them."""
    all_of = perf.recorded(text)
    seen = [sample for sample in all_of.samples if window[0] <= sample.time_s < window[1]]
    expected = round((window[1] - window[0]) * hz * (os.cpu_count() or 1))
    if len(seen) < COVERED * expected:
        raise LabError(f"perf has {len(seen)} samples of a window that should have {expected}")
    found: Counter[tuple[str, WorkKind]] = Counter()
    unknown: Counter[str] = Counter()
    busy = [sample for sample in seen if sample.pid != perf.IDLE_PID]
    for sample in busy:
        place = all_of.place(sample)
        kind = components.kind(sample, place)
        found[components.owner(sample.pid), kind] += 1
        if kind == "unknown":
            unknown[Path(place[0]).name if place else ANONYMOUS] += 1
    return CpuProfile(
        trial=trial,
        hz=hz,
        expected=expected,
        idle=len(seen) - len(busy),
        samples=tuple(
            CpuSamples(component=owner, kind=kind, samples=count) for (owner, kind), count in sorted(found.items())
        ),
        unknown_in=dict(unknown.most_common()),
    )


def _script(data: Path) -> str:
    return _run([*SCRIPT, "-i", str(data)], COUNT_TIMEOUT_S)


def code_maps(jvms: Sequence[int], directory: Path) -> dict[int, CodeMap]:
    """Of each JVM what it has compiled by now; empty of one that does not tell."""
    files = {pid: directory / f"perf-{pid}.map" for pid in jvms}
    asked = []
    options = ("-J-XX:TieredStopAtLevel=1", "-J-XX:+UseSerialGC", "-J-XX:-UsePerfData")
    for pid, file in files.items():
        with suppress(OSError):
            jcmd = Path(f"/proc/{pid}/exe").readlink().with_name("jcmd")
            command = [str(jcmd), *options, str(pid), f"Compiler.perfmap {file}"]
            asked.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    for process in asked:
        try:
            process.wait(TRY_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    found = {}
    for pid, file in files.items():
        found[pid] = CodeMap(_text(file))
        file.unlink(missing_ok=True)
        # A JVM that is killed leaves its end of the conversation behind; it makes a new one when asked again.
        with suppress(OSError):
            Path(f"/proc/{pid}/root/tmp/.java_pid{pid}").unlink()
    return found


def _run(argv: Sequence[str], timeout_s: float) -> str:
    # No address of a symbol server, no options of the user's.
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": os.devnull, "LC_ALL": "C"}
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, env=environment, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LabError(f"perf does not run: {error}") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise LabError(f"perf failed: {' '.join(lines[:2]) or f'exit status {done.returncode}'}")
    return done.stdout


@cache
def _program(path: str) -> Program | None:
    try:
        with Path(path).open("rb") as file:
            return Program(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
    except (OSError, ValueError):
        return None


@cache
def _copies() -> frozenset[tuple[str, int]]:
    """File and offset of what `memcpy` and `memmove` are on this CPU: the C library chooses at its start."""
    maps = [line.split(None, 5) for line in _text(Path("/proc/self/maps")).splitlines()]
    places = set()
    for function in (ctypes.CDLL(None).memcpy, ctypes.CDLL(None).memmove):
        address = ctypes.cast(function, ctypes.c_void_p).value or 0
        for span, _, offset, *_, path in (fields for fields in maps if len(fields) == 6):
            start, end = (int(part, 16) for part in span.split("-"))
            if start <= address < end:
                places.add((path, address - start + int(offset, 16)))
    return frozenset(places)


def _unnamed_kind(path: str, offset: int) -> WorkKind:
    """By the code itself."""
    program = _program(path)
    function = program.function(offset) if program else None
    if program is None or function is None:
        return "unknown"
    if any(path == file and function[0] <= at < function[1] for file, at in _copies()):
        return "copy"
    return "crypto" if program.is_crypto(function) else "unknown"


def _is_kernel_thread(pid: int) -> bool:
    try:
        return procfs.process_stat(_text(Path(f"/proc/{pid}/stat")), TICKS_PER_S, PAGE_BYTES).kernel
    except ValueError:
        return False


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
