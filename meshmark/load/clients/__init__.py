"""Kafka clients that a load worker can use, and what they have in common."""

from __future__ import annotations

from typing import Protocol

from meshmark.errors import LoadError
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

    def last_error(self) -> ClientError | None:
        """What connections have met so far, for one who waits in vain."""

    def start(self) -> None: ...

    def serve(self) -> None:
        """Counts what has come back, offers what there is room for. Called every few milliseconds."""

    def stop(self) -> None:
        """Nothing more is offered; `serve` goes on until `done`."""

    def done(self) -> bool:
        """After `stop`: everything is resolved, and `batches` covers all of it."""

    def notes(self) -> str:
        """What is to be said once it is done, if anything."""

    def totals(self) -> LoadTotals: ...

    def batches(self) -> Batches: ...
