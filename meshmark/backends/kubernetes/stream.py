"""A command in a container, spoken to in lines: the API's exec over a web socket, kept open.

    with api.stream("client-1", namespace, "client", ["cat"]) as stream: ...

Messages are a channel's number and bytes (`v5.channel.k8s.io`): 0 is the command's input, 1 and 2 are what it writes,
3 is how it ended. When the connection breaks, its standard input is at its end, by which workers and agents know.
Limits: one reader; nothing is resumed on a new connection.
"""

from __future__ import annotations

import json
import signal
import socket as sockets
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import httpx2
from httpx2.websockets import HTTPXWSException, WebSocketSession
from wsproto.connection import ConnectionState
from wsproto.utilities import ProtocolError

from meshmark.cluster import Lines
from meshmark.errors import ClusterUnreachable, ComponentFailed

PROTOCOL = "v5.channel.k8s.io"
STDIN, STDOUT, STDERR, STATUS = range(4)
END_OF_INPUT = bytes((255, STDIN))
LOG_TAIL_LINES = 20
BROKEN = (HTTPXWSException, ProtocolError, httpx2.HTTPError)
"""What a web socket raises when it has no connection any more."""
START_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 20.0
GRACE_S = 5.0
SHELL = ("/bin/sh", "-c", 'echo $$; exec "$@"', "sh")
"""Tells its process ID, which is then the command's."""


class Socket(Protocol):
    """What is needed of a web socket."""

    def send_bytes(self, data: bytes) -> None: ...

    def receive_bytes(self, timeout: float | None = None) -> bytes: ...


class PodProcess:
    """Implements `meshmark.cluster.Process` and `Elsewhere`. Its standard error is appended to `log`."""

    def __init__(self, socket: Socket, *, host: str, context: str, name: str, log: Path) -> None:
        self.host = host
        self._context = context
        self.name = name
        self.pid = 0
        self.clock_ahead_s = 0.0
        self.agent: AgentLink | None = None
        self._socket = socket
        self._log = log
        self._lines = Lines()
        self._status: int | None = None
        self._said: deque[str] = deque(maxlen=LOG_TAIL_LINES)

    def send_line(self, line: str) -> None:
        if self._status is not None:
            raise self.failure(f"ended (exit status {self._status})")
        try:
            self._socket.send_bytes(bytes((STDIN,)) + line.encode() + b"\n")
        except BROKEN as error:
            raise self._broken(error) from None

    def read_line(self, timeout_s: float) -> str | None:
        deadline = time.monotonic() + timeout_s
        while (line := self._lines.next()) is None:
            if self._status is not None:
                raise self.failure(f"ended (exit status {self._status})")
            if not self._take(deadline - time.monotonic()):
                return None
        return line

    def signal(self, number: int) -> None:
        """By the pod's agent. Nothing happens if it has ended."""
        assert self.agent is not None, "spawned beside an agent"
        self.agent.ask("signal", pid=self.pid, number=number)

    def wait(self, timeout_s: float) -> int:
        if not self._ends_within(timeout_s) or self._status is None:
            raise self.failure(f"did not end within {timeout_s:g} s")
        return self._status

    def end(self) -> None:
        """Its input first, by which workers know; then SIGTERM, and SIGKILL, where an agent can send them."""
        signals = (lambda: self.signal(signal.SIGTERM), lambda: self.signal(signal.SIGKILL))
        for ask in (self._end_input, *(signals if self.agent else ())):
            if self._ends_within(0):
                return
            ask()
            if self._ends_within(GRACE_S):
                return

    def failure(self, what: str) -> ComponentFailed:
        told = f"{self.name} on {self.host} {what} (context {self._context})"
        return ComponentFailed(told, component=self.name, log_tail=tuple(self._said))

    def _ends_within(self, timeout_s: float) -> bool:
        """What it writes until then is of no more interest."""
        deadline = time.monotonic() + timeout_s
        while self._status is None:
            if not self._take(deadline - time.monotonic()):
                return False
            while self._lines.next() is not None:
                pass
        return True

    def _end_input(self) -> None:
        try:
            self._socket.send_bytes(END_OF_INPUT)
        except BROKEN as error:
            raise self._broken(error) from None

    def _take(self, timeout_s: float) -> bool:
        """One message, if one comes in time."""
        try:
            message = self._socket.receive_bytes(max(0.0, timeout_s))
        except TimeoutError:
            return False
        except BROKEN as error:
            raise self._broken(error) from None
        channel, data = message[0], message[1:]
        if channel == STDOUT:
            self._lines.add(data)
        elif channel == STDERR:
            with self._log.open("ab") as log:
                log.write(data)
            self._said.extend(data.decode(errors="replace").splitlines())
        elif channel == STATUS:
            status = json.loads(data)
            self._status = exit_code(status)
            if self._status is None:
                raise self.failure(f"could not be run: {status.get('message', 'no reason is given')}")
        return True

    def _broken(self, error: Exception) -> ClusterUnreachable:
        return ClusterUnreachable(
            f"the connection to {self.name} on {self.host} broke (context {self._context}): "
            f"{str(error) or type(error).__name__}",
            hint="The API server, the node or the pod went away; the cluster's events tell more.",
        )


