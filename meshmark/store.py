"""The run directory: the evidence. Written as things happen, read by everything that comes after.

    plan.json  started.json  events.jsonl  environment.jsonl  hardware.json  predictions.jsonl  finished.json
    resumed.jsonl  digests.jsonl  remains/1/
    rounds/001-plain/  started.json proofs.jsonl links.jsonl outages.jsonl selftests.jsonl limits.jsonl trials.jsonl
                       profiles.jsonl series.jsonl intervals.jsonl nodes.json finished.json config/ logs/

A file that ends in .jsonl only grows, one record a line; a trial is on the disk (fsync) before the next begins.
After a crash the last line of such a file may be cut; it is left out and told, everything before it counts.
`digests.jsonl` seals what is there when a round ends, and the run (`seal.py`). `remains` has what a run laid aside
that was cut and went on; nobody counts it.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import ValidationError

from meshmark.errors import NoSpace, RecordError, UsageError
from meshmark.hardware import Hardware, LimitProbe
from meshmark.nodes import NodesRead
from meshmark.plan import Plan
from meshmark.record import (
    SCHEMA_VERSION,
    CpuProfile,
    DiskProbe,
    Event,
    Finished,
    LinkProbe,
    LoadInterval,
    NetworkProbe,
    Outage,
    Prediction,
    Proof,
    RoundFinished,
    RoundStarted,
    Sample,
    SelfTest,
    Started,
    Trial,
)
from meshmark.resumed import Resumed
from meshmark.seal import NAME as CHAIN
from meshmark.seal import SIGNATURE, Chain
from meshmark.values import Model

LOG_BYTES_KEPT = 2_000_000
"""Of each component's log the last part is kept in the record."""

M = TypeVar("M", bound=Model)
_TIME = re.compile(r'\{"timeS":(-?\d+(?:\.\d+)?),')


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace(
                f"no space left for the record at {path}",
                hint="free space there, or give another directory with --out; what was written before is kept",
            ) from error
        raise RecordError(
            f"cannot write {path}: {error.strerror}", hint="check the directory given with --out"
        ) from error


def _line(record: Model) -> str:
    return json.dumps(record.model_dump(mode="json"), separators=(",", ":")) + "\n"


