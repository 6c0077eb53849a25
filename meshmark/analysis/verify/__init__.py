"""Is a run directory what it says? Integrity by its hash chain, truth by recomputing it from its raw series.

    verify(directory, digest, signature)    # Verification: sound, not sound (with findings) or incomplete

`truth` is pure: it reads a loaded run and asks whether its files contradict each other or the plan. What they cannot
contradict, because everything was forged alike, only a digest that was kept elsewhere tells, or a signature over it.
docs/explanation/verify.md says what is claimed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from meshmark import __version__, seal
from meshmark.analysis.model import ESTIMATOR, Interval, Summary
from meshmark.analysis.summary import summarize
from meshmark.analysis.verify.asked import asked_findings, round_findings, untested
from meshmark.analysis.verify.configuration import configuration_findings
from meshmark.analysis.verify.encryption import encryption_findings
from meshmark.analysis.verify.limits import limit_findings, scale_findings
from meshmark.analysis.verify.links import link_findings
from meshmark.analysis.verify.model import Checked, Finding, Headline, Verdict, Verification
from meshmark.analysis.verify.predictions import prediction_findings
from meshmark.analysis.verify.raw import loads, order, raw
from meshmark.analysis.verify.times import time_findings
from meshmark.analysis.verify.told import JUDGED, not_judged, told_findings
from meshmark.analysis.verify.trials import trial_findings
from meshmark.errors import RecordError
from meshmark.resumed import Resumed
from meshmark.seal import Integrity
from meshmark.signature import Signature
from meshmark.store import Run, load, require_run

__all__ = ["Truth", "Verification", "truth", "verify"]

NAMED = 3
WITHOUT_DIGEST = (
    "Without --digest or --allowed-signers no more is claimed than that accidents and inconsistencies show: whoever "
    "can write the directory can write another record that is consistent, and a chain that fits it."
)
WITH_DIGEST = "This is the record that the digest was printed for: what the chain covers was not changed since."
OTHER_DIGEST = "This is not the record that the digest was printed for: it is another one, or it was changed since."
WITH_SIGNATURE = "{} signed the digest of this record: what the chain covers was not changed since."
NOT_SIGNED = "None of the allowed signers has signed this record as it is."


@dataclass(frozen=True, kw_only=True, slots=True)
class Truth:
    """What a loaded run says about itself."""

    findings: tuple[Finding, ...]
    trials: int
    intervals: int
    samples: int


def verify(directory: Path, expected_digest: str | None = None, signature: Signature | None = None) -> Verification:
    """Reads a run directory and changes nothing; `signature`: what was found of the one over its digest. Raises
    RecordError where there is no run, or one that cannot be read although it is as it was sealed."""
    if not (directory / seal.NAME).exists():
        require_run(directory)  # before all that lies below is walked through
    integrity = seal.check(directory)
    findings = list(_broken(integrity))
    notes: list[str] = []
    try:
        run = load(directory)
        found = truth(run)
    except RecordError as error:
        if not findings:
            raise
        findings.append(Finding(file=".", recorded="a run", follows=f"it cannot be read: {error.message}"))
        run, found = None, Truth(findings=(), trials=0, intervals=0, samples=0)
    findings += found.findings
    if run is not None:
        findings += [finding for each in run.resumptions for finding in _laid_aside(directory, each)]
        notes += [f"cut after round {each.rounds_kept}, and gone on: {each.remains}" for each in run.resumptions]
        notes += [*untested(run), *_estimated_otherwise(run)]
    summary: Summary | None = None
    if run is not None and not found.findings:
        summary = summarize(run)
        findings += prediction_findings(run)
        reported = list(_reports(directory, integrity, summary))
        if run.started.versions.meshmark == __version__:
            findings += reported
        else:
            notes += [f"{each.file}, by another version: {each.recorded}; {each.follows}" for each in reported]
    notes += _not_judged(directory, integrity, judged=summary is not None)
    if integrity.signed and signature is None:
        notes.append(f"{seal.SIGNATURE} was not judged: --allowed-signers tells whether one of them signed the digest")
    if signature is not None and signature.problem:
        wanted = "a signature by one of the allowed signers"
        findings.insert(0, Finding(file=seal.SIGNATURE, recorded=wanted, follows=signature.problem))
    if expected_digest is not None and expected_digest != integrity.head:
        findings.insert(0, Finding(file=seal.NAME, recorded=_digest(integrity.head), follows=_digest(expected_digest)))
    missing = () if run is None else tuple(_missing(run, integrity))
    verdict: Verdict = "not sound" if findings else "incomplete" if missing else "sound"
    return Verification(
        verdict=verdict,
        run_id=run.started.run_id if run else None,
        digest=integrity.head,
        expected_digest=expected_digest,
        signer=signature.signer if signature else None,
        signing_key=signature.key if signature else None,
        claim=_claim(integrity, expected_digest, signature),
        findings=tuple(findings),
        missing=missing,
        notes=tuple(notes),
        headlines=_headlines(summary) if summary else (),
        checked=Checked(
            files=integrity.files,
            links=integrity.links,
            rounds=len(run.rounds) if run else 0,
            trials=found.trials,
            intervals=found.intervals,
            samples=found.samples,
        ),
    )


def truth(run: Run) -> Truth:
    """Every file of the record against the others. Raises RecordError where a series cannot be read."""
    findings = [*asked_findings(run), *scale_findings(run), *time_findings(run)]
    known = {scenario.name: scenario for scenario in run.plan.scenarios}
    starts_s = [data.started.time_s for data in run.rounds]
    trials = intervals = samples = 0
    for data, end_s in zip(run.rounds, [*starts_s[1:], float("inf")], strict=False):
        scenario = known.get(data.started.scenario)
        if scenario is None:
            continue
        round_ = raw(data)
        findings += order(round_, end_s)
        findings += loads(round_, scenario.workload)
        findings += trial_findings(round_, scenario, run.started.host.cpus)
        findings += round_findings(run, round_, scenario)
        findings += configuration_findings(run, round_, scenario)
        findings += encryption_findings(run, round_, scenario)
        findings += link_findings(run, round_, scenario)
        findings += limit_findings(run, round_, scenario)
        trials += len(data.trials)
        intervals += len(round_.intervals)
        samples += len(round_.samples)
    return Truth(findings=tuple(findings), trials=trials, intervals=intervals, samples=samples)


def _estimated_otherwise(run: Run) -> Iterator[str]:
    """What followed from ceilings that are found otherwise now."""
    if run.started.estimator == ESTIMATOR:
        return
    if run.predictions:
        yield "predictions.jsonl was not judged: its laws go through ceilings by another estimator"
    if run.finished is not None and run.finished.sharp:
        yield "that every loss was known at its end was not judged: it was, by another estimator of ceilings"


def _broken(integrity: Integrity) -> Iterator[Finding]:
    for each in integrity.breaks:
        yield Finding(file=each.file, recorded=each.recorded, follows=each.found)
    if integrity.complete:
        for name in integrity.unsealed:
            yield Finding(file=name, recorded="a part of the run", follows="it came after the run had ended")


def _laid_aside(directory: Path, resumed: Resumed) -> Iterator[Finding]:
    """What a cut left: as its own chain says, which is the one that is named."""
    chain = f"{resumed.remains}/{seal.NAME}"
    if (found := seal.head(directory / resumed.remains)) != resumed.digest:
        yield Finding(file=chain, recorded=_digest(found), follows=f"resumed.jsonl: {_digest(resumed.digest)}")
    for each in seal.check_remains(directory, resumed.remains):
        yield Finding(file=each.file, recorded=f"{chain}: {each.recorded}", follows=each.found)


def _missing(run: Run, integrity: Integrity) -> Iterator[str]:
    if run.finished is None:
        yield "the run has no end: it crashed, was killed or still goes on"
    elif run.finished.outcome != "complete":
        yield f"the run was not complete ({run.finished.outcome}): {run.finished.error or 'no reason recorded'}"
    if integrity.head is None:
        yield (
            f"there is no {seal.NAME}: no round has ended, or the run was recorded before there were chains; nothing "
            "shows whether a file was changed"
        )
    elif not integrity.complete:
        first = ", ".join(integrity.unsealed[:NAMED])
        more = len(integrity.unsealed) - NAMED
        yield (
            "the chain ends before the run does; not sealed: "
            f"{first or seal.LAST_FILE}{f' and {more} more' if more > 0 else ''}"
        )


def _reports(directory: Path, integrity: Integrity, summary: Summary) -> Iterator[Finding]:
    for name in JUDGED:
        if name in integrity.reports:
            yield from told_findings(name, _text(directory / name), summary)


def _not_judged(directory: Path, integrity: Integrity, *, judged: bool) -> Iterator[str]:
    for name in integrity.reports:
        if name not in JUDGED:
            yield f"{name} is made from the record and was not judged: `meshmark report` makes it again"
        elif not judged:
            yield f"{name} was not judged, because the record that it is made from does not hold"
        elif why := not_judged(_text(directory / name)):
            yield f"{name} was written {why} and was not judged: `meshmark report` makes it again"


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _digest(value: str | None) -> str:
    return f"the run's digest is {value}" if value else "the run has no digest"


def _claim(integrity: Integrity, expected: str | None, signature: Signature | None) -> str:
    claims = []
    if expected is not None:
        claims.append(WITH_DIGEST if expected == integrity.head and not integrity.breaks else OTHER_DIGEST)
    if signature is not None:
        held = signature.signer if not integrity.breaks else None
        claims.append(WITH_SIGNATURE.format(held) if held else NOT_SIGNED)
    return " ".join(claims) or WITHOUT_DIGEST


def _headlines(summary: Summary) -> tuple[Headline, ...]:
    return tuple(
        Headline(
            scenario=scenario.name,
            rate_msg_s=scenario.rate_msg_s,
            interval=Interval(low=scenario.rate_interval.low, high=scenario.rate_interval.high)
            if scenario.rate_interval
            else None,
            loss=scenario.loss_vs_plain,
            verdict=scenario.verdict,
            trials=scenario.trials_counted,
        )
        for scenario in summary.scenarios
    )
