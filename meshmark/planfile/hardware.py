"""A plan with a hardware profile: what the command line says of it, and what a run needs for it.

A profile that limits disks, or a scenario that says what its own take, gives each broker a file system of its own
(storage `image`). Where its logs are in RAM, everything but the disk is limited: what a full disk hides shows there.
What cannot be limited, or not be probed, is refused here, before anything is started.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from meshmark.errors import NoSpace, UsageError
from meshmark.plan import LOG_BUDGET_BYTES_MIN, SCENARIO_NAME_LENGTH, Plan, Scenario
from meshmark.planfile.profiles import find_profile
from meshmark.profile import Profile
from meshmark.units import GB, number

Limited = Literal["cpu", "disk"]

AUTO = "auto"
DISKS = ("capped", "ram", "both")
RAM_SUFFIX = "-ram"
RAM_LOG_BYTES = 6_000_000_000
"""Of all brokers' logs in RAM at once, unless the plan has less: some seconds at the rates of a small machine."""

IMAGE_ROOM = 1.1
IMAGE_FIXED_BYTES = 400_000_000
"""A broker's own file system holds its part of the logs, the metadata log, and ext4's journal and tables."""


def equipped(plan: Plan, profile: str | None, scale: str | None) -> Plan:
    """The plan with the profile and the scale that are given. Raises UsageError for a scale that cannot be meant."""
    name = plan.profile if profile is None else profile
    if scale is not None and not name:
        raise UsageError("--scale goes with a profile", hint="give --profile too (`meshmark profile list`)")
    factor = plan.scale if scale is None else _scale(scale)
    return plan.model_copy(update={"profile": name, "scale": factor})


def _scale(text: str) -> float | str:
    if text == AUTO:
        return AUTO
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 0 < factor <= 1:
        raise UsageError(f"--scale {text} is not allowed", hint="it takes auto, or a number above 0 and at most 1")
    return factor


def unmasked(plan: Plan, disk: str | None) -> Plan:
    """The plan with its logs on the profile's disks (capped), in RAM, or each scenario with both; those in RAM are
    named and compared apart. Raises UsageError for anything else, and where there is nothing to choose: without a
    profile, with one that limits nothing, and for its disks where none has a limit."""
    if disk is None:
        return plan
    if disk not in DISKS:
        raise UsageError(f"--disk {disk} is not allowed", hint=f"it takes {', '.join(DISKS)}")
    if not plan.profile:
        raise UsageError("--disk goes with a profile", hint="give --profile too (`meshmark profile list`)")
    if not limits_hosts(plan):
        raise UsageError(
            f"--disk goes with a profile that limits something; {plan.profile} limits nothing",
            hint="take another --profile (`meshmark profile list`), or leave out --disk and set cluster.storage",
        )
    limited = find_profile(plan.profile).broker.disk
    if disk != "ram" and not _capped(plan) and (limited is None or limited.write_bytes_s is None):
        raise UsageError(
            f"--disk {disk}: the profile {plan.profile} limits no disk (disk.writeBytesS)",
            hint="take a profile that does (`meshmark profile list`), --disk ram, or leave out --disk",
        )
    if disk == "capped":
        return plan
    if capped := _capped(plan):
        raise UsageError(
            f"--disk {disk} and cluster.diskWriteBytesS exclude each other: RAM takes what it can",
            hint=f"leave out --disk, or the cap of {capped[0].name}",
        )
    in_ram = tuple(_in_ram(scenario, plan.baseline_of(scenario)) for scenario in plan.scenarios)
    kept = plan.scenarios if disk == "both" else ()
    _require_names(disk, kept, in_ram)
    return plan.model_copy(
        update={
            "scenarios": (*kept, *in_ram),
            "baseline": plan.baseline if kept else plan.baseline + RAM_SUFFIX,
            "log_budget_bytes": min(plan.log_budget_bytes, RAM_LOG_BYTES),
        }
    )


