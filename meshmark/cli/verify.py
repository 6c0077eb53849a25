"""`meshmark verify`: is a run directory what it says? `meshmark sign`: somebody vouches for it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meshmark.cli.output import emit

if TYPE_CHECKING:
    from meshmark.analysis.verify import Verification

EXAMPLES = (
    "\b\nExamples:\n  meshmark verify meshmark-runs/banzai-2019-20260101T120000Z\n"
    "  meshmark verify DIR --digest 5f1c...      the digest that `meshmark run` printed\n"
    "  meshmark verify DIR --allowed-signers signers    whether one of them signed it: `meshmark sign`\n"
    "  meshmark verify DIR -o json | jq '.findings[].file'"
)
SIGN_EXAMPLES = (
    "\b\nExamples:\n  meshmark sign DIR --key ~/.ssh/id_ed25519\n"
    "  meshmark sign DIR --key ~/.ssh/id_ed25519.pub      the private key is ssh-agent's"
)
CODES = {"sound": 0, "not sound": 1, "incomplete": 3}
SHOWN = 20
"""Findings in the table; JSON has all."""


def verify(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A run directory.")],
    digest: Annotated[
        str | None,
        typer.Option("--digest", metavar="SHA-256", help="Prove that this is the run for which it was printed."),
    ] = None,
    allowed_signers: Annotated[
        Path | None,
        typer.Option("--allowed-signers", metavar="FILE", help="Tell which of these signed it: ssh-keygen(1)."),
    ] = None,
    output: Annotated[str, typer.Option("-o", "--output", metavar="table|json", help="The form.")] = "table",
) -> None:
    """Check that a record is whole, unchanged and true to its raw series: 0 sound, 1 not sound, 3 incomplete."""
    from meshmark.analysis.verify import verify as judge
    from meshmark.errors import RecordError, UsageError
    from meshmark.seal import head
    from meshmark.signature import check

    if output not in ("table", "json"):
        raise UsageError(f"there is no form {output}", hint="-o takes table or json")
    if digest is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
        raise UsageError(
            f"{digest!r} is no digest: that has 64 hexadecimal digits", hint="give what `meshmark run` printed"
        )
    try:
        signature = check(directory, head(directory), allowed_signers) if allowed_signers else None
        found = judge(directory, digest.lower() if digest else None, signature)
    except OSError as error:
        raise RecordError(
            f"{error.filename} cannot be read: {error.strerror}", hint="the record is damaged"
        ) from error
    emit(found.model_dump_json(indent=1) if output == "json" else _table(directory, found))
    raise typer.Exit(CODES[found.verdict])


def _table(directory: Path, found: Verification) -> str:
    from meshmark.units import percent, rate_msg_s

    checked = found.checked
    lines = [
        f"{directory}: {found.verdict}",
        "",
        f"run        {found.run_id or 'unknown'}",
        f"digest     {found.digest or 'none'}",
        *([f"signed     by {found.signer} with the {found.signing_key}"] if found.signer else []),
        f"integrity  {checked.files} files in a chain of {checked.links} links",
        f"truth      {checked.rounds} rounds, {checked.trials} trials",
        f"series     {checked.intervals} reports of load workers, {checked.samples} readings of counters",
    ]
    for headline in found.headlines:
        interval = headline.interval
        bounds = f" ({rate_msg_s(interval.low)} to {rate_msg_s(interval.high)})" if interval else ""
        loss = f" {percent(abs(headline.loss))}" if headline.loss is not None else ""
        rate = f"{rate_msg_s(headline.rate_msg_s)} msg/s{bounds}"
        lines.append(f"headline   {headline.scenario}: {rate}, {headline.verdict}{loss}, {headline.trials} trials")
    lines += [f"note       {text}" for text in found.notes]
    if found.missing:
        lines += ["", "Incomplete:", *(f"  {text}" for text in found.missing)]
    if found.findings:
        lines += ["", f"Not sound, {len(found.findings)} findings:"]
        for finding in found.findings[:SHOWN]:
            lines += [f"  {finding.file}", f"    recorded: {finding.recorded}", f"    follows:  {finding.follows}"]
        if len(found.findings) > SHOWN:
            lines.append(f"  and {len(found.findings) - SHOWN} more: -o json has all")
    return "\n".join([*lines, "", found.claim])


def sign(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A run directory, complete and unchanged.")],
    key: Annotated[
        Path,
        typer.Option("--key", metavar="FILE", help="An SSH key; if public, ssh-agent has the private one."),
    ],
) -> None:
    """Sign a run's digest with an SSH key, into DIR/digest.sig; `verify` tells whose."""
    from meshmark import seal, signature

    made = signature.sign(directory, key)
    emit(f"{directory / seal.SIGNATURE}\ndigest     {seal.head(directory)}\nsigned     with the {made.key}")
