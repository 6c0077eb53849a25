"""A run directory reads back as written, whole, cut off in the middle, or damaged."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from meshmark.data_plane import DataPlane
from meshmark.errors import NoSpace, RecordError, UsageError
from meshmark.plan import Plan, Scenario
from meshmark.record import (
    SCHEMA_VERSION,
    DiskProbe,
    Event,
    HostFacts,
    LoadInterval,
    LoadTotals,
    NetworkProbe,
    RoundStarted,
    Sample,
    Started,
    Versions,
)
from meshmark.store import RunWriter, Tail, load

PLAN = Plan(name="small", scenarios=(Scenario(name="plain", data_plane=DataPlane.PLAIN),))
STARTED = Started(
    run_id="r",
    started_at=1.0,
    clock_offset_s=0.5,
    command=("meshmark", "run"),
    effort="quick",
    scenarios_selected=("plain",),
    host=HostFacts(
        hostname="h",
        kernel="k",
        cpu_model="c",
        cpus=2,
        memory_bytes=1,
        cgroup="v1",
        file_system="ext4",
        privileges="root",
        features={"netem": False},
    ),
    versions=Versions(meshmark="0", python="3", kafka="4", java="25", envoy="1", librdkafka="2"),
)
ROUND = RoundStarted(index=1, scenario="plain", repeat=1, data_plane=DataPlane.PLAIN, started_at=2.0, time_s=1.5)


def written(directory: Path) -> RunWriter:
    writer = RunWriter.create(directory, PLAN, STARTED)
    writer.event(Event(time_s=1.0, level="warning", phase="p", text="line\nbreak"))
    writer.probe(DiskProbe(tool="t", mode="synced", write_bytes=1, rate_bytes_s=2.0, seconds=1.0, repeat=1))
    writer.probe(NetworkProbe(tool="t", path="direct", flows=1, rate_bytes_s=3.0, seconds=1.0, repeat=1))
    return writer


def test_what_was_written_reads_back(tmp_path: Path) -> None:
    writer = written(tmp_path / "run")
    round_writer = writer.round(ROUND)
    round_writer.sample(Sample(time_s=1.0, values={"machine/cpu/user_s": 2.0}))
    round_writer.interval(LoadInterval(time_s=1.0, clients=1, totals=LoadTotals(offered=1, acknowledged=1)))
    round_writer.configurations({"broker-1.properties": "a=b\n"})

    run = load(tmp_path / "run")

    assert run.plan == PLAN
    assert run.started == STARTED
    assert run.finished is None
    assert [event.text for event in run.events] == ["line\nbreak"]
    assert [probe.mode for probe in run.disk_probes] == ["synced"]
    assert [probe.path for probe in run.network_probes] == ["direct"]
    (only,) = run.rounds
    assert only.started == ROUND
    assert only.finished is None
    assert only.series()[0].values == {"machine/cpu/user_s": 2.0}
    assert only.intervals()[0].totals.acknowledged == 1
    assert only.configurations() == {"broker-1.properties": "a=b\n"}


def test_a_series_is_read_in_spans_with_their_edges(tmp_path: Path) -> None:
    round_writer = written(tmp_path / "run").round(ROUND)
    times = (0.0, 1.25, 2.5, 1e-5, 3.75, 68572.76617230251)
    for time_s in times:
        round_writer.sample(Sample(time_s=time_s, values={}))
    (only,) = load(tmp_path / "run").rounds
    assert [each.time_s for each in only.series()] == list(times)
    found = only.series([(1.25, 2.5), (68572.76617230251, 68573.0)])
    assert [each.time_s for each in found if each.time_s != 1e-5] == [1.25, 2.5, 68572.76617230251]
    with (only.directory / "series.jsonl").open("a") as file:
        file.write('{"timeS":2,"values":3}\n{"timeS":9,"values":3}\n')
    with pytest.raises(RecordError, match=r"series\.jsonl:7"):
        only.series([(1, 2)])
    assert len(only.series([(3, 4)])) == 2, "what lies elsewhere is not looked at"


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\x85", "\x0c", "\r", "\n"], ids=ascii)
def test_a_record_is_one_line_whatever_breaks_lines_elsewhere(tmp_path: Path, sign: str) -> None:
    events = Tail(tmp_path / "run" / "events.jsonl", Event)
    written(tmp_path / "run").event(Event(time_s=2.0, level="info", phase="p", text=f"one{sign}two"))
    assert [event.text for event in load(tmp_path / "run").events] == ["line\nbreak", f"one{sign}two"]
    assert [event.text for event in events.new()] == ["line\nbreak", f"one{sign}two"]


def test_a_line_that_a_crash_cut_is_left_out(tmp_path: Path) -> None:
    written(tmp_path / "run")
    with (tmp_path / "run" / "events.jsonl").open("a") as file:
        file.write('{"timeS": 2.0, "lev')
    assert len(load(tmp_path / "run").events) == 1


def test_a_log_keeps_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshmark.store.LOG_BYTES_KEPT", 4)
    source = tmp_path / "source"
    source.write_text("0123456789")
    round_writer = written(tmp_path / "run").round(ROUND)
    round_writer.logs({"kafka.log": source, "gone.log": tmp_path / "gone"})
    assert load(tmp_path / "run").rounds[0].logs() == {"kafka.log": "6789"}


def test_what_a_full_disk_took_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = written(tmp_path / "run").round(ROUND)
    before = sorted((tmp_path / "run").rglob("*"))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NoSpace, match="no space left for the record"):
        writer.configurations({"broker-1.properties": "a=b\n"})
    assert sorted(path for path in (tmp_path / "run").rglob("*") if path.name != "config") == before


def test_a_directory_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("keep")
    with pytest.raises(UsageError, match="not empty"):
        RunWriter.create(tmp_path, PLAN, STARTED)
    assert (tmp_path / "mine").read_text() == "keep"


def test_a_directory_that_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="is not a run directory"):
        load(tmp_path)
    (tmp_path / "file").touch()
    for name in ("none", "file"):
        with pytest.raises(RecordError, match=f"there is no directory {tmp_path / name}"):
            load(tmp_path / name)


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("started.json", "{", "cannot be read"),
        ("started.json", "[]", "cannot be read"),
        ("started.json", json.dumps({"schemaVersion": SCHEMA_VERSION + 1}), "reads up to"),
        ("started.json", "{}", "runId"),
        ("plan.json", '{"name": "x", "scenarios": []}', "scenarios"),
        ("events.jsonl", '{"timeS": "soon"}\n', "events.jsonl:1"),
        ("events.jsonl", "not json\n", "events.jsonl:1"),
    ],
)
def test_a_damaged_record_is_named_with_its_place(tmp_path: Path, file: str, text: str, says: str) -> None:
    written(tmp_path / "run")
    (tmp_path / "run" / file).write_text(text)
    with pytest.raises(RecordError, match=says):
        load(tmp_path / "run")


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_is_none_is_damage(tmp_path: Path, value: str) -> None:
    writer = written(tmp_path / "run")
    writer.round(ROUND).sample(Sample(time_s=2.0, values={"machine/cpu/user_s": 1.0}))
    series = next((tmp_path / "run").glob("rounds/*/series.jsonl"))
    series.write_text(series.read_text().replace("1.0", value))
    (data,) = load(tmp_path / "run").rounds
    with pytest.raises(RecordError, match=r"series\.jsonl:1: values\.machine/cpu/user_s: .*finite"):
        data.series()


@pytest.mark.parametrize(
    ("line", "newer"),
    [('{"timeS":1,"level":"info","phase":"p","text":"t","mood":"good"}\n', True), ('{"timeS": "soon"}\n', False)],
)
def test_a_key_that_is_not_known_may_be_a_newer_meshmarks(tmp_path: Path, line: str, newer: bool) -> None:
    written(tmp_path / "run")
    (tmp_path / "run" / "events.jsonl").write_text(line)
    with pytest.raises(RecordError) as found:
        load(tmp_path / "run")
    assert ("newer meshmark" in str(found.value.hint)) == newer


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_said_plainly(tmp_path: Path) -> None:
    writer = written(tmp_path / "run")
    (tmp_path / "run" / "events.jsonl").unlink()
    (tmp_path / "run" / "events.jsonl").symlink_to("/dev/full")
    with pytest.raises(NoSpace, match="no space left"):
        writer.event(Event(time_s=1.0, level="info", phase="p", text="t"))
