"""Recording and alert rules: every expression is PromQL over metrics that the endpoint has, and promtool's own tests
of each rule hold."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.promql import known_names, names

ROOT = Path(__file__).parents[2]
DIRECTORY = ROOT / "meshmark" / "resources" / "prometheus"
RULES = DIRECTORY / "rules.yaml"
FILES = [RULES, DIRECTORY / "pods.yaml"]
TESTS = {file: Path(__file__).parent / "prometheus" / f"{file.stem}_test.yaml" for file in FILES}
EACH_FILE = pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.name))


def load(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text(encoding="utf-8"))


def rules(file: Path = RULES) -> list[dict[str, Any]]:
    return [rule for group in load(file)["groups"] for rule in group["rules"]]


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    return subprocess.run([tool, *arguments], capture_output=True, text=True, check=False, cwd=TESTS[RULES].parent)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule.get("alert") or rule["record"]))
def test_rules_ask_for_metrics_that_are_there(rule: dict[str, Any]) -> None:
    recorded = {each["record"] for each in rules() if "record" in each}
    assert names(rule["expr"])
    assert names(rule["expr"]) <= known_names() | recorded


@EACH_FILE
def test_every_alert_says_how_grave_it_is_and_what_it_means(file: Path) -> None:
    for rule in rules(file):
        if "alert" in rule:
            assert rule["labels"]["severity"] in ("warning", "critical")
            assert set(rule["annotations"]) == {"summary", "description"}


def test_no_two_rules_have_a_name() -> None:
    every = [rule.get("alert") or rule["record"] for file in FILES for rule in rules(file)]
    assert len(set(every)) == len(every)


@EACH_FILE
def test_every_rule_is_tested_and_every_alert_both_ways(file: Path) -> None:
    cases = load(TESTS[file])["tests"]
    alerts = [case for test in cases for case in test.get("alert_rule_test", ())]
    asked = set().union(*(names(case["expr"]) for test in cases for case in test.get("promql_expr_test", ())))
    for rule in rules(file):
        if "alert" in rule:
            fired = [bool(case.get("exp_alerts")) for case in alerts if case["alertname"] == rule["alert"]]
            assert set(fired) == {True, False}, rule["alert"]
        else:
            assert rule["record"] in asked


@pytest.mark.promtool
@EACH_FILE
def test_promtool_takes_the_rules(file: Path) -> None:
    done = promtool("check", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.promtool
@EACH_FILE
def test_promtools_own_tests_hold(file: Path) -> None:
    done = promtool("test", "rules", TESTS[file].name)
    assert done.returncode == 0, done.stdout + done.stderr
