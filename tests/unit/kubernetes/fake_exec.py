"""The exec of a fake API server, as a web socket: answers with the command itself, or runs it on this machine."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

STDIN_ENDS = bytes((255, 0))
INPUT_TIMEOUT_S = 5.0
CLOSE, PING, PONG = 8, 9, 10
"""Kinds of a web socket's messages."""
WEBSOCKET = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3


class ExecHandler(BaseHTTPRequestHandler):
    """`api` is the FakeApi."""

    api: Any

    def setup(self) -> None:
        super().setup()
        self.writing = threading.Lock()

    def execute(self) -> None:
        """Answers with the command itself on standard output and 3 as exit code."""
        words = urlsplit(self.path).path.strip("/").split("/")
        self.api.allow_exec(words[3], words[5])
        self.api.commands.append(parse_qs(urlsplit(self.path).query)["command"])
        accept = base64.b64encode(hashlib.sha1(self.headers["Sec-WebSocket-Key"].encode() + WEBSOCKET).digest())
        self.send_response(101)
        for name, value in (
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", accept.decode()),
            ("Sec-WebSocket-Protocol", "v5.channel.k8s.io"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True
        self.api.open.append(self.connection)
        if self.api.breaks:
            return
        if self.api.runs:
            self._run([*self.api.elsewhere.get(words[5], ()), *self.api.commands[-1]])
            return
        if parse_qs(urlsplit(self.path).query).get("stdin") == ["true"]:
            self.connection.settimeout(INPUT_TIMEOUT_S)
            while self._input() != STDIN_ENDS:  # a command that reads its input ends no sooner
                pass
        details = {"causes": [{"reason": "ExitCode", "message": "3"}]}
        status: dict[str, Any] = {
            "status": "Failure",
            "reason": "NonZeroExitCode",
            "message": "ended",
            "details": details,
        }
        if unknown := self.api.unknown_command:
            status = {"status": "Failure", "reason": "InternalError", "message": unknown, "code": 500}
        for channel, text in ((1, " ".join(self.api.commands[-1])), (3, json.dumps(status))):
            self._tell(channel, text.encode())

    def _tell(self, channel: int, data: bytes) -> None:
        message = bytes([channel]) + data
        size = bytes([len(message)]) if len(message) < 126 else b"\x7e" + len(message).to_bytes(2, "big")
        with self.writing:
            self.wfile.write(b"\x82" + size + message)

    def _input(self) -> bytes:
        """One message of the client's, unmasked; pings are answered."""
        while len(head := self.rfile.read(2)) == 2 and (kind := head[0] & 0x0F) != CLOSE:
            size = head[1] & 0x7F
            if size == 0x7E:
                size = int.from_bytes(self.rfile.read(2), "big")
            mask = self.rfile.read(4)
            message = bytes(byte ^ mask[number % 4] for number, byte in enumerate(self.rfile.read(size)))
            if kind != PING:
                return message
            with self.writing:
                self.wfile.write(bytes([0x80 | PONG, len(message)]) + message)
        return STDIN_ENDS

    def _run(self, command: list[str]) -> None:
        """As a container's runtime does; it ends with the connection's input."""
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command, env={**os.environ, "PATH": path}, bufsize=0, stdin=pipe, stdout=pipe, stderr=pipe
        )
        told = [
            threading.Thread(target=self._copy, args=(channel, pipe))
            for channel, pipe in ((1, process.stdout), (2, process.stderr))
        ]
        listening = threading.Thread(target=self._listen, args=(process,), daemon=True)
        for thread in (*told, listening):
            thread.start()
        for thread in told:
            thread.join()
        status: dict[str, Any] = {"status": "Success"}
        if code := process.wait():
            causes = [{"reason": "ExitCode", "message": str(code)}]
            status = {"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": causes}}
        with suppress(OSError):
            self._tell(3, json.dumps(status).encode())

    def _copy(self, channel: int, pipe: Any) -> None:
        while data := pipe.read(16_384):
            with suppress(OSError):
                self._tell(channel, data)

    def _listen(self, process: Any) -> None:
        with suppress(OSError, ValueError):
            while (message := self._input()) != STDIN_ENDS and message[:1] == b"\x00":
                process.stdin.write(message[1:])
        process.stdin.close()
