"""A real control plane for the tests of this directory, where its parts have been built; else they are skipped.

Building them takes half an hour, so CI does not; whatever it finds in the cache it uses. Either way it prints when,
and at which commit, these tests last passed against the real thing, and the one that measures there (`whole_path`).
"""

from __future__ import annotations

import signal
import tempfile
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from meshmark.backends.lab.instance import WORK_DIR_VARIABLE, reclaim
from meshmark.errors import MissingRequirement
from tests.kubernetes import build, last_run, strimzi
from tests.kubernetes.controlplane import ControlPlane, control_plane
from tests.kubernetes.istio import istiod
from tests.kubernetes.node import PARTS
from tests.kubernetes.node import one_node as one_node_cluster
from tests.kubernetes.scraping import Scraping, installed, scraping
from tests.kubernetes.verbs import documented_user, operators_user
from tests.own_network import enter_own_network

HERE = build.SOURCES.parent
NOTES = {"whole_path": last_run.WHOLE_PATH, "strimzi": last_run.STRIMZI}
"""By the marker of the test that has it."""
OUTCOMES = pytest.StashKey[list[str]]()
MODULES = pytest.StashKey[set[Path]]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    here = [item for item in items if _is_here(item)]
    config.stash[MODULES] = {item.path for item in here}
    for item in here:
        item.add_marker(pytest.mark.kubernetes)


def _is_here(item: pytest.Item) -> bool:
    return HERE in item.path.parents


def needs(parts: Iterable[str]) -> None:
    """Skips where one of them has not been built."""
    if absent := build.missing(parts):
        pytest.skip(f"not built: {', '.join(absent)} for Kubernetes {build.version()}; {build.advice(absent)}")


@pytest.fixture(scope="session", autouse=True)
def _machine() -> Iterator[None]:
    needs(build.API)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="meshmark-test-") as work, pytest.MonkeyPatch.context() as patch:
        patch.setenv(WORK_DIR_VARIABLE, work)
        reclaim()
        enter_own_network()
        patch.setenv("PYTEST_DEBUG_TEMPROOT", work)
        yield


@pytest.fixture(scope="session")
def cluster(_machine: None) -> Iterator[ControlPlane]:
    with control_plane() as plane:
        yield plane


@pytest.fixture(scope="session")
def user(cluster: ControlPlane) -> Path:
    return documented_user(cluster)


@pytest.fixture(scope="session")
def one_node(_machine: None) -> Iterator[ControlPlane]:
    """Another cluster, with a node that runs pods."""
    needs(PARTS)
    with ExitStack() as stack:
        try:
            plane = stack.enter_context(one_node_cluster())
        except MissingRequirement as error:
            pytest.skip(f"kernel: {error}")
        yield plane


@pytest.fixture(scope="session")
def node_user(one_node: ControlPlane) -> Path:
    """Whom the documentation describes, in that cluster."""
    return documented_user(one_node)


@pytest.fixture(scope="session")
def prometheus(one_node: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraping | None]:
    """One that scrapes the node's kubelet from the first test on that asks for it; None: not installed."""
    if not installed():
        yield None
        return
    with scraping(one_node, tmp_path_factory.mktemp("prometheus")) as found:
        yield found


@pytest.fixture(scope="session")
def sidecars(one_node: ControlPlane) -> Iterator[ControlPlane]:
    """The same, with an istiod that injects them."""
    needs(build.ISTIO)
    with istiod(one_node):
        yield one_node


@pytest.fixture(scope="session")
def strimzis(sidecars: ControlPlane) -> Iterator[ControlPlane]:
    """The same, with Strimzi's operator."""
    if strimzi.missing():
        pytest.skip(f"not built: Strimzi {strimzi.VERSION}; `{strimzi.COMMAND}` does it from its source")
    with strimzi.strimzi(sidecars):
        yield sidecars


@pytest.fixture(scope="session")
def strimzis_user(strimzis: ControlPlane, node_user: Path) -> Path:
    """Whom the documentation describes, for runs on an operator's brokers."""
    return operators_user(strimzis)


@pytest.fixture
def controllers() -> None:
    """The cluster has them, so objects are acted upon."""
    needs(build.CONTROLLERS)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if (report.when == "call" or report.outcome != "passed") and item.get_closest_marker("kubernetes"):
        item.config.stash.setdefault(OUTCOMES, []).append(report.outcome)
    if report.when == "call" and report.passed:
        for marker, note in NOTES.items():
            if item.get_closest_marker(marker):
                note.note()
    return report


def _asked_for_all(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> bool:
    """All tests of this directory: no module, and no test of one, was left out by the command."""
    items = [item for item in terminalreporter.stats.get("deselected", []) if _is_here(item)]
    modules = config.stash.get(MODULES, set())
    return not items and not any("::" in word for word in config.args) and modules == set(HERE.glob("test_*.py"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    told: list[str] = config.stash.get(OUTCOMES, [])
    outcomes = Counter(told)
    if outcomes["passed"] and not outcomes["failed"] and _asked_for_all(terminalreporter, config):
        last_run.ALL.note(passed=outcomes["passed"], skipped=outcomes["skipped"])
    terminalreporter.write_line(f"Real Kubernetes, these tests: {last_run.ALL.text()}")
    terminalreporter.write_line(f"Real Kubernetes, from `run` to its report: {last_run.WHOLE_PATH.text()}")
    terminalreporter.write_line(f"Real Kubernetes, the same on Strimzi's brokers: {last_run.STRIMZI.text()}")
