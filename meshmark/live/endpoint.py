"""A Prometheus endpoint of a run while it goes on: `http://ADDRESS:PORT/metrics`.

    with endpoint("127.0.0.1", 0, directory) as told:
        print(told.url)
        with told.serving(): ...

A scrape reads what the record has gained since the last one and gives the last reading of everything of the round that
goes on; between rounds there is nothing to give but `meshmark_run_info`. Nothing happens between scrapes. Names are
those of docs/reference/metrics.md; the answer is Prometheus' text or OpenMetrics, as the client asks.

Limits: one scrape at a time; no TLS and no authentication, so another address than the loopback's shows the figures to
whoever reaches it.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, TextIO
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry
from prometheus_client.core import InfoMetricFamily, Metric
from prometheus_client.exposition import make_wsgi_app
from prometheus_client.registry import Collector

from meshmark.analysis.exposition import FAMILIES, samples
from meshmark.errors import UsageError
from meshmark.live.follow import Following

LOOPBACK = "127.0.0.1"
PATH = "/metrics"
PATIENCE_S = 5.0
"""With a client that connects and asks for nothing."""


class Endpoint:
    """Bound to its port from the start; answers within `serving`. Made by `endpoint`."""

    def __init__(self, server: WSGIServer) -> None:
        self._server = server
        host, port = server.server_address[:2]
        self.url = f"http://{host!s}:{port}{PATH}"

    @contextmanager
    def serving(self) -> Iterator[None]:
        """A thread answers until the `with` ends."""
        thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._server.shutdown()
            thread.join()


@contextmanager
def endpoint(address: str, port: int, directory: Path, resumptions: int = 0) -> Iterator[Endpoint]:
    """Of the run that is, or will be, in the directory, from so many resumptions on; port 0 is any that is free.
    UsageError where the port cannot be had. Starts no thread."""
    registry = CollectorRegistry()
    registry.register(RunCollector(Following(directory, resumptions)))
    try:
        server = make_server(address, port, _only_metrics(make_wsgi_app(registry)), handler_class=_Handler)
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"cannot listen on {address}:{port}: {getattr(error, 'strerror', None) or error}",
            hint="give another port with --metrics-port (0 takes any that is free), or another --metrics-address",
        ) from error
    with server:
        yield Endpoint(server)


class RunCollector(Collector):
    """What a run tells, as the library's metrics. Not for several threads at once."""

    def __init__(self, following: Following) -> None:
        self._following = following

    def describe(self) -> list[Metric]:
        """Nothing is read when it is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        self._following.look()
        run = self._following.started
        if run is None:
            return
        info = InfoMetricFamily("meshmark_run", "the run that this endpoint belongs to")
        plan = self._following.plan
        info.add_metric([], {"run": run.run_id, "plan": plan.name if plan else "", "version": run.versions.meshmark})
        yield info
        found = {family.name: Metric(family.name, family.meaning, family.kind) for family in FAMILIES}
        for of_round, reading in self._following.readings():
            for name, named, value in samples(of_round, reading):
                found[reading.family.name].add_sample(name, named, value)
        yield from (metric for metric in found.values() if metric.samples)


def _only_metrics(app: Any) -> Any:
    """The library answers every path with the metrics."""

    def answer(environ: dict[str, Any], start_response: Any) -> Any:
        if environ.get("PATH_INFO") == PATH:
            return app(environ, start_response)
        status = HTTPStatus.NOT_FOUND
        start_response(f"{status.value} {status.phrase}", [("Content-Type", "text/plain; charset=utf-8")])
        return [f"the metrics are at {PATH}\n".encode()]

    return answer


class _Handler(WSGIRequestHandler):
    """Silent: standard error is for what a run says."""

    timeout = PATIENCE_S

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def get_stderr(self) -> TextIO:
        """Where a failed answer's traceback goes; its client is told 500."""
        return io.StringIO()
