"""`meshmark compare`: runs against runs, or scenarios of one run against each other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meshmark.cli.output import emit

if TYPE_CHECKING:
    from meshmark.analysis.compare import Subject
    from meshmark.analysis.model import Summary

EXAMPLES = (
    "\b\nExamples:\n  meshmark compare runs/new --against runs/old --differs versions.kafka\n"
    "  meshmark compare runs/acks-1 --against runs/acks-all --differs plan.workload.producerConfig.acks\n"
    "  meshmark compare runs/one:istio-mtls --against runs/one:plain --differs plan.dataPlane"
)


def compare(
    runs: Annotated[
        list[str], typer.Argument(metavar="A...", help="Run directories; DIR:SCENARIO is one scenario of a run.")
    ],
    against: Annotated[
        list[str],
        typer.Option(
            "--against", metavar="B", help="What they are compared with, once for each A, in the same order."
        ),
    ],
    differs: Annotated[
        list[str] | None,
        typer.Option("--differs", metavar="KEY", help="What is meant to differ, e.g. versions.kafka; repeatable."),
    ] = None,
    margin: Annotated[
        float, typer.Option("--margin", metavar="PERCENT", min=0.1, max=100, help="What is the same for you.")
    ] = 5,
    output: Annotated[str, typer.Option("-o", "--output", metavar="table|json|markdown", help="The form.")] = "table",
) -> None:
    """Tell by how much A differs from B, pair by pair of repeats; refuses runs that are not alike."""
    from meshmark.analysis.compare import compare as compared
    from meshmark.analysis.compare import require_as_many
    from meshmark.errors import UsageError
    from meshmark.report.compare import markdown, text

    if output not in ("table", "json", "markdown"):
        raise UsageError(f"there is no form {output}", hint="-o takes table, json or markdown")
    require_as_many(runs, against)  # before any of them is read
    read: dict[Path, Summary] = {}
    contender, baseline = ([_subject(each, read) for each in side] for side in (runs, against))
    found = compared(contender, baseline, differs=differs or (), margin=margin / 100)
    if output == "json":
        emit(found.model_dump_json(indent=1))
    else:
        emit(text(found) if output == "table" else markdown(found))


def _subject(name: str, read: dict[Path, Summary]) -> Subject:
    """A directory; else what is before the last colon is one, and what is behind it a scenario."""
    from meshmark import store
    from meshmark.analysis.compare import Subject
    from meshmark.analysis.summary import summarize

    before, colon, after = name.rpartition(":")
    whole = not colon or Path(name).exists()
    path = Path(name if whole else before)
    if path not in read:
        read[path] = summarize(store.load(path))
    return Subject(name=name, summary=read[path], scenario=None if whole else after)
