"""Two reference pages, generated from the code: what is counted and how it is called, and the columns of flat tables
(`cli/reference.py` writes them)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from meshmark.analysis.exposition import BOUNDS_S, FAMILIES, HOSTS, Family
from meshmark.metrics import METRICS
from meshmark.report.frames import FRAMES, Frame

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
METRICS_FILE = REFERENCE / "metrics.md"
FORMATS_FILE = REFERENCE / "report-formats.md"

METRICS_INTRODUCTION = """# Metrics

This page is generated from the code. Base units: seconds, bytes. In a record (`series.jsonl`, and `-o csv --table
series`) a value has the key `HOST/COMPONENT/METRIC`. For Prometheus, in `-o openmetrics` and at the
[endpoint of a run](../how-to/watch.md), host and component are labels; others are `run`, `scenario` and `repeat`.
A round is one life of a cluster, so counters begin at zero in each, as series of their own.

Components are `kafka`, `sidecar`, `gateway`, `client` (all load workers of a host), `meshmark`, `relay` (of a link,
HOST being `link-A-B`; `netem` where the kernel makes it), `paths` (small requests that are timed), `quota` (all that
share one), and of the machine's CPU `kernel`, `others` and `others:NAME`. `net` is a host's network, `volume` a
broker's own disk, and `cpu`, `core:N`, `memory`, `disk` and `psi` are the machine's. What takes long to read is read
at the edges of trials' windows alone: `kernel`, `others`, `netem`, `tcp_wire_*`, and queues of limited links.

## Of hosts and their components
"""
LOAD_INTRODUCTION = """
## Of the load, of links and of the machine

Labels are `run`, `scenario` and `repeat`, and those named. All loads of a round are added: warm-up, self-test, trials.
Latencies have these upper ends of buckets, in seconds: {bounds}.
"""
FORMATS_INTRODUCTION = """# Forms of the report

This page is generated from the code. `meshmark report DIR -o FORM` prints to standard output, or writes the file that
`--out` names. `html` and `parquet` go to `DIR/report.html` and `DIR/report.TABLE.parquet` without it.

| form | what it is |
|---|---|
| `table` | for a terminal |
| `markdown` | the verdict and the same tables for a pull request; no HTML, no pictures |
| `html` | one offline page with everything (extra `report`); pictures of a round zoom together |
| `json` | the summary in numbers ([keys](report-json.md)) |
| `csv`, `parquet` | flat tables: `--table trials`, `series` or `intervals`; `parquet` takes the extra `parquet` |
| `openmetrics` | the series with their times, for a time series database (extra `metrics`; [names](metrics.md)) |

The first three say what can be said of a run, the last three give what was recorded, unjudged: an invalid trial is in
them, with the reason. In flat tables columns are only added. Empty (null) is what was not measured, or cannot be.
In Parquet each column has its meaning as metadata.

<!-- not run: needs a run directory, and Prometheus -->
```console
$ meshmark report DIR -o parquet --table series --out series.parquet
$ meshmark report DIR -o openmetrics --out series.om
$ promtool tsdb create-blocks-from openmetrics series.om data/
```
"""


def metrics_page() -> str:
    """What is counted."""
    rows = [
        f"| `{metric}` | `{_sample(HOSTS[metric])}` | {each.kind} | {each.unit} | {_cell(each.meaning)} |"
        for metric, each in METRICS.items()
    ]
    others = [family for family in FAMILIES if family not in HOSTS.values()]
    return "\n".join(
        [
            METRICS_INTRODUCTION,
            "| metric | for Prometheus | kind | unit | meaning |",
            "|---|---|---|---|---|",
            *rows,
            LOAD_INTRODUCTION.format(bounds=", ".join(f"{bound:g}" for bound in BOUNDS_S)),
            "| for Prometheus | kind | labels | meaning |",
            "|---|---|---|---|",
            *(
                f"| `{_sample(each)}` | {each.kind} | {', '.join(each.labels)} | {_cell(each.meaning)} |"
                for each in others
            ),
            "",
        ]
    )


def _sample(family: Family) -> str:
    return family.name if family.kind == "histogram" else family.samples[0]


def formats_page() -> str:
    """The forms, and the columns of flat tables."""
    return "\n".join([FORMATS_INTRODUCTION, *(line for name, frame in FRAMES.items() for line in _frame(name, frame))])


def _frame(name: str, frame: Frame) -> Iterable[str]:
    what = {
        "trials": "One row for each offered load of the search, of equal load and of what explains.",
        "series": "One row for each value of each reading of the sampler, once a second and at the edges of windows.",
        "intervals": "One row for each report of the load workers, four a second; of all of them together.",
    }
    yield from (f"## Table `{name}`", "", what[name], "", "| column | type | meaning |", "|---|---|---|")
    yield from (f"| `{field.name}` | {field.kind} | {_cell(field.meaning)} |" for field in frame.fields)
    yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
