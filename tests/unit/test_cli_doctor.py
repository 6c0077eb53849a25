"""What `doctor` says of a machine, one lacking thing at a time."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from meshmark import planfile
from meshmark.cli import app, doctor, machine
from meshmark.cli.doctor import Check, Needs
from meshmark.cli.machine import Machine, Part
from meshmark.errors import MissingRequirement

GB = 10**9
NEEDS = Needs(memory_bytes=5 * GB, disk_bytes=30 * GB, memory_log_bytes=0)
FINE = Machine(
    system="Linux",
    architecture="x86_64",
    libc="glibc 2.36",
    root=True,
    kernel={"namespaces": "", "hosts": "", "interception": "", "netem": "", "tun": ""},
    perf="",
    cgroup="v2",
    limits={"cpu": Part(version="can be set"), "disk": Part(version="can be set")},
    pressure=True,
    cores=2,
    memory_bytes=16 * GB,
    available_bytes=12 * GB,
    load_1min=0.1,
    steal_share=0.0,
    work_directory="somewhere",
    free_bytes=100 * GB,
    java=Part(version="25.0.2"),
    envoy=Part(version="1.40.0"),
    packages={name: Part(version="1.0") for name in machine.PACKAGES},
    jars_there=44,
    jars_wanted=44,
)


def differing(**changes: Any) -> Machine:
    return dataclasses.replace(FINE, **changes)


def without(feature: str, reason: str = "Operation not permitted") -> dict[str, str]:
    return {**FINE.kernel, feature: reason}


def only_bad(look: Machine, wanted: Needs = NEEDS) -> Check:
    (bad,) = (check for check in doctor.checks(look, wanted) if check.status != "ok")
    return bad


def test_a_machine_with_everything_passes_every_check() -> None:
    results = doctor.checks(FINE, NEEDS)
    assert {check.status for check in results} == {"ok"}
    assert doctor.missing(results) == []
    assert doctor.as_table(results).endswith("everything that a run needs is here")


@pytest.mark.parametrize(
    ("look", "name", "hint"),
    [
        (differing(system="Darwin"), "system", "Linux on x86_64"),
        (differing(architecture="aarch64"), "system", "Linux on x86_64"),
        (differing(libc=""), "system", "glibc"),
        (differing(root=False, kernel=without("namespaces")), "privileges", "Run as root"),
        (differing(kernel=without("hosts")), "veth, bridge", "CONFIG_VETH"),
        (differing(kernel=without("interception")), "nftables", "CONFIG_NFT_REDIR"),
        (differing(available_bytes=4 * GB), "memory", "heapBytes"),
        (differing(free_bytes=29 * GB), "free disk", "MESHMARK_WORK_DIR"),
        (differing(java=Part(problem="no Java runtime", hint="Install Java.")), "Java", "Install Java."),
        (differing(envoy=Part(problem="no Envoy", hint="Install Envoy.")), "Envoy", "Install Envoy."),
        (
            differing(packages={**FINE.packages, "pyroute2": Part(problem="not installed", hint="Install it.")}),
            "pyroute2",
            "Install it.",
        ),
    ],
)
def test_what_is_needed_and_missing_stops_a_run(look: Machine, name: str, hint: str) -> None:
    bad = only_bad(look)
    assert (bad.name, bad.status, bad.needed) == (name, "missing", True)
    assert hint in bad.hint
    assert doctor.missing(doctor.checks(look, NEEDS)) == [bad]


@pytest.mark.parametrize(
    ("look", "name"),
    [
        (differing(kernel=without("netem")), "netem"),
        (differing(kernel=without("tun")), "/dev/net/tun"),
        (differing(cgroup="none"), "cgroups"),
        (differing(limits={**FINE.limits, "cpu": Part(problem="no", hint="Run as root.")}), "limits of CPU"),
        (differing(limits={**FINE.limits, "disk": Part(problem="no", hint="Run as root.")}), "limits of disks"),
        (differing(pressure=False), "pressure (PSI)"),
        (differing(perf="perf is not installed"), "perf"),
        (differing(cores=1), "cores"),
        (differing(load_1min=3.0), "other load"),
        (differing(steal_share=0.1), "steal"),
        (differing(steal_share=None), "steal"),
        (differing(jars_there=3), "Kafka"),
    ],
)
def test_what_is_only_wished_for_is_told_and_stops_nothing(look: Machine, name: str) -> None:
    bad = only_bad(look)
    assert (bad.name, bad.status, bad.needed) == (name, "warning", False)
    assert bad.hint
    assert doctor.missing(doctor.checks(look, NEEDS)) == []
    assert "(not needed)" in doctor.as_table([bad])


def test_a_plan_that_samples_the_cpu_needs_perf() -> None:
    wanted = dataclasses.replace(NEEDS, perf=True)
    bad = only_bad(differing(perf="perf failed: No permission"), wanted)
    assert (bad.name, bad.status, bad.needed) == ("perf", "missing", True)
    assert "linux-perf" in bad.hint
    assert not doctor.needs(planfile.builtin("banzai-2019")).perf
    assert doctor.needs(planfile.sampled(planfile.builtin("banzai-2019"))).perf


FAR = """name: far
cluster:
  topology:
    clusters: [{name: a, brokers: 2, clients: 1}, {name: b, brokers: 1}]
    links: [{ends: [a, b], rttMs: 7}]
