"""`meshmark doctor`: is there what a run in the lab needs, and if not, what to do.

Checks are pure functions of the machine (`machine.Machine`) and of what a plan needs. `run` and `up` make the needed
ones first and stop before anything has been changed.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from meshmark.cli.options import Context, Keeper, Namespace
from meshmark.cli.output import emit
from meshmark.cli.plans import DEFAULT_PLAN, find

if TYPE_CHECKING:
    from meshmark.cli.machine import Machine, Part
    from meshmark.plan import Plan
    from meshmark.planfile.hardware import Limited

SCHEMA_VERSION = 1
EXAMPLES = (
    "\b\nExamples:\n  meshmark doctor\n  meshmark doctor my.yaml -o json\n"
    "  meshmark doctor my.yaml --backend kubernetes --context CTX"
)

Status = Literal["ok", "warning", "missing"]
SIGNS: dict[Status, str] = {"ok": "√", "warning": "‼", "missing": "×"}

# A broker's JVM takes this much beside its heap; the rest is load workers, sidecars and meshmark itself.
JVM_BESIDE_HEAP_BYTES = 400_000_000
REST_BYTES = 800_000_000
STEAL_SHARE_MAX = 0.02
LOAD_PER_CORE_MAX = 0.3
CORES_WANTED = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One line. A needed one that is `missing` stops a run; others only tell."""

    group: Literal["kernel and privileges", "machine", "parts", "cluster", "meshes", "operators"]
    name: str
    needed: bool
    status: Status
    found: str
    hint: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """What a plan takes of a machine at most."""

    memory_bytes: int
    disk_bytes: int
    memory_log_bytes: int
    perf: bool = False
    offline: bool = False
    links: bool = False
    limits: tuple[Limited, ...] = ()


def needs(plan: Plan, *, offline: bool = False) -> Needs:
    from meshmark.planfile.hardware import limits_needed, log_bytes

    memory = max(
        scenario.cluster.brokers * (scenario.cluster.heap_bytes + JVM_BESIDE_HEAP_BYTES) for scenario in plan.scenarios
    )
    stores = {scenario.cluster.storage for scenario in plan.scenarios}
    return Needs(
        memory_bytes=memory + REST_BYTES,
        disk_bytes=max(log_bytes(plan, scenario) for scenario in plan.scenarios),
        memory_log_bytes=plan.log_budget_bytes if "ram" in stores else 0,
        perf=plan.cpu_samples_hz > 0,
        offline=offline,
        links=any(scenario.cluster.topology.links for scenario in plan.scenarios),
        limits=limits_needed(plan),
    )


def checks(machine: Machine, wanted: Needs) -> list[Check]:
    """Every check, in the order in which they are shown."""
    return [check(machine, wanted) for check in CHECKS]


def missing(results: Sequence[Check]) -> list[Check]:
    """Those that stop a run."""
    return [check for check in results if check.needed and check.status == "missing"]


def require(plan: Plan, *, offline: bool = False) -> None:
    """MissingRequirement, with everything that is missing and what to do, if the lab cannot run the plan here."""
    from meshmark.cli.machine import look
    from meshmark.errors import MissingRequirement

    wanted = needs(plan, offline=offline)
    lacking = missing(checks(look(perf=wanted.perf, limits=False), wanted))
    if lacking:
        lines = [f"{check.name}: {check.found}" + (f"\n  {check.hint}" if check.hint else "") for check in lacking]
        raise MissingRequirement(
            "this machine lacks what the run needs; nothing has been changed\n" + "\n".join(lines),
            hint="`meshmark doctor` shows every check",
        )


def doctor(
    plan: Annotated[
        str, typer.Argument(metavar="PLAN", help="Check for what this plan needs: memory, disk, limits, links.")
    ] = DEFAULT_PLAN,
    output: Annotated[str, typer.Option("-o", "--output", metavar="table|json", help="The form.")] = "table",
    backend: Keeper = "lab",
    context: Context = None,
    namespace: Namespace = None,
) -> None:
    """Check whether this machine can run the lab, or a cluster a plan; exit code 1 if something needed is missing."""
    from meshmark.cli import doctor_kubernetes
    from meshmark.errors import UsageError
    from meshmark.planfile import furnished

    if output not in ("table", "json"):
        raise UsageError(f"there is no form {output}", hint="-o takes table or json")
    if backend not in ("lab", "kubernetes"):
        raise UsageError(f"the backend {backend} is not looked at", hint="--backend takes lab or kubernetes")
    if backend == "kubernetes":
        results = doctor_kubernetes.checks_of(find(plan), contexts=context or (), namespace=namespace)
    elif context or namespace:
        raise UsageError("--context and --namespace say nothing to the backend lab", hint="give --backend kubernetes")
    else:
        from meshmark.cli.machine import look

        results = checks(look(), needs(furnished(find(plan))))
    emit(as_json(results) if output == "json" else as_table(results))
    if missing(results):
        raise typer.Exit(1)


