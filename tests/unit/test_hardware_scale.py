"""To which scale a machine can carry a profile, and which links of it can be full at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshmark.analysis import hardware
from meshmark.analysis.summary import summarize
from meshmark.analysis.verify import verify
from meshmark.planfile.profiles import dump_profile
from meshmark.profile import Figure, Link
from meshmark.report.table import table
from tests.unit.test_hardware import PLAIN, PROFILE, plan_of, probes, run


@pytest.mark.parametrize(
    ("cpus", "disk_mb_s", "link_mb_s", "operations_s", "expected"),
    [
        pytest.param(2, 9_000, 90_000, 1e9, 0.0571, id="CPU: four fifths of 2 for 3 x (4 + 2) + 8 + 2"),
        pytest.param(64, 150, 90_000, 1e9, 0.1, id="disk: four fifths of 150 for 3 x 400"),
        pytest.param(64, 9_000, 750, 1e9, 0.2, id="network: four fifths of 750 for 3 x 1,000"),
        pytest.param(64, 9_000, 90_000, 30_000, 0.4, id="operations: four fifths of 30,000 for 3 x 20,000"),
        pytest.param(64, 9_000, 90_000, 1e9, 1.0, id="all of it"),
    ],
)
def test_the_scale_is_the_largest_that_no_resource_forbids(
    cpus: int, disk_mb_s: float, link_mb_s: float, operations_s: float, expected: float
) -> None:
    found = hardware.bounds(PROFILE, plan_of(), cpus, probes(disk_mb_s, link_mb_s, operations_s))
    assert hardware.largest_scale(found) == expected
    assert hardware.beyond(found, expected) is None


@pytest.mark.parametrize(
    ("client_bytes_s", "limited", "needed"),
    [
        pytest.param(2.9e9, True, 3e9, id="less than all brokers' links together"),
        pytest.param(3e9, False, 3e9, id="as much: it is never full"),
        pytest.param(5e9, False, 3e9, id="more"),
    ],
)
def test_a_client_s_link_is_limited_only_where_brokers_can_fill_it(
    client_bytes_s: float, limited: bool, needed: float
) -> None:
    client = PROFILE.client.model_copy(update={"network": Link(bytes_s=Figure(value=client_bytes_s, source="me"))})
    profile = PROFILE.model_copy(update={"client": client})
    networks = {each.host for each in hardware.limits(profile, 0.1, PLAIN) if each.resource == "network"}
    assert ("client-1" in networks) == limited
    assert {"broker-1", "broker-2", "broker-3"} <= networks
    (bound,) = (
        each for each in hardware.bounds(profile, plan_of(), 64, probes(9e3, 9e4)) if each.resource == "network"
    )
    assert bound.needed == needed


def test_a_client_s_link_counts_where_brokers_have_no_limit() -> None:
    unlimited = PROFILE.broker.model_copy(update={"network": None})
    profile = PROFILE.model_copy(update={"broker": unlimited})
    assert [each.host for each in hardware.limits(profile, 0.1, PLAIN) if each.resource == "network"] == ["client-1"]
    (bound,) = (
        each for each in hardware.bounds(profile, plan_of(), 64, probes(9e3, 500)) if each.resource == "network"
    )
    assert bound.scale == pytest.approx(0.4)


def test_operations_are_probed_before_a_run_where_a_profile_limits_them_and_take_part_in_its_scale(
    tmp_path: Path,
) -> None:
    path = tmp_path / "pages.yaml"
    path.write_text(dump_profile(PROFILE))
    done = run(tmp_path / "run", plan_of(PLAIN, scale="auto").model_copy(update={"profile": str(path)}))
    assert {(each.mode, each.write_bytes) for each in done.disk_probes} == {
        ("buffered", 65_536),
        ("synced", 65_536),
        ("direct", 4_096),
    }
    assert done.hardware is not None
    assert [each.resource for each in done.hardware.bounds] == ["cpu", "disk", "operations", "network"]
    assert verify(done.directory).verdict == "sound"
    shown = table(summarize(done))
    assert "operations allows" in " ".join(shown.split())
    assert "writes/s" in shown


def test_operations_that_no_profile_limits_are_not_probed(tmp_path: Path) -> None:
    done = run(tmp_path / "run", plan_of(PLAIN, scale=0.1).model_copy(update={"profile": "unlimited"}))
    assert {each.mode for each in done.disk_probes} == {"buffered", "synced"}
