"""All pages of the reference, and all schemas, that are generated from the code; made here: those of the command line,
of plans and of records.

    python -m meshmark.cli.reference     writes them where a checkout keeps them
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer
from pydantic.json_schema import models_json_schema
from typer.testing import CliRunner

from meshmark import hardware, nodes, record, resumed
from meshmark.backends.kubernetes import rights, yaml_text
from meshmark.cli.app import app
from meshmark.planfile.schema import schema, schema_text
from meshmark.report import reference
from meshmark.report import schema as report_schema
from meshmark.report.schema_page import page
from meshmark.values import Model

ROOT = Path(__file__).parents[2]
DIRECTORY = ROOT / "docs" / "reference"
PLAN_SCHEMA = ROOT / "meshmark" / "resources" / "schemas" / "plan.schema.json"
RIGHTS = ROOT / "meshmark" / "resources" / "kubernetes" / "rights.yaml"
WIDTH = 100

RECORD: dict[str, tuple[type[Model], ...]] = {
    "started.json": (record.Started,),
    "environment.jsonl": (record.DiskProbe, record.NetworkProbe),
    "hardware.json": (hardware.Hardware,),
    "predictions.jsonl": (record.Prediction,),
    "events.jsonl": (record.Event,),
    "resumed.jsonl": (resumed.Resumed,),
    "finished.json": (record.Finished,),
    "rounds/*/started.json": (record.RoundStarted,),
    "rounds/*/proofs.jsonl": (record.Proof,),
    "rounds/*/links.jsonl": (record.LinkProbe,),
    "rounds/*/outages.jsonl": (record.Outage,),
    "rounds/*/selftests.jsonl": (record.SelfTest,),
    "rounds/*/limits.jsonl": (hardware.LimitProbe,),
    "rounds/*/trials.jsonl": (record.Trial,),
    "rounds/*/profiles.jsonl": (record.CpuProfile,),
    "rounds/*/series.jsonl": (record.Sample,),
    "rounds/*/intervals.jsonl": (record.LoadInterval,),
    "rounds/*/nodes.json": (nodes.NodesRead,),
    "rounds/*/finished.json": (record.RoundFinished,),
}
"""Of a run directory: the file, and what its lines or its whole are."""

COMMANDS = """# The command line

Generated from the code: what each verb prints with `--help`. Examples are not run; a test gives each to the
parser of its command.
"""
PLAN = """# Plans

A plan is a YAML file. `meshmark plan show NAME` prints a built-in one in full, and `meshmark plan check FILE` tells
every mistake with its line. An editor can complete keys by
[`plan.schema.json`](../../meshmark/resources/schemas/plan.schema.json) (JSON Schema 2020-12); this page is generated
from the same code.

A plan's `cluster`, `workload`, `method` and `thresholds` hold for every scenario; a scenario may say its own, and then
only what differs.
"""
RECORD_PAGE = """# The record of a run

A run directory is the evidence: everything that a report says is computed from it. This page is generated from the
code; `schemaVersion` in `started.json` is {version}, and a record with another one is refused with a message.
A file that ends in `.jsonl` only grows, one object a line. Times are seconds of the machine's monotonic clock, except
where a key says otherwise; units are base units.

Besides the files of this table there are `plan.json` ([the plan](plan.md) as it ran), `summary.json`
([the report](report-json.md)), `report.html`, `digests.jsonl` ([the hash chain](../explanation/verify.md)) and, where
somebody signed it, `digest.sig`; in each round `config/` and `logs/` of every process (of a load client, what it says
that it goes by).

| file | holds |
|---|---|
{files}
"""


def commands() -> str:
    return COMMANDS + "".join(_helps(typer.main.get_command(app), ()))


def _helps(command: Any, words: tuple[str, ...]) -> Iterator[str]:
    done = CliRunner().invoke(app, [*words, "--help"], terminal_width=WIDTH, prog_name="meshmark")
    yield f"\n## {' '.join(('meshmark', *words))}\n\n```text\n{done.output.strip()}\n```\n"
    for name, inner in getattr(command, "commands", {}).items():
        yield from _helps(inner, (*words, name))


def plan() -> str:
    whole = schema()
    return page(PLAN, whole, {"Plan": whole}, defaults=True)


def run_directory() -> str:
    models = list(dict.fromkeys(model for found in RECORD.values() for model in found))
    _, whole = models_json_schema([(model, "serialization") for model in models])
    rows = [f"| `{file}` | {' or '.join(_linked(model) for model in found)} |" for file, found in RECORD.items()]
    introduction = RECORD_PAGE.format(version=record.SCHEMA_VERSION, files="\n".join(rows))
    return page(introduction, whole, {model.__name__: whole["$defs"][model.__name__] for model in models})


def cluster_roles() -> str:
    head = (
        "# Generated: all that `meshmark --backend kubernetes` does needs the first two; the third is for `run "
        "--kubelet`,\n# the fourth for `run --prometheus find`, the fifth for `operate restart`, the sixth for data "
        "planes of ambient mode\n# (bound in istio-system alone, by a RoleBinding), the seventh for `run` on an "
        "operator's brokers.\n# See docs/how-to/kubernetes.md.\n"
    )
    return head + "---\n".join(yaml_text(role) for role in rights.cluster_roles())


def _linked(model: type[Model]) -> str:
    return f"[{model.__name__}](#{model.__name__.lower()})"


PAGES: dict[str, Callable[[], str]] = {
    "cli.md": commands,
    "plan.md": plan,
    "record.md": run_directory,
}
FILES: dict[Path, Callable[[], str]] = {
    **{DIRECTORY / name: made for name, made in PAGES.items()},
    PLAN_SCHEMA: schema_text,
    RIGHTS: cluster_roles,
    report_schema.SCHEMA_FILE: report_schema.schema_text,
    report_schema.PAGE_FILE: report_schema.page,
    reference.METRICS_FILE: reference.metrics_page,
    reference.FORMATS_FILE: reference.formats_page,
}


if __name__ == "__main__":
    for file, made in FILES.items():
        file.write_text(made(), encoding="utf-8")