def as_json(results: Sequence[Check]) -> str:
    lines = [dataclasses.asdict(check) for check in results]
    return json.dumps({"schema_version": SCHEMA_VERSION, "ok": not missing(results), "checks": lines}, indent=1)


def as_table(results: Sequence[Check]) -> str:
    lines: list[str] = []
    group = ""
    width = max(len(check.name) for check in results)
    for check in results:
        if check.group != group:
            lines += ["", check.group] if group else [check.group]
            group = check.group
        optional = "" if check.needed or check.status == "ok" else " (not needed)"
        lines.append(f"  {SIGNS[check.status]} {check.name:{width}}  {check.found}{optional}")
        if check.hint and check.status != "ok":
            lines.append(f"    {' ' * width}  {check.hint}")
    lacking = missing(results)
    names = ", ".join(check.name for check in lacking)
    return "\n".join([*lines, "", f"missing: {names}" if lacking else "everything that a run needs is here"])


def _system(machine: Machine, _: Needs) -> Check:
    fine = machine.system == "Linux" and machine.architecture == "x86_64" and machine.libc.startswith("glibc")
    return Check(
        group="kernel and privileges",
        name="system",
        needed=True,
        status="ok" if fine else "missing",
        found=f"{machine.system} on {machine.architecture}, {machine.libc or 'no glibc'}",
        hint="Kafka's and Envoy's packages are for Linux on x86_64 with glibc; use such a machine or container.",
    )


def _privileges(machine: Machine, _: Needs) -> Check:
    reason = _reason(machine, "namespaces")
    works = "root" if machine.root else "a user namespace"
    return Check(
        group="kernel and privileges",
        name="privileges",
        needed=True,
        status="missing" if reason else "ok",
        found=reason or works,
        hint="Run as root, or allow user namespaces: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 "
        "(Ubuntu), sysctl -w kernel.unprivileged_userns_clone=1 (older Debian). A container needs --privileged.",
    )


def _kernel_feature(
    name: str, feature: str, works: str, hint: str, *, needed: bool
) -> Callable[[Machine, Needs], Check]:
    def check(machine: Machine, _: Needs) -> Check:
        reason = _reason(machine, feature)
        return Check(
            group="kernel and privileges",
            name=name,
            needed=needed,
            status="ok" if not reason else "missing" if needed else "warning",
            found=reason or works,
            hint=hint,
        )

    return check


def _reason(machine: Machine, feature: str) -> str:
    """Why a feature does not work; empty if it does."""
    if not machine.kernel:
        return "could not be tried: the probing process failed"
    if feature not in machine.kernel:
        return "could not be tried without privileges"
    reason = machine.kernel[feature]
    return f"refused: {reason}" if reason else ""


def _tun(machine: Machine, wanted: Needs) -> Check:
    """Links are made by one of two."""
    reason = _reason(machine, "tun")
    needed = wanted.links and bool(_reason(machine, "netem"))
    return Check(
        group="kernel and privileges",
        name="/dev/net/tun",
        needed=needed,
        status="ok" if not reason else "missing" if needed else "warning",
        found=reason or "works",
        hint="Only links with delay need it, where netem is absent. Run as root, or on a kernel with CONFIG_TUN.",
    )


def _limit(name: str, limited: Limited) -> Callable[[Machine, Needs], Check]:
    def check(machine: Machine, wanted: Needs) -> Check:
        found = machine.limits.get(limited)
        needed = limited in wanted.limits
        problem = found.problem if found else ""
        return Check(
            group="kernel and privileges",
            name=name,
            needed=needed,
            status="missing" if needed and problem else "warning" if problem or (needed and not found) else "ok",
            found=problem or (found.version if found else "not tried"),
            hint=found.hint if found else "",
        )

    return check


def _cgroup(machine: Machine, _: Needs) -> Check:
    there = machine.cgroup != "none"
    unproven = (
        ", whose limits are probed in every round and were tested on files alone" if machine.cgroup == "v2" else ""
    )
    return Check(
        group="kernel and privileges",
        name="cgroups",
        needed=False,
        status="ok" if there else "warning",
        found=machine.cgroup + unproven if there else "not mounted",
        hint="Only limits on CPU and disk need them.",
    )


def _pressure(machine: Machine, _: Needs) -> Check:
    return Check(
        group="kernel and privileges",
        name="pressure (PSI)",
        needed=False,
        status="ok" if machine.pressure else "warning",
        found="there" if machine.pressure else "not there",
        hint="The report then lacks waiting times; boot with psi=1 where the kernel was built with CONFIG_PSI.",
    )


