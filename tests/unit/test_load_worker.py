"""A worker's conversation, over real pipes with a client that is scripted; and the arithmetic of its totals."""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from meshmark.histogram import Histogram
from meshmark.itemized import decoded
from meshmark.load import worker
from meshmark.load.clients import ClientError
from meshmark.load.recorder import Recorder
from meshmark.load.worker import Channel, InputClosed, Worker, raise_file_limit
from meshmark.record import LoadTotals
from meshmark.worker_protocol import Batches, WorkerReport, WorkerSpec

SPEC = WorkerSpec(
    name="producer-1",
    role="producer",
    bootstrap_servers="127.0.0.1:1",
    client_config={},
    config={},
    topics=("t",),
    partitions_per_topic=1,
    message_size=512,
    connections=1,
    seed=1,
    interval_s=1e-6,
)
MARK, STOP, START = (json.dumps({"command": word, "mark": 3}).encode() + b"\n" for word in ("mark", "stop", "start"))


class ScriptedClient:
    """Acknowledges one record at each `serve` while it offers."""

    def __init__(self, spec: WorkerSpec) -> None:
        self.offering = False
        self.recorder = Recorder()
        self.acknowledged = 0
        self.fails: ClientError | None = None

    def __enter__(self) -> ScriptedClient:
        return self

    def __exit__(self, *_: object) -> None: ...

    def ready(self) -> bool:
        return True

    def settings(self) -> dict[str, str]:
        return {"linger.ms": "5"}

    def last_error(self) -> ClientError | None:
        return None

    def start(self, origin_s: float) -> None:
        self.offering = True

    def serve(self) -> None:
        self.acknowledged += self.offering
        if self.fails:
            raise self.fails

    def pause_s(self) -> float:
        return 0.0

    def stop(self, until_s: float) -> None:
        self.offering = False

    def done(self) -> bool:
        return True

    def notes(self) -> str:
        return "all well"

    def totals(self) -> LoadTotals:
        return LoadTotals(offered=self.acknowledged, acknowledged=self.acknowledged)

    def batches(self) -> Batches:
        return Batches()


class Pipes:
    def __init__(self) -> None:
        self.worker_in, self.to_worker = os.pipe()
        self.from_worker, self.worker_out = os.pipe()
        self.channel = Channel(self.worker_in, self.worker_out)
        self.input_open = True

    def close_input(self) -> None:
        if self.input_open:
            os.close(self.to_worker)
        self.input_open = False

    def reports(self) -> list[WorkerReport]:
        os.set_blocking(self.from_worker, False)
        return [WorkerReport.model_validate_json(line) for line in os.read(self.from_worker, 2**20).splitlines()]


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    made = Pipes()
    yield made
    made.close_input()
    for fd in (made.worker_in, made.from_worker, made.worker_out):
        os.close(fd)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_client", ScriptedClient)


@pytest.mark.usefixtures("scripted")
def test_a_worker_reports_from_ready_to_finished(pipes: Pipes) -> None:
    os.write(pipes.to_worker, START + MARK)
    os.write(pipes.to_worker, STOP)
    Worker(SPEC, pipes.channel).run()
    reports = pipes.reports()
    kinds = [report.kind for report in reports]
    assert kinds[0] == "ready"
    assert [report.settings for report in reports if report.settings] == [{"linger.ms": "5"}]
    assert kinds[-1] == "finished"
    assert kinds.count("mark") == 1


@pytest.mark.parametrize("itemized", [False, True])
@pytest.mark.usefixtures("scripted")
def test_a_worker_ends_by_telling_of_each_record_where_it_is_to(pipes: Pipes, itemized: bool) -> None:
    subject = Worker(SPEC.model_copy(update={"itemized": itemized}), pipes.channel)
    subject._client.recorder.acknowledged(np.array([7, 5], dtype=np.int64))
    os.write(pipes.to_worker, START + MARK + STOP)
    subject.run()
    *before, last = pipes.reports()
    assert {report.records for report in before} == {""}
    assert (decoded(last.records).tolist() if itemized else last.records) == ([5, 7] if itemized else "")


