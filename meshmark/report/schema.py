"""The JSON of `report -o json`: its schema, and its reference page, both generated from the summary's model
(`cli/reference.py` writes them).

A key is removed, or its meaning changed, only with a new `schema_version`.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from meshmark.analysis.model import SUMMARY_VERSION, Summary
from meshmark.report import schema_page

ROOT = Path(__file__).parents[2]
SCHEMA_FILE = ROOT / "meshmark" / "resources" / "schemas" / "report.schema.json"
PAGE_FILE = ROOT / "docs" / "reference" / "report-json.md"

INTRODUCTION = f"""# The report as JSON

`meshmark report DIR -o json` prints a run in numbers; `meshmark run` writes the same to `summary.json` in the run
directory. This page and
[`report.schema.json`](../../meshmark/resources/schemas/report.schema.json) (JSON Schema 2020-12) are generated from
the code. `schema_version` is {SUMMARY_VERSION}; it rises when a key is removed or its meaning changes, not when a key
is added.

Base units everywhere: seconds, bytes, messages. *Per MB* and *per GB* mean 10^6 and 10^9 bytes of payload
acknowledged, before replication. Shares are between 0 and 1. What was not measured, or cannot be known, is `null`,
never 0. Keys are snake_case; inside `plan`, `started`, `finished`, `path` and `proofs` they are camelCase, as in plan
files and records.

<!-- not run: needs a run directory, and jq -->
```console
$ meshmark report DIR -o json | jq '.scenarios[] | {{name, rate_msg_s, loss_vs_plain, verdict}}'
```
"""


@cache
def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a summary as printed."""
    made = Summary.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


def schema_text() -> str:
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def page() -> str:
    return schema_page.page(INTRODUCTION, schema(), {"Summary": schema()})
