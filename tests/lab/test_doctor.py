"""The real checks on this machine."""

from __future__ import annotations

from pathlib import Path

from meshmark import planfile
from meshmark.cli import doctor, kernel, machine


def test_this_machine_can_run_the_built_in_plan() -> None:
    results = doctor.checks(machine.look(), doctor.needs(planfile.builtin("banzai-2019")))
    lacking = [check for check in doctor.missing(results) if check.name not in ("free disk", "memory")]
    assert lacking == []


def test_every_feature_is_tried_and_the_ones_of_the_lab_work() -> None:
    look = machine.look()
    assert set(look.kernel) == set(kernel.FEATURES)
    assert [look.kernel[name] for name in ("namespaces", "hosts", "interception")] == ["", "", ""]


def test_trying_leaves_nothing_behind() -> None:
    def state() -> tuple[set[str], str]:
        names = {path.name for path in Path("/sys/class/net").iterdir()}
        return names, Path("/proc/self/mounts").read_text(encoding="utf-8")

    before = state()
    machine.look()
    assert state() == before


def test_what_is_read_of_the_machine_is_plausible() -> None:
    look = machine.look()
    assert look.memory_bytes is not None
    assert look.available_bytes is not None
    assert 0 < look.available_bytes <= look.memory_bytes
    assert look.cores >= 1
    assert look.java.version
    assert look.envoy.version
    assert look.jars_wanted > 40