scenarios: [plain]
"""


def test_a_plan_with_links_needs_a_relay_where_there_is_no_netem() -> None:
    wanted = doctor.needs(planfile.loads(FAR, "f"))
    neither = {**FINE.kernel, "netem": "No such file", "tun": "Operation not permitted"}
    (bad,) = doctor.missing(doctor.checks(differing(kernel=neither), wanted))
    assert (bad.name, bad.found) == ("/dev/net/tun", "refused: Operation not permitted")
    assert "Run as root" in bad.hint
    assert doctor.missing(doctor.checks(differing(kernel=neither), NEEDS)) == []
    for one in ("netem", "tun"):
        assert doctor.missing(doctor.checks(differing(kernel=without(one)), wanted)) == [], one


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ("", []),
        ("profile: unlimited\n", []),
        ("profile: eks-r5.4xlarge-io1\n", ["limits of CPU", "limits of disks"]),
        ("profile: unlimited\ncluster: {diskWriteBytesS: 1e6}\n", ["limits of CPU", "limits of disks"]),
        ("explainBlocks: 3\n", ["limits of CPU"]),
    ],
)
def test_a_plan_that_limits_hosts_needs_the_power_to(changes: str, needed: list[str]) -> None:
    plan = planfile.furnished(planfile.loads(f"name: x\nscenarios: [plain]\n{changes}", "f"))
    refused = Part(problem="the controller cannot be had", hint="Run as root.")
    without_power = differing(limits=dict.fromkeys(FINE.limits, refused))
    assert [check.name for check in doctor.missing(doctor.checks(without_power, doctor.needs(plan)))] == needed
    assert {check.needed for check in doctor.checks(FINE, doctor.needs(plan)) if check.name in needed} <= {True}


def test_a_plan_file_s_limits_are_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "limited.yaml"
    file.write_text("name: x\nscenarios: [plain]\nprofile: eks-r5.4xlarge-io1\n", encoding="utf-8")
    look = differing(limits={**FINE.limits, "disk": Part(problem="no controller", hint="Run as root.")})
    monkeypatch.setattr(machine, "look", lambda **_: look)
    assert app.main(["doctor", str(file)]) == 1
    assert "missing: limits of disks" in capsys.readouterr().out


@pytest.mark.parametrize(("cgroup", "unproven"), [("v1", False), ("v2", True), ("hybrid", False)])
def test_limits_that_no_kernel_was_tried_with_are_told(cgroup: str, unproven: bool) -> None:
    (told,) = (check for check in doctor.checks(differing(cgroup=cgroup), NEEDS) if check.name == "cgroups")
    assert told.status == "ok"
    assert ("tested on files alone" in told.found) is unproven


def test_that_links_were_never_run_with_netem_is_told_where_it_would_be_taken() -> None:
    def told(look: Machine) -> str:
        return next(check.found for check in doctor.checks(look, NEEDS) if check.name == "netem")

    assert "links were never run with it" in told(FINE)
    assert told(differing(kernel=without("netem"))) == "refused: Operation not permitted"


def test_features_that_could_not_be_tried_are_not_taken_for_working() -> None:
    refused = doctor.checks(differing(root=False, kernel={"namespaces": "Operation not permitted"}), NEEDS)
    assert [check.name for check in doctor.missing(refused)] == ["privileges", "veth, bridge", "nftables"]
    assert [check.name for check in doctor.missing(doctor.checks(differing(kernel={}), NEEDS))] == [
        "privileges",
        "veth, bridge",
        "nftables",
    ]


def test_jars_are_needed_where_nothing_may_be_downloaded() -> None:
    bad = only_bad(differing(jars_there=3), dataclasses.replace(NEEDS, offline=True))
    assert (bad.name, bad.status, bad.needed) == ("Kafka", "missing", True)
    assert "3 of 44 jars" in bad.found


def test_logs_in_memory_count_as_memory_and_not_as_disk() -> None:
    plan = planfile.loads("name: x\nlogBudgetBytes: 9000000000\ncluster: {storage: ram}\nscenarios: [plain]", "f")
    wanted = doctor.needs(plan)
    assert (wanted.disk_bytes, wanted.memory_log_bytes) == (0, 9 * GB)
    assert only_bad(differing(free_bytes=GB), wanted).name == "memory"


def test_file_systems_of_brokers_own_count_as_disk_with_what_they_take_themselves() -> None:
    plan = planfile.loads("name: x\nlogBudgetBytes: 9000000000\ncluster: {storage: image}\nscenarios: [plain]", "f")
    assert doctor.needs(plan).disk_bytes == 3 * (3_300_000_000 + 400_000_000)


def test_the_largest_scenario_says_how_much_memory_is_needed() -> None:
    small = planfile.loads("name: x\nscenarios: [plain]", "f")
    large = planfile.loads(
        "name: x\nscenarios: [plain, {name: big, dataPlane: plain, cluster: {brokers: 5, heapBytes: 4000000000}}]", "f"
    )
    assert doctor.needs(large).memory_bytes - doctor.needs(small).memory_bytes > 16 * GB
    assert doctor.needs(small).disk_bytes == small.log_budget_bytes


def test_a_run_is_refused_with_everything_that_is_missing_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    look = differing(free_bytes=GB, java=Part(problem="no Java runtime", hint="Install Java."))
    monkeypatch.setattr(machine, "look", lambda **_: look)
    with pytest.raises(MissingRequirement) as caught:
        doctor.require(planfile.builtin("banzai-2019"))
    text = str(caught.value)
    assert "nothing has been changed" in text
    assert "free disk: 1.0 GB at somewhere" in text
    assert "Java: no Java runtime\n  Install Java." in text


@pytest.mark.parametrize(("look", "code"), [(FINE, 0), (differing(cores=1), 0), (differing(free_bytes=0), 1)])
def test_the_verb_says_no_only_where_something_needed_is_missing(
    look: Machine, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine, "look", lambda **_: look)
    assert app.main(["doctor"]) == code
    table = capsys.readouterr().out
    assert ("missing: free disk" in table) == bool(code)
    assert app.main(["doctor", "-o", "json"]) == code
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] == (code == 0)
    assert {check["group"] for check in told["checks"]} == {"kernel and privileges", "machine", "parts"}
    assert set(told["checks"][0]) == {"group", "name", "needed", "status", "found", "hint"}


def test_the_table_shows_groups_signs_and_hints() -> None:
    lines = doctor.as_table(doctor.checks(differing(cores=1, free_bytes=0), NEEDS)).splitlines()
    assert lines[0] == "kernel and privileges"
    (cores,) = (at for at, line in enumerate(lines) if " cores " in line)
    assert lines[cores].startswith("  ‼ cores")
    assert "On one core" in lines[cores + 1]
    (disk,) = (line for line in lines if " free disk " in line)
    assert disk.startswith("  × free disk")
    assert lines[-1] == "missing: free disk"


@pytest.mark.parametrize(
    ("mounts", "version"),
    [
        ("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n", "v2"),
        ("cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n", "v1"),
        ("cgroup /c cgroup rw,cpu 0 0\ncgroup2 /c/unified cgroup2 rw 0 0\n", "hybrid"),
        ("tmpfs /cgroup tmpfs rw 0 0\n\n", "none"),
    ],
)
def test_the_cgroup_version_is_what_is_mounted(mounts: str, version: str) -> None:
    assert machine.cgroup_version(mounts) == version


@pytest.mark.parametrize(
    ("stat", "share"),
    [
        ("cpu  10 0 10 60 0 0 0 20 5 0\ncpu0 1\n", 0.2),
        ("cpu  0 0 0 0 0 0 0 0 0 0\n", None),
        ("cpu  1 2 3 4\n", None),
        ("", None),
    ],
)
def test_steal_is_a_share_of_all_cpu_time_guests_not_counted_twice(stat: str, share: float | None) -> None:
    assert machine.steal_share(stat) == share
