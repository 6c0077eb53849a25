"""Processes on a host: started bound to this process's life, logged, spoken to in lines, always reaped.

Each is the leader of a session of its own (Ctrl-C reaches meshmark alone, which then ends them in order) and has
MESHMARK_INSTANCE in its environment, by which leftovers are found. A child is killed by the kernel when the thread
that started it ends, so all are started from one thread that lasts as long as this process.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO

from meshmark.backends.lab.cpusets import hold
from meshmark.backends.lab.link import Host
from meshmark.cluster import Lines
from meshmark.errors import ComponentFailed, LabError

INSTANCE_VARIABLE = "MESHMARK_INSTANCE"
LAUNCHER = Path(__file__).with_name("launch.py")
# Whatever else the user's shell exports (JAVA_TOOL_OPTIONS, LD_PRELOAD) must not change what is measured.
INHERITED_VARIABLES = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH")
GRACE_S = 5.0
REAP_TIMEOUT_S = 30.0  # a killed process still writes back what it holds in the kernel
SEND_TIMEOUT_S = 10.0
LOG_TAIL_LINES = 20
LOG_TAIL_BYTES = 32_768


class LabProcess:
    """A running command; made by `running` alone. Implements `meshmark.cluster.Process`."""

    def __init__(self, popen: subprocess.Popen[bytes], *, host: str, name: str, component: str, log: Path) -> None:
        self.name = name
        self.host = host
        self.component = component
        self.log = log
        self.pid = popen.pid
        self._popen = popen
        self._lines = Lines()

    @property
    def returncode(self) -> int | None:
        """The exit status (negative: the signal that ended it), None while it runs."""
        return self._popen.poll()

    def check(self) -> None:
        """Raises ComponentFailed if it has ended."""
        if self.returncode is not None:
            raise self.failure(f"ended unexpectedly ({_status(self.returncode)})")

    def failure(self, what: str, *, hint: str = "") -> ComponentFailed:
        """The error that says what is wrong with this process and shows the end of its log."""
        return ComponentFailed(
            f"{self.name} on {self.host} {what}", component=self.name, log_tail=self.log_tail(), hint=hint
        )

    def log_tail(self, lines: int = LOG_TAIL_LINES) -> tuple[str, ...]:
        return tail(self.log, lines)

    def send_line(self, line: str) -> None:
        pipe = _pipe(self._popen.stdin)
        rest = memoryview(line.encode() + b"\n")
        deadline = time.monotonic() + SEND_TIMEOUT_S
        while rest:
            if not _ready(pipe, select.POLLOUT, deadline):
                raise self.failure(f"has not read its standard input for {SEND_TIMEOUT_S:.0f} s")
            try:
                rest = rest[os.write(pipe, rest) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise self._gone() from None

    def read_line(self, timeout_s: float) -> str | None:
        pipe = _pipe(self._popen.stdout)
        deadline = time.monotonic() + timeout_s
        while (line := self._lines.next()) is None:
            if not _ready(pipe, select.POLLIN, deadline):
                return None
            piece = os.read(pipe, 65_536)
            if not piece:
                raise self._gone()
            self._lines.add(piece)
        return line

    def signal(self, number: int) -> None:
        """Nothing happens if it has ended."""
        self._popen.send_signal(number)

    def wait(self, timeout_s: float) -> int:
        if not self.ends_within(timeout_s):
            raise self.failure(f"did not end within {timeout_s:g} s")
        return self._popen.wait()

    def _gone(self) -> ComponentFailed:
        """Its end of a pipe is closed: it has ended, or is about to."""
        self.ends_within(1)
        status = self.returncode
        return self.failure("closed its standard streams" if status is None else f"ended ({_status(status)})")

    def ends_within(self, timeout_s: float) -> bool:
        try:
            self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """Kills it and what it started. Nothing happens if it has ended: its number, which names the group, may be
        another's by then."""
        if self._popen.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)