@pytest.mark.usefixtures("scripted")
def test_a_worker_goes_by_the_clock_that_its_own_is_ahead_of(pipes: Pipes) -> None:
    subject = Worker(SPEC.model_copy(update={"clock_ahead_s": 1_000_000}), pipes.channel)
    intended_ns = time.monotonic_ns() - 1_000_000 * 10**9
    subject._client.recorder.consumed(np.array([intended_ns], dtype=np.int64))
    os.write(pipes.to_worker, START + MARK + STOP)
    begun_s = time.monotonic()
    subject.run()
    ended_s = time.monotonic()
    reports = pipes.reports()
    assert all(begun_s <= report.time_s + 1_000_000 <= ended_s for report in reports)
    assert Histogram.decode(reports[-1].end_to_end).count == 1


@pytest.mark.usefixtures("scripted")
def test_intervals_come_only_after_the_start(pipes: Pipes) -> None:
    os.write(pipes.to_worker, STOP)
    Worker(SPEC, pipes.channel).run()
    reports = pipes.reports()
    assert [report.kind for report in reports] == ["ready", "finished"]
    assert reports[-1].text == "all well"


@pytest.mark.usefixtures("scripted")
def test_an_error_is_reported_with_totals_and_ends_the_worker(pipes: Pipes) -> None:
    subject = Worker(SPEC, pipes.channel)
    client: Any = subject._client
    client.acknowledged, client.fails = 7, ClientError("_FATAL", "fenced")
    with pytest.raises(ClientError):
        subject.run()
    last = pipes.reports()[-1]
    assert (last.kind, last.error, last.text, last.totals.acknowledged) == ("error", "_FATAL", "fenced", 7)


@pytest.mark.usefixtures("scripted")
def test_a_worker_ends_when_its_input_closes(pipes: Pipes) -> None:
    os.write(pipes.to_worker, START)
    pipes.close_input()
    with pytest.raises(InputClosed):
        Worker(SPEC, pipes.channel).run()


def test_a_setting_that_cannot_be_is_an_error_report(pipes: Pipes) -> None:
    with pytest.raises(ClientError):
        Worker(SPEC.model_copy(update={"config": {"no.such.key": 1}}), pipes.channel).run()
    [report] = pipes.reports()
    assert (report.kind, report.error) == ("error", "configuration")
    assert "no.such.key" in report.text


def test_lines_come_whole_however_they_were_cut(pipes: Pipes) -> None:
    os.write(pipes.to_worker, b"one\ntw")
    pipes.channel.wait(1)
    assert [pipes.channel.line(), pipes.channel.line()] == [b"one", None]
    os.write(pipes.to_worker, b"o\nthree\n")
    pipes.channel.wait(1)
    assert [pipes.channel.line(), pipes.channel.line(), pipes.channel.line()] == [b"two", b"three", None]


@pytest.mark.parametrize("more", [0, 100, 1_500, 5_700])
def test_a_full_pipe_drops_interval_reports_and_blocks_nothing(pipes: Pipes, more: int) -> None:
    report = WorkerReport(kind="interval", time_s=1.0, text="x" * more)
    for _ in range(1_000):
        pipes.channel.send_if_read(report)
    assert 0 < len(pipes.reports()) < 1_000


def test_totals_add_subtract_and_close() -> None:
    one = LoadTotals(offered=10, acknowledged=4, failed=1, unknown=2, outstanding=3, errors={"A": 1, "B": 2})
    two = LoadTotals(offered=25, acknowledged=20, failed=1, unknown=2, outstanding=2, errors={"A": 1, "B": 2})
    assert one.closed
    assert two.closed
    window = two - one
    assert window == LoadTotals(offered=15, acknowledged=16, outstanding=-1)
    assert window.closed
    assert one + window == two
    assert not one.model_copy(update={"offered": 11}).closed


def test_a_worker_takes_as_many_open_files_as_it_may() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        raise_file_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
