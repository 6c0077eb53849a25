"""What all tests share: the `lab` mark for everything under tests/lab, and no silent skips in CI.

With MESHMARK_CI=1 a skipped test of the lab, of the browser, of promtool or of Kubernetes fails: something that should
have been there was not. A reason that begins with `kernel:` stays a skip, since nothing that could be installed would
change it; so does `not built:` of a real Kubernetes, since building its parts takes longer than CI has, and
`not asked for:` of tests that run only where a variable says so.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest

LAB = Path(__file__).parent / "lab"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if LAB in item.path.parents:
            item.add_marker(pytest.mark.lab)


def must_not_skip(reason: str) -> bool:
    return os.environ.get("MESHMARK_CI") == "1" and not reason.startswith(("kernel:", "not built:", "not asked for:"))


def reason_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    return str(report.longrepr[2]).removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else ""


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped and must_not_skip(reason_of(report)):
        report.outcome = "failed"
        report.longrepr = f"a module is skipped where it must run: {reason_of(report)}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    real = any(map(item.get_closest_marker, ("lab", "browser", "promtool", "kubernetes")))
    if real and report.skipped and not hasattr(report, "wasxfail") and must_not_skip(reason_of(report)):
        report.outcome = "failed"
        report.longrepr = f"skipped where it must run: {reason_of(report)}"
    return report