@contextmanager
def running(
    host: Host,
    argv: Sequence[str],
    *,
    name: str,
    component: str,
    log: Path,
    env: Mapping[str, str] | None = None,
    lines: bool = False,
    grace_s: float = GRACE_S,
    descriptors: Sequence[int] = (),
) -> Iterator[LabProcess]:
    """Runs a command on `host`, in the host's directory, until the context is left: SIGTERM, then SIGKILL after
    `grace_s`. To end several at once call `stop_all` before leaving.

    Standard error is appended to `log`, and so is standard output unless `lines` makes it, with standard input,
    the pipe of send_line and read_line. Of the environment only what INHERITED_VARIABLES names is passed on, of this
    process's open files only `descriptors`.
    """
    environment = {key: os.environ[key] for key in INHERITED_VARIABLES if key in os.environ}
    environment |= {"HOME": str(host.directory), "TMPDIR": str(host.directory), INSTANCE_VARIABLE: host.instance_id}
    fd = host.namespace.fd
    with ExitStack() as stack:
        output = stack.enter_context(log.open("ab"))
        if accounts := host.group(component):
            accounts.mkdir(exist_ok=True)
        entered = [group for group in (accounts, hold(host, component)) if group]
        members = [stack.enter_context((group / "cgroup.procs").open("wb")).fileno() for group in entered]
        cpus = ",".join(map(str, host.cpus(component)))
        launch = [str(LAUNCHER), str(fd), str(os.getpid()), ",".join(map(str, members)) or "-", cpus]
        stream = subprocess.PIPE if lines else None

        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", *launch, *argv],
                stdin=stream or subprocess.DEVNULL,
                stdout=stream or output,
                stderr=output,
                bufsize=0,
                cwd=host.directory,
                env=environment | dict(env or {}),
                pass_fds=[fd, *members, *descriptors],
                start_new_session=True,
            )

        try:
            popen = _starter(os.getpid()).submit(start).result()
        except OSError as error:
            raise LabError(f"{name} on {host.name} cannot be started: {error}") from error
    if popen.stdin is not None:
        os.set_blocking(popen.stdin.fileno(), False)
    process = LabProcess(popen, host=host.name, name=name, component=component, log=log)
    try:
        yield process
    finally:
        stop_all([process], grace_s=grace_s)
        for pipe in (popen.stdin, popen.stdout):
            if pipe is not None:
                pipe.close()


def stop_all(processes: Iterable[LabProcess], *, grace_s: float = GRACE_S) -> None:
    """Ends all of them together: SIGTERM to each, SIGKILL to those left after `grace_s` (0: at once). Those that
    have ended already are no error."""
    left = list(processes)
    deadline = time.monotonic() + grace_s
    try:
        if grace_s > 0:
            for process in left:
                process.signal(signal.SIGTERM)
            for process in left:
                process.ends_within(max(0.0, deadline - time.monotonic()))
    finally:  # an interrupt here must not leave one behind
        for process in left:
            process.kill()
        for process in left:
            process.ends_within(REAP_TIMEOUT_S)


def tail(path: Path, lines: int = LOG_TAIL_LINES) -> tuple[str, ...]:
    """The last lines of a log; none if it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ()
    return tuple(deque(text.splitlines(), maxlen=lines))


@cache
def _starter(process_id: int) -> ThreadPoolExecutor:
    """The one thread of process `process_id` that starts others; it ends with that process, not with the caller's
    thread. A fork has the cache of its parent but not the thread, hence the key."""
    return ThreadPoolExecutor(1, thread_name_prefix="starter")


def _pipe(stream: IO[bytes] | None) -> int:
    if stream is None:
        raise ValueError("this process was started without lines=True")
    return stream.fileno()


def _ready(fd: int, event: int, deadline: float) -> bool:
    """Waits until `fd` can be read or written, or its other end is closed; False when the deadline passes."""
    poll = select.poll()
    poll.register(fd, event)
    return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))


def _status(code: int) -> str:
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit status {code}"
