"""What everything in a summary is: a frozen value whose keys are its field names."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """A frozen value; its keys are the field names."""

    model_config = ConfigDict(frozen=True, extra="forbid")