class _Appender:
    """One .jsonl file, opened at its first record."""

    def __init__(self, path: Path, *, durable: bool) -> None:
        self._path = path
        self._durable = durable

    def append(self, record: Model) -> None:
        with _writing(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(_line(record))
            if self._durable:
                file.flush()
                os.fsync(file.fileno())


def _write(path: Path, text: str) -> None:
    """At once: who follows the run sees all of it or nothing, and nothing is left where it fails."""
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        try:
            with part.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise


def _end_with_whole_line(path: Path) -> None:
    """A crash may have cut the last one, and what is appended must begin a line."""
    with path.open("rb+") as file:
        file.truncate(file.read().rfind(b"\n") + 1)


class RoundWriter:
    """The files of one round."""

    def __init__(self, directory: Path, started: RoundStarted) -> None:
        self.directory = directory
        with _writing(directory):
            directory.mkdir(parents=True)
        _write(directory / "started.json", started.model_dump_json(indent=1))
        self._proofs = _Appender(directory / "proofs.jsonl", durable=True)
        self._links = _Appender(directory / "links.jsonl", durable=True)
        self._outages = _Appender(directory / "outages.jsonl", durable=True)
        self._self_tests = _Appender(directory / "selftests.jsonl", durable=True)
        self._limits = _Appender(directory / "limits.jsonl", durable=True)
        self._trials = _Appender(directory / "trials.jsonl", durable=True)
        self._profiles = _Appender(directory / "profiles.jsonl", durable=True)
        self._series = _Appender(directory / "series.jsonl", durable=False)
        self._intervals = _Appender(directory / "intervals.jsonl", durable=False)

    def proof(self, proof: Proof) -> None:
        self._proofs.append(proof)

    def link(self, probe: LinkProbe) -> None:
        self._links.append(probe)

    def outage(self, outage: Outage) -> None:
        self._outages.append(outage)

    def self_test(self, done: SelfTest) -> None:
        self._self_tests.append(done)

    def limit(self, probe: LimitProbe) -> None:
        self._limits.append(probe)

    def trial(self, trial: Trial) -> None:
        self._trials.append(trial)

    def profile(self, profile: CpuProfile) -> None:
        self._profiles.append(profile)

    def nodes(self, read: NodesRead) -> None:
        _write(self.directory / "nodes.json", read.model_dump_json(indent=1))

    def sample(self, sample: Sample) -> None:
        self._series.append(sample)

    def interval(self, interval: LoadInterval) -> None:
        self._intervals.append(interval)

    def configurations(self, texts: Mapping[str, str]) -> None:
        for name, text in texts.items():
            _write(self.directory / "config" / name, text)

    def logs(self, files: Mapping[str, Path]) -> None:
        """Copies the last LOG_BYTES_KEPT of each log; one that is gone is left out."""
        for name, source in files.items():
            target = self.directory / "logs" / name
            with _writing(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                if not source.is_file():
                    continue
                with source.open("rb") as read, target.open("wb") as write:
                    read.seek(max(0, source.stat().st_size - LOG_BYTES_KEPT))
                    shutil.copyfileobj(read, write)

    def finish(self, finished: RoundFinished) -> None:
        _write(self.directory / "finished.json", finished.model_dump_json(indent=1))


class RunWriter:
    """A run being written. `create` refuses a directory that already holds something."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._events = _Appender(directory / "events.jsonl", durable=True)
        self._environment = _Appender(directory / "environment.jsonl", durable=True)
        self._predictions = _Appender(directory / "predictions.jsonl", durable=True)
        self._chain = Chain(directory)

    @classmethod
    def create(cls, directory: Path, plan: Plan, started: Started) -> RunWriter:
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise UsageError(f"{directory} already exists and is not empty", hint="give another one with --out")
        with _writing(directory):
            directory.mkdir(parents=True, exist_ok=True)
        _write(directory / "plan.json", plan.model_dump_json(indent=1))
        _write(directory / "started.json", started.model_dump_json(indent=1))
        return cls(directory)

    @classmethod
    def reopen(cls, directory: Path, resumed: Resumed) -> RunWriter:
        """After a cut: lays aside what is not whole, and what was made of it, and begins another chain with what is.
        The chain goes first: killed after that, the next one finds it there."""
        remains = directory / resumed.remains
        ended = (directory / name for name in (CHAIN, "finished.json", SIGNATURE))
        made = (path for pattern in ("summary.*", "report.*", "rounds/*") for path in directory.glob(pattern))
        with _writing(directory):
            remains.mkdir(parents=True, exist_ok=True)
            for cut in (*ended, *made):
                if cut.is_file() or (cut.is_dir() and not (cut / "finished.json").is_file()):
                    cut.rename(remains / cut.name)
            for path in directory.glob("*.jsonl"):
                _end_with_whole_line(path)
        _Appender(directory / "resumed.jsonl", durable=True).append(resumed)
        writer = cls(directory)
        writer.seal()
        return writer

    def event(self, event: Event) -> None:
        self._events.append(event)

    def probe(self, probe: DiskProbe | NetworkProbe) -> None:
        self._environment.append(probe)

    def prediction(self, prediction: Prediction) -> None:
        self._predictions.append(prediction)

    def hardware(self, hardware: Hardware) -> None:
        _write(self.directory / "hardware.json", hardware.model_dump_json(indent=1))

    def round(self, started: RoundStarted) -> RoundWriter:
        return RoundWriter(self.directory / "rounds" / f"{started.index:03d}-{started.scenario}", started)

    def seal(self) -> None:
        """What is there now cannot be changed unnoticed; a round has ended, its logs and all."""
        with _writing(self.directory):
            self._chain.seal()

    def finish(self, finished: Finished) -> None:
        _write(self.directory / "finished.json", finished.model_dump_json(indent=1))
        self.seal()


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundData:
    """One round as recorded; `finished` is None if the run ended inside it."""

    directory: Path
    started: RoundStarted
    finished: RoundFinished | None
    proofs: tuple[Proof, ...]
    links: tuple[LinkProbe, ...]
    outages: tuple[Outage, ...]
    self_tests: tuple[SelfTest, ...]
    limits: tuple[LimitProbe, ...]
    trials: tuple[Trial, ...]
    profiles: tuple[CpuProfile, ...]
    nodes: NodesRead | None

    def series(self, within: Sequence[tuple[float, float]] | None = None) -> list[Sample]:
        """`within`: only what was read in one of these spans of time, edges included; the rest is not parsed."""
        return _read_lines(self.directory / "series.jsonl", Sample, _in_spans(within) if within is not None else None)

    def intervals(self) -> list[LoadInterval]:
        return _read_lines(self.directory / "intervals.jsonl", LoadInterval)

    def configurations(self) -> dict[str, str]:
        return _texts(self.directory / "config")

    def logs(self) -> dict[str, str]:
        return _texts(self.directory / "logs")


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A run directory, read. Series and intervals are read when asked for."""

    directory: Path
    plan: Plan
    started: Started
    finished: Finished | None
    events: tuple[Event, ...]
    disk_probes: tuple[DiskProbe, ...]
    network_probes: tuple[NetworkProbe, ...]
    hardware: Hardware | None
    predictions: tuple[Prediction, ...]
    resumptions: tuple[Resumed, ...]
    rounds: tuple[RoundData, ...]


def require_run(directory: Path) -> None:
    """RecordError where there is none; of a directory of runs it says so."""
    if (directory / "started.json").is_file():
        return
    if not directory.is_dir():
        raise RecordError(f"there is no directory {directory}", hint="give the directory that `meshmark run` printed")
    inside = sorted(path.parent.name for path in directory.glob("*/started.json"))
    if inside:
        raise RecordError(
            f"{directory} is not a run directory: it holds {len(inside)} of them",
            hint=f"give one, for example {directory / inside[-1]}",
        )
    raise RecordError(
        f"{directory} is not a run directory: it has no started.json",
        hint="give the directory that `meshmark run` printed",
    )


def load(directory: Path) -> Run:
    """Reads a run directory, complete or not. RecordError if it is none, damaged, or of another schema."""
    require_run(directory)
    _refuse_other(directory / "started.json")
    disk: list[DiskProbe] = []
    network: list[NetworkProbe] = []
    for number, text in _lines(directory / "environment.jsonl"):
        source = f"{directory / 'environment.jsonl'}:{number}"
        if '"path"' in text:
            network.append(_parse(text, NetworkProbe, source))
        else:
            disk.append(_parse(text, DiskProbe, source))
    return Run(
        directory=directory,
        plan=_read(directory / "plan.json", Plan),
        started=_read(directory / "started.json", Started),
        finished=_read_if_there(directory / "finished.json", Finished),
        events=tuple(_read_lines(directory / "events.jsonl", Event)),
        disk_probes=tuple(disk),
        network_probes=tuple(network),
        hardware=_read_if_there(directory / "hardware.json", Hardware),
        predictions=tuple(_read_lines(directory / "predictions.jsonl", Prediction)),
        resumptions=tuple(_read_lines(directory / "resumed.jsonl", Resumed)),
        rounds=tuple(_round(path) for path in sorted(directory.glob("rounds/*")) if (path / "started.json").is_file()),
    )


class Tail(Generic[M]):
    """A file of records that still grows; a line that is not whole yet is left for the next time."""

    def __init__(self, path: Path, model: type[M]) -> None:
        self._path = path
        self._model = model
        self._read_bytes = 0
        self._read_lines = 0

    def new(self) -> list[M]:
        """The records that came since the last call. RecordError for a damaged one."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._read_bytes)
                whole, newline, _ = file.read().rpartition(b"\n")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RecordError(f"{self._path} cannot be read: {error}", hint="the record is damaged") from error
        self._read_bytes += len(whole + newline)
        lines = whole.decode("utf-8", "replace").split("\n") if whole else []
        first, self._read_lines = self._read_lines + 1, self._read_lines + len(lines)
        return [_parse(text, self._model, f"{self._path}:{place}") for place, text in enumerate(lines, first)]


class GrowingRound:
    """A round that may still go on."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.started = _read(directory / "started.json", RoundStarted)
        self.series = Tail(directory / "series.jsonl", Sample)
        self.intervals = Tail(directory / "intervals.jsonl", LoadInterval)
        self.links = Tail(directory / "links.jsonl", LinkProbe)
        self.trials = Tail(directory / "trials.jsonl", Trial)

    def finished(self) -> RoundFinished | None:
        return _read_if_there(self._directory / "finished.json", RoundFinished)


class GrowingRun:
    """A run directory that may still be written, or is not there yet."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.events = Tail(directory / "events.jsonl", Event)
        self.resumptions = Tail(directory / "resumed.jsonl", Resumed)

    def plan(self) -> Plan | None:
        return _read_if_there(self._directory / "plan.json", Plan)

    def started(self) -> Started | None:
        return _read_if_there(self._directory / "started.json", Started)

    def finished(self) -> Finished | None:
        return _read_if_there(self._directory / "finished.json", Finished)

    def rounds(self, after: int) -> list[GrowingRound]:
        """Those that began, but for the first so many."""
        found = [path for path in sorted(self._directory.glob("rounds/*")) if (path / "started.json").is_file()]
        return [GrowingRound(path) for path in found[after:]]


def _round(directory: Path) -> RoundData:
    return RoundData(
        directory=directory,
        started=_read(directory / "started.json", RoundStarted),
        finished=_read_if_there(directory / "finished.json", RoundFinished),
        proofs=tuple(_read_lines(directory / "proofs.jsonl", Proof)),
        links=tuple(_read_lines(directory / "links.jsonl", LinkProbe)),
        outages=tuple(_read_lines(directory / "outages.jsonl", Outage)),
        self_tests=tuple(_read_lines(directory / "selftests.jsonl", SelfTest)),
        limits=tuple(_read_lines(directory / "limits.jsonl", LimitProbe)),
        trials=tuple(_read_lines(directory / "trials.jsonl", Trial)),
        profiles=tuple(_read_lines(directory / "profiles.jsonl", CpuProfile)),
        nodes=_read_if_there(directory / "nodes.json", NodesRead),
    )


def _refuse_other(path: Path) -> None:
    try:
        version = json.loads(path.read_text(encoding="utf-8")).get("schemaVersion")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise RecordError(f"{path} cannot be read: {error}", hint="the record is damaged") from error
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise RecordError(
            f"{path}: written with record schema {version}; this meshmark reads up to {SCHEMA_VERSION}",
            hint="use a newer meshmark",
        )
    if isinstance(version, int) and version < SCHEMA_VERSION:
        raise RecordError(
            f"{path}: written with record schema {version}; this meshmark reads {SCHEMA_VERSION} alone",
            hint="use the meshmark that wrote it (its version is in started.json), or measure again",
        )


def _parse(text: str, model: type[M], source: str) -> M:
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        hint = "the record is damaged"
        if first["type"] == "extra_forbidden":
            hint = "use a newer meshmark, if one wrote it (started.json has its version); else the record is damaged"
        raise RecordError(f"{source}: {key or 'content'}: {first['msg']}", hint=hint) from error


def _read(path: Path, model: type[M]) -> M:
    if path.exists() and not path.is_file():
        raise RecordError(f"{path} is no file", hint="the record is damaged")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path} cannot be read: {error}", hint="the record is damaged") from error
    return _parse(text, model, str(path))


def _read_if_there(path: Path, model: type[M]) -> M | None:
    return _read(path, model) if path.is_file() else None


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Whole lines only: one that a crash cut has no newline."""
    if not path.is_file():
        return
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path} cannot be read: {error}", hint="the record is damaged") from error
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        if line.strip():
            yield number, line


def _read_lines(path: Path, model: type[M], wanted: Callable[[str], bool] | None = None) -> list[M]:
    return [_parse(line, model, f"{path}:{number}") for number, line in _lines(path) if wanted is None or wanted(line)]


def _in_spans(spans: Sequence[tuple[float, float]]) -> Callable[[str], bool]:
    """Whether a line's time is in one of them. A line that does not begin with it may be; who parses it will see."""

    def wanted(line: str) -> bool:
        time = _TIME.match(line)
        return time is None or any(start <= float(time[1]) <= end for start, end in spans)

    return wanted


def _texts(directory: Path) -> dict[str, str]:
    return {
        path.name: path.read_text(encoding="utf-8", errors="replace")
        for path in sorted(directory.glob("*"))
        if path.is_file()
    }
