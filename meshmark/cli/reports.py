"""`meshmark report`: a run directory, a crashed run's too, as table, JSON or HTML."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meshmark.cli.gate import require_held
from meshmark.cli.output import emit

if TYPE_CHECKING:
    from meshmark.analysis.model import Summary
    from meshmark.store import Run

EXAMPLES = (
    "\b\nExamples:\n  meshmark report meshmark-runs/banzai-2019-20260101T120000Z\n"
    "  meshmark report DIR -o json | jq '.scenarios[].rate_msg_s'\n  meshmark report DIR -o html --out report.html\n"
    "  meshmark report DIR --gate"
)


def report(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A run directory.")],
    output: Annotated[str, typer.Option("-o", "--output", metavar="table|json|html", help="The form.")] = "table",
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write there; html goes to DIR/report.html without it."),
    ] = None,
    gate: Annotated[
        bool,
        typer.Option("--gate", help="End with 1 if a threshold of the plan is broken, 3 if that cannot be told."),
    ] = False,
) -> None:
    """Tell again what a run measured; needs no cluster."""
    from meshmark import store
    from meshmark.analysis.summary import summarize
    from meshmark.errors import UsageError

    if output not in ("table", "json", "html"):
        raise UsageError(f"there is no form {output}", hint="-o takes table, json or html")
    record = store.load(directory)
    if gate and not record.plan.thresholds():
        raise UsageError(
            "--gate has nothing to judge: the plan of this run has no thresholds",
            hint="name some in the plan (`thresholds:`); docs/how-to/ci-gate.md shows how",
        )
    summary = summarize(record)
    if output == "html":
        emit(str(write_html(record, summary, out or directory / "report.html")))
    else:
        text = table_text(summary) if output == "table" else json_text(summary)
        emit(text if out is None else str(_write(out, text)))
    if gate:
        require_held(summary)


def table_text(summary: Summary) -> str:
    from meshmark.report.table import table

    return table(summary)


def json_text(summary: Summary) -> str:
    return summary.model_dump_json(indent=1)


def write_json(summary: Summary, path: Path) -> Path:
    return _write(path, json_text(summary))


def write_html(record: Run, summary: Summary, path: Path) -> Path:
    from meshmark.report.html import html

    return _write(path, html(record, summary))


def _write(path: Path, text: str) -> Path:
    from meshmark.errors import UsageError

    try:
        path.write_text(text if text.endswith("\n") else text + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", hint="give another file with --out") from error
    return path
