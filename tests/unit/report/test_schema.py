"""The JSON report's schema and reference page are those of the code, and a real summary keeps to them."""

from __future__ import annotations

import json

import jsonschema
import pytest

from meshmark.analysis.model import SUMMARY_VERSION
from meshmark.report import schema

from .conftest import Told

AGAIN = "write it again: python -m meshmark.cli.reference"


def test_the_committed_schema_is_current() -> None:
    assert schema.SCHEMA_FILE.read_text(encoding="utf-8") == schema.schema_text(), AGAIN


def test_the_reference_page_is_current() -> None:
    assert schema.PAGE_FILE.read_text(encoding="utf-8") == schema.page(), AGAIN


def test_summaries_keep_to_the_schema(whole: Told, cut: Told) -> None:
    for each in (whole, cut):
        jsonschema.validate(json.loads(each.summary.model_dump_json()), schema.schema())


def test_an_unknown_key_does_not(whole: Told) -> None:
    value = json.loads(whole.summary.model_dump_json())
    value["scenarios"][0]["best_rate"] = 1
    with pytest.raises(jsonschema.ValidationError, match="best_rate"):
        jsonschema.validate(value, schema.schema())


def test_the_keys_that_others_build_on_are_there(whole: Told) -> None:
    value = json.loads(whole.summary.model_dump_json())
    assert value["schema_version"] == SUMMARY_VERSION
    assert {"plan", "environment", "scenarios"} <= set(value)
    keys = {
        "name",
        "rate_msg_s",
        "disk_bytes_s_per_broker",
        "loss_vs_plain",
        "packets_per_mb",
        "encrypted_hops",
        "repeats",
    }
    for scenario in value["scenarios"]:
        assert keys <= set(scenario)
        assert {"brokers", "sidecars", "clients"} <= set(scenario["cpu_s_per_gb"])


def test_every_object_has_its_section() -> None:
    page = schema.page()
    for name, definition in schema.schema()["$defs"].items():
        if "properties" in definition:
            assert f"## {name}\n" in page