class AgentLink:
    """The agent of one pod (`agent.py`); may be asked by several threads."""

    def __init__(self, process: PodProcess) -> None:
        self._process = process
        self._lock = threading.Lock()
        self._asked = 0

    @property
    def host(self) -> str:
        return self._process.host

    def ask(self, question: str, **more: Any) -> Any:
        """Raises ComponentFailed where it says why it cannot answer, or says nothing in time."""
        with self._lock:
            self._asked += 1
            self._process.send_line(json.dumps({"id": self._asked, "ask": question, **more}))
            answer = self._answer()
        if answer is None:
            raise self._process.failure(f"did not answer `{question}` within {ANSWER_TIMEOUT_S:.0f} s")
        if "error" in answer:
            raise self._process.failure(f"could not answer `{question}`: {answer['error']}")
        return answer["answer"]

    def _answer(self) -> Mapping[str, Any] | None:
        """To the last question. One to an earlier, for which nobody waits any more, is passed over."""
        deadline = time.monotonic() + ANSWER_TIMEOUT_S
        while (line := self._process.read_line(deadline - time.monotonic())) is not None:
            answer: Mapping[str, Any] = json.loads(line)
            if answer["id"] == self._asked:
                return answer
        return None


def stop_reading(session: WebSocketSession) -> None:
    """Before it is closed. A thread of it reads on otherwise, by the number of a file that may be another connection's
    by then, and takes what is sent there."""
    if session.connection.state is ConnectionState.OPEN:
        with suppress(OSError):
            sockets.socket.shutdown(session.stream.get_extra_info("socket"), sockets.SHUT_RDWR)
        with suppress(TimeoutError, *BROKEN):
            while True:
                session.receive(GRACE_S)


def copied(socket: Socket, stdout: BinaryIO, stderr: BinaryIO) -> Mapping[str, Any]:
    """What a command writes until it ends, and how it ended, as the API's Status has it. Nothing is sent: the command
    may have ended, and its connection with it, before it could be."""
    while True:
        message = socket.receive_bytes()
        channel, data = message[0], message[1:]
        if channel == STATUS:
            status: Mapping[str, Any] = json.loads(data)
            return status
        (stderr if channel == STDERR else stdout).write(data)


def exit_code(status: Mapping[str, Any]) -> int | None:
    """None where the command could not be run."""
    if status.get("status") == "Success":
        return 0
    causes = (status.get("details") or {}).get("causes") or []
    return next((int(cause["message"]) for cause in causes if cause.get("reason") == "ExitCode"), None)


def with_pid(command: Sequence[str]) -> list[str]:
    """The command, which first tells its process ID in a line of its own."""
    return [*SHELL, *command]


def read_pid(process: PodProcess) -> int:
    """Of a command that was started so. Raises ComponentFailed where it was not."""
    line = process.read_line(START_TIMEOUT_S)
    if line is None:
        raise process.failure(f"did not start within {START_TIMEOUT_S:.0f} s")
    return int(line)