def _require_names(disk: str, kept: Sequence[Scenario], in_ram: Sequence[Scenario]) -> None:
    """Of scenarios that the command line names."""
    taken = {scenario.name for scenario in kept}
    for name in (scenario.name for scenario in in_ram):
        if len(name) > SCENARIO_NAME_LENGTH:
            raise UsageError(
                f"--disk {disk} names a scenario {name}, which is longer than {SCENARIO_NAME_LENGTH} characters",
                hint=f"give {name.removesuffix(RAM_SUFFIX)} a shorter name in the plan",
            )
        if name in taken:
            raise UsageError(
                f"--disk {disk} names a scenario {name}, and the plan has one of that name",
                hint="give that one another name, or leave it out (--only)",
            )
        taken.add(name)


def _in_ram(scenario: Scenario, baseline: str) -> Scenario:
    cluster = scenario.cluster.model_copy(update={"storage": "ram"})
    names = {"name": scenario.name + RAM_SUFFIX, "baseline": baseline + RAM_SUFFIX}
    return scenario.model_copy(update={**names, "cluster": cluster})


def _capped(plan: Plan) -> list[Scenario]:
    """Scenarios that say themselves what a disk takes."""
    return [scenario for scenario in plan.scenarios if scenario.cluster.disk_write_bytes_s is not None]


def limits_hosts(plan: Plan) -> bool:
    """Whether its profile, if it has one, or a scenario limits anything."""
    return bool(plan.profile and (_capped(plan) or find_profile(plan.profile).figures()))


def limits_needed(plan: Plan) -> tuple[Limited, ...]:
    """What a furnished plan takes the power for to limit: CPU, and disks where brokers have some of their own."""
    if not (plan.explain_blocks or limits_hosts(plan)):
        return ()
    own = any(scenario.cluster.storage == "image" for scenario in plan.scenarios)
    return ("cpu", "disk") if own else ("cpu",)


def brokers_have_quota(plan: Plan) -> bool:
    """Of CPU."""
    return bool(plan.profile and find_profile(plan.profile).broker.container_cpus)


def kinds_limited(plan: Plan, scenario: Scenario) -> int:
    """How many kinds of limits its rounds have; one after the other is probed: CPU of brokers and sidecars, of load
    workers, bytes and operations of disks, network."""
    if not plan.profile:
        return 0
    profile = find_profile(plan.profile)
    broker, kinds = profile.broker, (profile.broker, profile.client)
    on_disk = scenario.cluster.storage != "ram"
    own = scenario.cluster.disk_write_bytes_s
    return (
        bool(broker.container_cpus or (scenario.data_plane.sidecars and any(kind.sidecar_cpus for kind in kinds)))
        + bool(profile.client.container_cpus)
        + bool(on_disk and (own or (broker.disk and broker.disk.write_bytes_s)))
        + _limits_operations(scenario, profile)
        + any(kind.network and kind.network.bytes_s for kind in kinds)
    )


def limits_operations(plan: Plan) -> bool:
    """Whether any scenario's disks are limited in operations a second."""
    return bool(plan.profile) and any(
        _limits_operations(scenario, find_profile(plan.profile)) for scenario in plan.scenarios
    )


def _limits_operations(scenario: Scenario, profile: Profile) -> bool:
    """A scenario that says itself what its disks take says bytes alone."""
    cluster, disk = scenario.cluster, profile.broker.disk
    return bool(cluster.storage != "ram" and cluster.disk_write_bytes_s is None and disk and disk.operations_s)


