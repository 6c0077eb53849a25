"""Kafka clients that a load worker can use, and what they have in common."""

from __future__ import annotations

from typing import Protocol

from meshmark.errors import LoadError
from meshmark.load.recorder import Recorder
from meshmark.record import LoadTotals
from meshmark.worker_protocol import Batches


class ClientError(LoadError):
    """The client cannot go on. `kind` is the client library's name of the error."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind
        self.text = text


class Client(Protocol):
    """All connections of one worker. Nothing blocks for longer than some milliseconds."""

    def __enter__(self) -> Client: ...

    def __exit__(self, *_: object) -> None: ...

    def ready(self) -> bool:
        """Connected, and every topic known. Called until it is true; raises ClientError when that cannot come."""

    def settings(self) -> dict[str, str]:
        """By Kafka's names, what decides how it batches, sends or reads; defaults included, secrets not."""

    def last_error(self) -> ClientError | None:
        """What connections have met so far, for one who waits in vain."""

    @property
    def recorder(self) -> Recorder:
        """What it has measured so far."""

    def start(self, origin_s: float) -> None:
        """Load begins; schedules count from `origin_s` of the machine's monotonic clock."""

    def serve(self) -> None:
        """Counts what has come back, offers what there is to offer and room for. Called every few milliseconds."""

    def pause_s(self) -> float:
        """How long nothing needs to be served from now on; it may be over."""

    def stop(self, until_s: float) -> None:
        """Nothing more is offered, or in open loop nothing that comes due at `until_s` or later; `serve` goes on until
        `done`."""

    def done(self) -> bool:
        """After `stop`: everything is resolved, and `batches` covers all of it."""

    def notes(self) -> str:
        """Once it is done: what speaks against its own account, if anything."""

    def totals(self) -> LoadTotals: ...

    def batches(self) -> Batches: ...
