"""What `meshmark verify` says; its JSON has these keys. Values only."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from meshmark.analysis.model import Interval
from meshmark.analysis.value import Value

VERIFICATION_VERSION = 1

Verdict = Literal["sound", "not sound", "incomplete"]


class Finding(Value):
    """Something that cannot be so: what stands in one file, and what follows from the rest of the record."""

    file: str = Field(description="relative to the run directory; with the line where the file has lines")
    recorded: str
    follows: str


class Headline(Value):
    """One row of the report's table, recomputed."""

    scenario: str
    rate_msg_s: float | None
    interval: Interval | None
    loss: float | None
    verdict: str
    trials: int = Field(description="of the search, that count")


class Checked(Value):
    """How much was held against each other."""

    files: int = Field(description="that the chain covers")
    links: int = Field(description="lines of the chain")
    rounds: int
    trials: int
    intervals: int = Field(description="reports of the load workers")
    samples: int = Field(description="readings of counters")


class Verification(Value):
    """The answer, and everything that it rests on."""

    version: int = VERIFICATION_VERSION
    verdict: Verdict
    run_id: str | None = Field(description="null: the record cannot be read")
    digest: str | None = Field(description="SHA-256 of the chain's last line; null: the run has no chain")
    expected_digest: str | None = Field(description="that was given; null: none")
    signer: str | None = Field(description="who signed the digest, of the signers allowed; null: none, or not asked")
    signing_key: str | None = Field(description="kind and fingerprint of the key that signed it; null: as above")
    claim: str = Field(description="what the verdict means, and what it does not")
    findings: tuple[Finding, ...]
    missing: tuple[str, ...] = Field(description="why the run is incomplete")
    notes: tuple[str, ...] = Field(description="what was not judged")
    headlines: tuple[Headline, ...]
    checked: Checked
