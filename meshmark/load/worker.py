"""A load worker: a process on a client host that produces or consumes and speaks `worker_protocol` in lines.

    python -m meshmark.load.worker

One thread that looks every few milliseconds: what came back is counted, what has room is filled, commands are
answered. It ends when it is told to, when it cannot go on (after an `error` report), and when its standard input
closes, so it never outlives the one who started it.
"""

from __future__ import annotations

import fcntl
import math
import os
import resource
import select
import signal
import sys
import termios
from array import array
from collections import deque
from time import monotonic
from typing import Literal

from meshmark.errors import MeshmarkError
from meshmark.itemized import encoded
from meshmark.load.clients import Client, ClientError
from meshmark.load.priority import raise_pacer, raise_process
from meshmark.load.settings import connect_timeout_s
from meshmark.worker_protocol import WorkerCommand, WorkerReport, WorkerSpec

CONNECT_POLL_S = 0.005
SPEC_TIMEOUT_S = 30.0


class InputClosed(Exception):
    """Whoever started this worker is gone."""


class Channel:
    """Lines over two pipes."""

    def __init__(self, source: int, sink: int) -> None:
        os.set_blocking(source, False)
        self._source, self._sink = source, sink
        # What a write leaves free in its last page the next one uses only if its own rest fits; so half may be lost.
        self._fits = fcntl.fcntl(sink, fcntl.F_GETPIPE_SZ) // 2
        self._rest = b""
        self._lines: deque[bytes] = deque()

    def line(self) -> bytes | None:
        """The oldest line that `wait` has taken in."""
        return self._lines.popleft() if self._lines else None

    def wait(self, timeout_s: float) -> None:
        """Until some input comes, at most for so long."""
        # select, because poll takes whole milliseconds.
        if select.select([self._source], [], [], max(0.0, timeout_s))[0]:
            data = os.read(self._source, 65_536)
            if not data:
                raise InputClosed
            *lines, self._rest = (self._rest + data).split(b"\n")
            self._lines += lines

    def send(self, report: WorkerReport) -> None:
        self._write(_line(report))

    def send_if_read(self, report: WorkerReport) -> None:
        """Drops the report when it does not fit into the pipe: load must not wait for a slow reader."""
        data = _line(report)
        if self._unread() + len(data) <= self._fits:
            self._write(data)

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._sink, data) :]

    def _unread(self) -> int:
        """Bytes in the pipe."""
        count = array("i", [0])
        fcntl.ioctl(self._sink, termios.FIONREAD, count)
        return count[0]


class Worker:
    """One worker's life."""

    def __init__(self, spec: WorkerSpec, channel: Channel) -> None:
        self._spec = spec
        self._channel = channel
        self._priority = raise_process()
        self._client = _client(spec)
        if spec.clock_ahead_s:
            self._client.recorder.follow(spec.clock_ahead_s)
        if spec.itemized:
            self._client.recorder.itemize()
        self._next_report_s = math.inf
        self._stopping = False

    def run(self) -> None:
        try:
            with self._client:
                self._connect()
                if self._spec.schedule and (pacer := raise_pacer()):
                    self._priority = f"{pacer}, the client's threads {self._priority}"
                self._load()
        except ClientError as error:
            self._channel.send(self._report("error", error=error.kind, text=error.text))
            raise

    def _connect(self) -> None:
        begun, most_s = monotonic(), connect_timeout_s(self._spec.connections)
        while not self._client.ready():
            self._channel.wait(CONNECT_POLL_S)
            if monotonic() > begun + most_s:
                last = self._client.last_error()
                text = f"not connected to {self._spec.bootstrap_servers} within {most_s:.0f} s"
                raise ClientError(last.kind if last else "_TIMED_OUT", f"{text}: {last.text}" if last else text)
        ready = self._report("ready")
        self._channel.send(ready.model_copy(update={"settings": self._client.settings()}))

    def _load(self) -> None:
        while not (self._stopping and self._client.done()):
            self._client.serve()
            now = self._now()
            if now >= self._next_report_s:
                self._channel.send_if_read(self._report("interval"))
                self._plan_report(now)
            self._channel.wait(min(self._client.pause_s(), self._next_report_s - now))
            while line := self._channel.line():
                self._obey(WorkerCommand.model_validate_json(line))
        finished = self._report("finished", text=self._client.notes())
        records = encoded(self._client.recorder.items()) if self._spec.itemized else ""
        self._channel.send(finished.model_copy(update={"records": records}))

    def _plan_report(self, now: float) -> None:
        """All workers report on one grid, so that their sums are of one instant."""
        interval = self._spec.interval_s
        self._next_report_s = (now // interval + 1) * interval

    def _now(self) -> float:
        return self._client.recorder.now_ns() / 1e9

    def _obey(self, command: WorkerCommand) -> None:
        match command.command:
            case "start":
                self._client.start(command.origin_s)
                self._plan_report(self._now())
            case "mark":
                self._channel.send(self._report("mark", mark=command.mark))
            case "stop":
                self._client.stop(command.until_s)
                self._stopping = True

    def _report(
        self,
        kind: Literal["ready", "interval", "mark", "finished", "error"],
        *,
        mark: int = 0,
        error: str = "",
        text: str = "",
    ) -> WorkerReport:
        usage, recorder = resource.getrusage(resource.RUSAGE_SELF), self._client.recorder
        return WorkerReport(
            kind=kind,
            time_s=self._now(),
            mark=mark,
            totals=self._client.totals(),
            batches=self._client.batches(),
            cpu_user_s=usage.ru_utime,
            cpu_system_s=usage.ru_stime,
            latency=recorder.latency.encode(),
            end_to_end=recorder.end_to_end.encode(),
            lateness=recorder.lateness.encode(),
            priority=self._priority,
            held_s=recorder.held_ns / 1e9,
            missed_s=recorder.missed_ns / 1e9,
            error=error,
            text=text,
        )


def _client(spec: WorkerSpec) -> Client:
    """Only what this worker needs is imported: libraries that it does not use would be in its CPU time."""
    if spec.role == "producer" and spec.client == "raw":
        from meshmark.load.clients.raw import RawProducer

        return RawProducer(spec)
    from meshmark.load.clients import native
    from meshmark.load.clients.librdkafka import Consumer, Producer
    from meshmark.load.clients.open_loop import OpenLoopProducer

    native.check_layout()
    if spec.role == "consumer":
        return Consumer(spec)
    return Producer(spec) if spec.schedule is None else OpenLoopProducer(spec, spec.schedule)


def _line(report: WorkerReport) -> bytes:
    return report.model_dump_json().encode() + b"\n"


def main() -> int:
    # Ctrl-C in a terminal reaches every process of the group; the one who started this worker decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise_file_limit()
    channel = Channel(sys.stdin.fileno(), sys.stdout.fileno())
    try:
        Worker(_read_spec(channel), channel).run()
    except InputClosed:
        return 0
    except MeshmarkError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def raise_file_limit() -> None:
    """As many open files as may be: a connection needs several, and the soft limit of a shell is often 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _read_spec(channel: Channel) -> WorkerSpec:
    while (line := channel.line()) is None:
        channel.wait(SPEC_TIMEOUT_S)
    return WorkerSpec.model_validate_json(line)


if __name__ == "__main__":
    sys.exit(main())
