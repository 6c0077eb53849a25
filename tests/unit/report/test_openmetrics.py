"""Series as OpenMetrics: the library's own strict parser reads them, and they say what the record says."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from meshmark.analysis.exposition import FAMILIES
from meshmark.report.openmetrics import openmetrics

from .conftest import PLAN, Told, told

HISTOGRAM = re.compile(r"meshmark_load_\w*latency_seconds_\w+\{")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """A smaller one: the strict parser is slow."""
    plan = PLAN.model_copy(update={"repeats": 2, "scenarios": (PLAN.scenarios[0], PLAN.scenarios[3])})
    return told(tmp_path_factory.mktemp("openmetrics") / "run", plan)


@pytest.fixture(scope="module")
def text(whole: Told) -> str:
    return openmetrics(whole.run)


@pytest.fixture(scope="module")
def parsed(text: str) -> dict[str, list[Any]]:
    """Name -> its samples, in their order. Of a histogram at several times the library's parser drops all buckets but
    the first from the second time on, so it is given the last time alone; promtool reads them all."""
    last = {line.partition("{")[0] + line.partition("repeat=")[2].partition("}")[0]: line.rpartition(" ")[2]
            for line in text.splitlines() if "_seconds_count{" in line}  # fmt: skip
    found: dict[str, list[Any]] = {}
    kept = [
        line for line in text.splitlines() if not HISTOGRAM.match(line) or line.rpartition(" ")[2] in last.values()
    ]
    families = text_string_to_metric_families("\n".join(kept) + "\n")  # type: ignore[no-untyped-call]
    for family in families:
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample)
    return found


def of(samples: list[Any], **labels: str) -> list[Any]:
    return [each for each in samples if labels.items() <= each.labels.items()]


def test_it_ends_as_the_format_asks(text: str) -> None:
    assert text.endswith("\n# EOF\n")


def test_every_name_is_one_of_the_families(parsed: dict[str, list[Any]]) -> None:
    known = {name for family in FAMILIES for name in family.samples}
    assert parsed.keys() <= known
    assert {"meshmark_cpu_user_seconds_total", "meshmark_load_latency_seconds_bucket"} <= parsed.keys()


def test_readings_have_their_values_and_times(parsed: dict[str, list[Any]], whole: Told) -> None:
    data = whole.run.rounds[0]
    key, offset = "broker-1/kafka/log_bytes", whole.run.started.clock_offset_s
    expected: dict[float, float] = {}
    for each in data.series():  # simulated time may stand still between two readings; a series has one value at a time
        if key in each.values:
            expected.setdefault(each.time_s + offset, each.values[key])
    labels = {"scenario": data.started.scenario, "repeat": "1", "host": "broker-1", "component": "kafka"}
    found = of(parsed["meshmark_log_bytes_total"], **labels)
    assert [each.value for each in found] == list(expected.values())
    assert [float(each.timestamp) for each in found] == pytest.approx(list(expected), abs=1e-5)
    assert {each.labels["run"] for each in found} == {whole.run.started.run_id}


def test_counters_of_the_load_never_fall_within_a_round(parsed: dict[str, list[Any]], whole: Told) -> None:
    started = whole.run.rounds[0].started
    found = of(parsed["meshmark_load_acknowledged_records_total"], scenario=started.scenario, repeat="1")
    values = [each.value for each in found]
    assert values == sorted(values)
    assert values[-1] >= sum(trial.total.acknowledged for trial in whole.run.rounds[0].trials)


def test_buckets_of_latencies_hold_ever_more_up_to_all(parsed: dict[str, list[Any]]) -> None:
    count = of(parsed["meshmark_load_latency_seconds_count"], scenario="plain", repeat="2")[-1]
    buckets = [
        each
        for each in of(parsed["meshmark_load_latency_seconds_bucket"], scenario="plain", repeat="2")
        if each.timestamp == count.timestamp
    ]
    counts = [each.value for each in buckets]
    assert counts == sorted(counts)
    assert (buckets[-1].labels["le"], counts[-1]) == ("+Inf", count.value)
    assert count.value > 0


def test_a_run_that_broke_off_gives_what_it_has(cut: Told) -> None:
    assert "\nmeshmark_cpu_user_seconds_total{" in openmetrics(cut.run)


@pytest.mark.promtool
def test_prometheus_takes_it(text: str, tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    (tmp_path / "series").write_text(text, encoding="utf-8")
    argv = [promtool, "tsdb", "create-blocks-from", "openmetrics", str(tmp_path / "series"), str(tmp_path / "blocks")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert any((tmp_path / "blocks").iterdir())
