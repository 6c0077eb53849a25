"""`meshmark report`: a run directory, a crashed run's too, in the form that its reader takes."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meshmark.cli.gate import require_held
from meshmark.cli.output import emit

if TYPE_CHECKING:
    from meshmark.analysis.model import Summary
    from meshmark.store import Run

FORMS = ("table", "json", "html", "markdown", "csv", "parquet", "openmetrics")
TABLES = ("trials", "series", "intervals")
EXAMPLES = (
    "\b\nExamples:\n  meshmark report meshmark-runs/banzai-2019-20260101T120000Z\n"
    "  meshmark report DIR -o json | jq '.scenarios[].rate_msg_s'\n  meshmark report DIR -o html --out report.html\n"
    '  meshmark report DIR -o markdown >> "$GITHUB_STEP_SUMMARY"\n'
    "  meshmark report DIR -o parquet --table series --out series.parquet\n  meshmark report DIR --gate"
)


def report(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A run directory.")],
    output: Annotated[str, typer.Option("-o", "--output", metavar="|".join(FORMS), help="The form.")] = "table",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Write there; without it html and parquet go to DIR/report.*, others to stdout.",
        ),
    ] = None,
    table: Annotated[
        str | None,
        typer.Option("--table", metavar="|".join(TABLES), help="Of csv and parquet: the rows  [default: trials]"),
    ] = None,
    rounds: Annotated[
        list[int] | None,
        typer.Option(
            "--round",
            metavar="N",
            help="Of html: draw the pictures of this round; repeatable  [default: 12 rounds, of the first repeats]",
        ),
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

    _require_form(output, table, rounds)
    record = store.load(directory)
    if gate and not record.plan.thresholds():
        raise UsageError(
            "--gate has nothing to judge: the plan of this run has no thresholds",
            hint="name some in the plan (`thresholds:`); docs/how-to/ci-gate.md shows how",
        )
    if output in ("csv", "parquet", "openmetrics"):
        _raw(record, output, table or TABLES[0], out)
        if gate:
            require_held(summarize(record))
        return
    summary = summarize(record)
    if output == "html":
        emit(str(write_html(record, summary, out or directory / "report.html", rounds or ())))
    else:
        text = _text(summary, output)
        emit(text if out is None else str(_write(out, text)))
    if gate:
        require_held(summary)


def _require_form(output: str, table: str | None, rounds: list[int] | None) -> None:
    from meshmark.errors import UsageError

    if output not in FORMS:
        raise UsageError(f"there is no form {output}", hint=f"-o takes {', '.join(FORMS[:-1])} or {FORMS[-1]}")
    if rounds and output != "html":
        raise UsageError("--round belongs to -o html", hint="leave it out, or choose that form")
    if table is None:
        return
    if output not in ("csv", "parquet"):
        raise UsageError("--table belongs to -o csv and -o parquet", hint="leave it out, or choose one of these")
    if table not in TABLES:
        raise UsageError(f"there is no table {table}", hint="--table takes trials, series or intervals")


def _raw(record: Run, output: str, table: str, out: Path | None) -> None:
    """What is made from the record alone, without a summary."""
    if output == "openmetrics":
        from meshmark.report.openmetrics import openmetrics

        text = openmetrics(record)
        emit(text if out is None else str(_write(out, text)))
        return
    from meshmark.report.frames import FRAMES, write_csv, write_parquet

    frame = FRAMES[table]
    if output == "parquet":
        path = out or record.directory / f"report.{table}.parquet"
        with _writing(path):
            write_parquet(frame, record, path)
        emit(str(path))
    elif out is None:
        write_csv(frame, record, sys.stdout)
    else:
        with _writing(out), out.open("w", encoding="utf-8") as stream:
            write_csv(frame, record, stream)
        emit(str(out))


def _text(summary: Summary, output: str) -> str:
    if output == "json":
        return json_text(summary)
    if output == "markdown":
        from meshmark.report.markdown import markdown

        return markdown(summary)
    from meshmark.report.table import table

    return table(summary)


def json_text(summary: Summary) -> str:
    return summary.model_dump_json(indent=1)


def write_json(summary: Summary, path: Path) -> Path:
    return _write(path, json_text(summary))


def write_html(record: Run, summary: Summary, path: Path, pictured: Collection[int] = ()) -> Path:
    from meshmark.report.html import html

    return _write(path, html(record, summary, pictured))


def _write(path: Path, text: str) -> Path:
    with _writing(path):
        path.write_text(text if text.endswith("\n") else text + "\n", encoding="utf-8")
    return path


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    from meshmark.errors import UsageError

    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", hint="give another file with --out") from error
