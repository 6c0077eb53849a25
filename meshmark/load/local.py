"""Load workers as child processes of this one, on this machine as it is: for a Kafka that meshmark did not set up.

    with local() as machine, load(machine, specs, SystemClock()) as running: ...

Each worker leads a session of its own, so Ctrl-C reaches meshmark alone, which then ends them in order; should
meshmark be killed, workers end by themselves, because their standard input closes. What they say on standard error
goes to a file that is removed in the end; its last lines are in the error that tells of a worker's death.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from meshmark.cluster import Lines
from meshmark.errors import ComponentFailed

GRACE_S = 5.0
SEND_TIMEOUT_S = 10.0
LOG_TAIL_LINES = 20


class LocalProcess:
    """Implements `meshmark.cluster.Process`."""

    host = "this machine"

    def __init__(self, popen: subprocess.Popen[bytes], name: str, log: Path) -> None:
        self.name = name
        self._popen = popen
        self._log = log
        self._lines = Lines()

    def send_line(self, line: str) -> None:
        pipe = _stream(self._popen.stdin)
        rest = memoryview(line.encode() + b"\n")
        deadline = time.monotonic() + SEND_TIMEOUT_S
        while rest:
            if not select.select([], [pipe], [], max(0.0, deadline - time.monotonic()))[1]:
                raise self._failure(f"has not read its standard input for {SEND_TIMEOUT_S:.0f} s")
            try:
                rest = rest[os.write(pipe, rest) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise self._gone() from None

    def read_line(self, timeout_s: float) -> str | None:
        pipe = _stream(self._popen.stdout)
        deadline = time.monotonic() + timeout_s
        while (line := self._lines.next()) is None:
            if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
                return None
            piece = os.read(pipe, 65_536)
            if not piece:
                raise self._gone()
            self._lines.add(piece)
        return line

    def signal(self, number: int) -> None:
        self._popen.send_signal(number)

    def wait(self, timeout_s: float) -> int:
        try:
            return self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise self._failure(f"did not end within {timeout_s:g} s") from None

    def _gone(self) -> ComponentFailed:
        """Its end of a pipe is closed: it has ended, or is about to."""
        try:
            return self._failure(f"ended (status {self._popen.wait(1)})")
        except subprocess.TimeoutExpired:
            return self._failure("closed its standard streams")

    def _failure(self, what: str) -> ComponentFailed:
        with self._log.open(encoding="utf-8", errors="replace") as lines:
            tail = tuple(line.rstrip() for line in deque(lines, maxlen=LOG_TAIL_LINES))
        return ComponentFailed(f"{self.name} {what}", component=self.name, log_tail=tail)


class LocalMachine:
    """Where load workers run: implements `meshmark.load.generator.Spawner`."""

    client_hosts = (LocalProcess.host,)

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @contextmanager
    def spawn(self, host: str, argv: Sequence[str], *, name: str, component: str = "client") -> Iterator[LocalProcess]:
        log = self._directory / f"{name}.log"
        command = [sys.executable if word == "python" else word for word in argv]
        with log.open("wb") as errors:
            popen = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,
                start_new_session=True,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        os.set_blocking(_stream(popen.stdin), False)
        try:
            yield LocalProcess(popen, name, log)
        finally:
            _end(popen)


@contextmanager
def local() -> Iterator[LocalMachine]:
    with tempfile.TemporaryDirectory(prefix="meshmark-load-") as directory:
        yield LocalMachine(Path(directory))


def _end(popen: subprocess.Popen[bytes]) -> None:
    """A worker ends when its input closes; one that does not is killed."""
    for stream in (popen.stdin, popen.stdout):
        if stream is not None:
            stream.close()
    try:
        popen.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        popen.kill()
        popen.wait()


def _stream(stream: IO[bytes] | None) -> int:
    assert stream is not None, "started with pipes"
    return stream.fileno()