def _perf(machine: Machine, wanted: Needs) -> Check:
    return Check(
        group="kernel and privileges",
        name="perf",
        needed=wanted.perf,
        status="ok" if not machine.perf else "missing" if wanted.perf else "warning",
        found=machine.perf or ("not tried" if machine.perf is None else "samples all CPUs"),
        hint="Only --perf needs it. Install perf of this kernel (Debian: linux-perf, Ubuntu: linux-tools-generic) and "
        "be root; if it still says no: sysctl -w kernel.perf_event_paranoid=-1 kernel.kptr_restrict=0.",
    )


def _cores(machine: Machine, _: Needs) -> Check:
    return Check(
        group="machine",
        name="cores",
        needed=False,
        status="ok" if machine.cores >= CORES_WANTED else "warning",
        found=str(machine.cores),
        hint="On one core brokers, sidecars and load wait for each other; expect a rough table.",
    )


def _memory(machine: Machine, wanted: Needs) -> Check:
    need = wanted.memory_bytes + wanted.memory_log_bytes
    available = machine.available_bytes
    return Check(
        group="machine",
        name="memory",
        needed=True,
        status="ok" if available is None or available >= need else "missing",
        found=f"{_gb(available)} available of {_gb(machine.memory_bytes)}; the plan takes {_gb(need)}",
        hint="End other programs, or lower cluster.heapBytes"
        + (" or logBudgetBytes (storage: ram)" if wanted.memory_log_bytes else "")
        + " in the plan.",
    )


def _disk(machine: Machine, wanted: Needs) -> Check:
    free = machine.free_bytes
    return Check(
        group="machine",
        name="free disk",
        needed=True,
        status="ok" if free is None or free >= wanted.disk_bytes else "missing",
        found=f"{_gb(free)} at {machine.work_directory}; the plan's logs may take {_gb(wanted.disk_bytes)}",
        hint="Free some, set MESHMARK_WORK_DIR to a larger disk, or lower logBudgetBytes in the plan.",
    )


def _quiet(machine: Machine, _: Needs) -> Check:
    busy = machine.load_1min > LOAD_PER_CORE_MAX * machine.cores
    return Check(
        group="machine",
        name="other load",
        needed=False,
        status="warning" if busy else "ok",
        found=f"load average {machine.load_1min:.1f} on {machine.cores} cores",
        hint="Something else uses the CPUs; what is measured now is lower and varies more.",
    )


def _steal(machine: Machine, _: Needs) -> Check:
    share = machine.steal_share
    high = share is not None and share > STEAL_SHARE_MAX
    return Check(
        group="machine",
        name="steal",
        needed=False,
        status="warning" if high or share is None else "ok",
        found="unknown" if share is None else f"{share:.1%} of CPU time since boot went to other guests",
        hint="The hypervisor gives CPU time to others; expect a wide spread over repeats.",
    )


def _part(name: str, part: Callable[[Machine], Part]) -> Callable[[Machine, Needs], Check]:
    def check(machine: Machine, _: Needs) -> Check:
        found = part(machine)
        return Check(
            group="parts",
            name=name,
            needed=True,
            status="missing" if found.problem else "ok",
            found=found.problem or found.version,
            hint=found.hint,
        )

    return check


def _package(name: str) -> Callable[[Machine, Needs], Check]:
    return _part(name, lambda machine: machine.packages[name])


def _jars(machine: Machine, wanted: Needs) -> Check:
    whole = machine.jars_there == machine.jars_wanted
    return Check(
        group="parts",
        name="Kafka",
        needed=wanted.offline,
        status="ok" if whole else "missing" if wanted.offline else "warning",
        found=f"{machine.jars_there} of {machine.jars_wanted} jars in the cache",
        hint="`meshmark fetch` gets them; without --offline the first run does.",
    )


def _gb(value: int | None) -> str:
    from meshmark.units import GB

    return "an unknown amount" if value is None else f"{value / GB:.1f} GB"


CHECKS: tuple[Callable[[Machine, Needs], Check], ...] = (
    _system,
    _privileges,
    _kernel_feature("veth, bridge", "hosts", "work", "CONFIG_VETH and CONFIG_BRIDGE are needed.", needed=True),
    _kernel_feature(
        "nftables",
        "interception",
        "NAT rules work",
        "CONFIG_NF_TABLES, CONFIG_NFT_NAT and CONFIG_NFT_REDIR are needed (modprobe nft_redir, as root).",
        needed=True,
    ),
    _kernel_feature(
        "netem",
        "netem",
        "works, and links were never run with it: it was tested for what it asks of the kernel alone",
        "Only links with delay or loss need it; without, a relay in user space makes them.",
        needed=False,
    ),
    _tun,
    _cgroup,
    _limit("limits of CPU", "cpu"),
    _limit("limits of disks", "disk"),
    _pressure,
    _perf,
    _cores,
    _memory,
    _disk,
    _quiet,
    _steal,
    _part("Java", lambda machine: machine.java),
    _part("Envoy", lambda machine: machine.envoy),
    _jars,
    _package("confluent-kafka"),
    _package("cryptography"),
    _package("pyroute2"),
)