def furnished(plan: Plan) -> Plan:
    """The plan as a run needs it. Raises UsageError for a profile that this plan cannot have."""
    capped = _capped(plan)
    if capped and not plan.profile:
        raise UsageError(
            f"cluster.diskWriteBytesS of {capped[0].name} goes with a profile",
            hint="set profile: unlimited, which limits nothing else, or another one",
        )
    if in_ram := [scenario.name for scenario in capped if scenario.cluster.storage == "ram"]:
        raise UsageError(
            f"{in_ram[0]} has its logs in RAM, where cluster.diskWriteBytesS limits nothing",
            hint="leave out one of storage and diskWriteBytesS",
        )
    if not limits_hosts(plan):
        return plan
    profile = find_profile(plan.profile)
    if plan.explain_blocks:
        raise UsageError(
            "a profile and an explanation exclude each other: both take resources away",
            hint="leave out --explain (explainBlocks), or the profile",
        )
    alone = [scenario.name for scenario in plan.scenarios if scenario.cluster.brokers < 2]
    if alone and profile.figures():
        raise UsageError(
            f"a profile needs two brokers at least, to probe their links; {alone[0]} has one", hint="raise brokers"
        )
    apart = [scenario.name for scenario in plan.scenarios if scenario.cluster.topology.clusters]
    if apart and any(kind.network and kind.network.bytes_s for kind in (profile.broker, profile.client)):
        raise UsageError(
            f"a profile with a network and a topology exclude each other: {apart[0]} has links of its own, over which "
            "hosts' networks cannot be probed",
            hint="leave out cluster.topology, or take a profile without network, such as examples/document-disks.yaml",
        )
    environment = plan.environment
    if plan.scale == AUTO and not (environment.disk_seconds and environment.network_seconds):
        raise UsageError(
            "scale auto needs the environment's probes of disk and network, which the plan leaves out",
            hint="set environment.diskSeconds and networkSeconds above 0, or give a scale",
        )
    disk = profile.broker.disk
    limits_all = disk is not None and disk.write_bytes_s is not None
    on_disk = [each for each in plan.scenarios if each not in capped and each.cluster.storage != "ram"]
    if on_disk and disk is not None and disk.operations_s and not limits_all:
        raise UsageError(
            f"the profile {profile.name} limits the operations of disks (disk.operationsS) and not their bytes, from "
            f"which follows how much of the logs of {on_disk[0].name} may wait in memory",
            hint="give broker.disk.writeBytesS too, leave out operationsS, or have logs in RAM (--disk ram)",
        )
    changed = plan.model_copy(
        update={"scenarios": tuple(_with_disk(scenario, limits_all=limits_all) for scenario in plan.scenarios)}
    )
    if isinstance(plan.scale, float):
        require_volumes(changed, profile, plan.scale)
    return changed


def image_bytes(log_budget_bytes: int, brokers: int) -> int:
    """Size of one broker's own file system (storage `image`)."""
    return round(log_budget_bytes / brokers * IMAGE_ROOM) + IMAGE_FIXED_BYTES


def log_bytes(plan: Plan, scenario: Scenario) -> int:
    """What a scenario's logs may take of a disk, file systems of brokers' own included."""
    cluster = scenario.cluster
    if cluster.storage == "image":
        return cluster.brokers * image_bytes(plan.log_budget_bytes, cluster.brokers)
    return plan.log_budget_bytes if cluster.storage == "disk" else 0


def require_volumes(plan: Plan, profile: Profile, scale: float) -> None:
    """Raises NoSpace for a plan whose brokers' file systems are larger than the profile's disk at that scale."""
    disk = profile.broker.disk
    if disk is None or disk.size_bytes is None:
        return
    size = disk.size_bytes.value * scale
    for scenario in plan.scenarios:
        brokers = scenario.cluster.brokers
        needed = image_bytes(plan.log_budget_bytes, brokers)
        if scenario.cluster.storage != "image" or needed <= size:
            continue
        most = int((size - IMAGE_FIXED_BYTES) / IMAGE_ROOM * brokers)
        lower = f"lower logBudgetBytes in the plan to {most:,}, or " if most >= LOG_BUDGET_BYTES_MIN else ""
        raise NoSpace(
            f"profile {profile.name} at scale {scale:g} has {number(size / GB)} GB of disk for each broker (sizeBytes "
            f"x scale); the logs of {scenario.name} may take {number(needed / GB)} GB, file system included",
            hint=f"{lower}use a larger --scale",
        )


def _with_disk(scenario: Scenario, *, limits_all: bool) -> Scenario:
    """Of each broker's own where it is limited."""
    if scenario.cluster.storage == "ram" or not (limits_all or scenario.cluster.disk_write_bytes_s):
        return scenario
    return scenario.model_copy(update={"cluster": scenario.cluster.model_copy(update={"storage": "image"})})
