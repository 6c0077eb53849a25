"""That a run was cut, and went on: the line of `resumed.jsonl` that says so."""

from __future__ import annotations

from pydantic import Field

from meshmark.values import Model


class Resumed(Model):
    """A run that was cut went on after its last whole round. What was not whole was laid aside, and is not counted."""

    resumed_at: float
    time_s: float
    command: tuple[str, ...]
    rounds_kept: int = Field(description="whole when it was cut")
    remains: str = Field(
        pattern=r"^remains/[1-9][0-9]*$",
        description="the folder with what was laid aside: the round that was cut, what the run said of its end, and "
        "the hash chain until then",
    )
    digest: str | None = Field(description="of that chain; null: there was none")
