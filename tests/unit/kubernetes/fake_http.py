"""The fake API server on a port of loopback: its HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.unit.kubernetes.fake_api import FakeApi, Refused
from tests.unit.kubernetes.fake_exec import ExecHandler


class _Handler(ExecHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _serve(self) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.api.away:
            self.api.away -= 1
            self.close_connection = True
            return
        try:
            if self.path.partition("?")[0].endswith("/exec"):
                self.execute()
                return
            if self.path.partition("?")[0].endswith("/log"):
                words = urlsplit(self.path).path.strip("/").split("/")
                self._send(200, self.api.log(words[3], words[5]))
                return
            self._send(200, self.api.answer(self.command, self.path, self.headers, text))
        except Refused as error:
            self._send(error.code, error.status if error.status["reason"] else str(error), error.content_type)

    do_GET = do_PATCH = do_POST = do_DELETE = _serve  # noqa: N815 - the names that http.server looks for

    def _send(self, code: int, body: Any, content_type: str | None = None) -> None:
        """Of no type at all where that is empty."""
        is_json = not isinstance(body, str)
        text = (json.dumps(body) if is_json else body).encode()
        self.send_response(code)
        if content_type is None:
            content_type = "application/json" if is_json else "text/plain"
        if content_type:
            self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *arguments: Any) -> None:
        """Nothing on the screen."""


@contextmanager
def served(api: FakeApi) -> Iterator[str]:
    """Its address, as long as the context lives."""
    handler = type("Handler", (_Handler,), {"api": api})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
