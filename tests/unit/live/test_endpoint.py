"""The endpoint of a run: what a Prometheus that scrapes it gets."""

from __future__ import annotations

import re
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from meshmark.cli import app
from meshmark.errors import UsageError
from meshmark.live.endpoint import endpoint
from tests.promql import known_names

Capture = pytest.CaptureFixture[str]


def scrape(url: str, accept: str = "text/plain") -> str:
    request = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return str(answer.read(), "utf-8")


def test_a_scrape_gives_families_of_known_names_with_help_and_type(going_on: Path) -> None:
    with endpoint("127.0.0.1", 0, going_on) as told, told.serving():
        text = scrape(told.url)
    families = {family.name: family for family in text_string_to_metric_families(text)}
    names = {sample.name for family in families.values() for sample in family.samples}
    assert names - {"meshmark_run_info"} <= known_names()
    assert all(family.documentation and family.type != "unknown" for family in families.values())
    assert {
        "meshmark_cpu_user_seconds_total",
        "meshmark_load_latency_seconds_bucket",
        "meshmark_machine_cpus",
    } <= names


def test_every_sample_says_of_which_round_it_is(going_on: Path) -> None:
    with endpoint("127.0.0.1", 0, going_on) as told, told.serving():
        families = list(text_string_to_metric_families(scrape(told.url)))
    samples = [sample for family in families for sample in family.samples if sample.name != "meshmark_run_info"]
    assert {(sample.labels["scenario"], sample.labels["repeat"]) for sample in samples} == {
        (next(going_on.glob("rounds/002-*")).name.removeprefix("002-"), "1")
    }


def test_openmetrics_is_given_to_who_asks_for_it(going_on: Path) -> None:
    with endpoint("127.0.0.1", 0, going_on) as told, told.serving():
        assert scrape(told.url, "application/openmetrics-text; version=1.0.0").endswith("# EOF\n")


def test_before_a_run_begins_and_after_it_there_is_still_an_answer(whole: Path, tmp_path: Path) -> None:
    with endpoint("127.0.0.1", 0, tmp_path / "later") as told, told.serving():
        assert scrape(told.url) == ""
    with endpoint("127.0.0.1", 0, whole) as told, told.serving():
        assert re.findall(r"^(\w+)", scrape(told.url), re.MULTILINE) == ["meshmark_run_info"]


def test_other_paths_are_not_found(whole: Path) -> None:
    answer = pytest.raises(urllib.error.HTTPError, match="404")
    with endpoint("127.0.0.1", 0, whole) as told, told.serving(), answer:
        scrape(told.url.removesuffix("/metrics") + "/")


def test_a_record_that_is_damaged_is_an_error_for_who_asks_and_says_nothing_here(
    going_on: Path, capsys: Capture
) -> None:
    next(going_on.glob("rounds/002-*")).joinpath("series.jsonl").write_text("{}\n", encoding="utf-8")
    answer = pytest.raises(urllib.error.HTTPError, match="500")
    with endpoint("127.0.0.1", 0, going_on) as told, told.serving(), answer:
        scrape(told.url)
    assert capsys.readouterr().err == ""


def test_a_port_that_is_taken_is_a_usage_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1:{port}"),
            endpoint("127.0.0.1", port, tmp_path),
        ):
            pass


def test_a_run_serves_while_it_goes_on_and_prints_where(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "plan.yaml").write_text(
        "name: small\nrepeats: 1\nenvironment: {diskSeconds: 0, networkSeconds: 0}\n"
        "method: {warmupSeconds: 1, windowSeconds: 2, trials: 1}\nscenarios: [plain]\n",
        encoding="utf-8",
    )
    argv = ["run", str(tmp_path / "plan.yaml"), "--backend", "simulated", "--out", str(tmp_path / "run")]
    assert app.main([*argv, "--metrics-port", "0"]) == 0
    assert re.search(r"^metrics: http://127\.0\.0\.1:\d+/metrics$", capsys.readouterr().err, re.MULTILINE)


def test_a_run_whose_port_is_taken_does_not_begin(tmp_path: Path, capsys: Capture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        argv = ["run", "--backend", "simulated", "--out", str(tmp_path / "run"), "--metrics-port", port]
        assert app.main(argv) == 2
    assert "give another port with --metrics-port" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_an_address_without_a_port_is_refused_rather_than_ignored(tmp_path: Path, capsys: Capture) -> None:
    argv = ["run", "--backend", "simulated", "--out", str(tmp_path / "run"), "--metrics-address", "0.0.0.0"]
    assert app.main(argv) == 2
    assert "--metrics-address belongs to --metrics-port" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
