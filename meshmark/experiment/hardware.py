"""A run's hardware: the scale that this machine carries, and limits that are held through a round and probed at once.

    with limited(bench, limits):
        ...trials...

Each limit is probed after all of them are set, by trying more than it allows: CPU by threads that spin inside the
quota, disks by writes through the page cache, links by TCP past the sidecars. A limit that is not what it should be,
within 5 %, ends the run: whatever it measured would be of another machine.

Limits: probes go before the load, on idle brokers; while the load runs, utilisation tells whether a limit is met.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from meshmark.analysis.hardware import beyond, bounds, largest_scale, least_scale, most_capped, of_load
from meshmark.clock import Clock
from meshmark.cluster import Limitable, Process, Testbed, limitable
from meshmark.errors import ComponentFailed, LabError, MissingRequirement
from meshmark.experiment.trial import Bench
from meshmark.hardware import CPUS_MIN, TOLERANCE, Bound, Hardware, LimitProbe
from meshmark.plan import Plan
from meshmark.planfile import find_profile
from meshmark.planfile.hardware import require_volumes
from meshmark.planfile.profiles import RECORDED
from meshmark.profile import SMALL_WRITE_BYTES, SMALL_WRITERS, Profile
from meshmark.record import DiskProbe, HostFacts, Limit, NetworkProbe
from meshmark.units import mb, number, percent

TRIES = 3
CPU_SECONDS, CPU_SETTLE_S = 3.0, 0.3
"""A quota is refilled ten times a second: at the edges of so many seconds that is an error of 3 % at most."""
DISK_SECONDS, DISK_WRITERS, WRITE_BYTES = 3.0, 2, 65_536
NETWORK_SECONDS, FLOWS = 1.5, 2
FRAME, FRAME_PAYLOAD = 1_514, 1_448
"""Of a full TCP segment with timestamps (RFC 7323) at MTU 1500: links are limited in frames."""
ANSWER_TIMEOUT_S = 60.0
FIGURES = {
    "cpu": "containerCpus and sidecarCpus of all hosts",
    "disk": "disk.writeBytesS of all brokers",
    "operations": "disk.operationsS of all brokers",
    "network": "network.bytesS of all brokers, or of a client if that is more",
}
FOUND = {
    "cpu": "the CPUs that meshmark may run on",
    "disk": "what the environment's probe of buffered writes found",
    "operations": "what the environment's probe of single pages found",
    "network": "what the environment's probe of several TCP flows found",
}

Measure = Callable[[Sequence[Limit]], Mapping[Limit, float]]


def cpus_to_give(host: HostFacts) -> int:
    """Those that hosts may run on: fewer than there are where meshmark was bound to some (taskset, a cpuset)."""
    return host.cpus_allowed or host.cpus


def settle_hardware(plan: Plan, cpus: int, probes: Sequence[DiskProbe | NetworkProbe] = ()) -> Hardware | None:
    """None for a plan without a profile. Raises MissingRequirement if the machine has too little for the scale; with
    the environment's probes of disk and network too, without them of its CPUs alone."""
    if not plan.profile:
        return None
    profile = find_profile(plan.profile)
    found = bounds(profile, plan, cpus, probes)
    scale = largest_scale(found) if plan.scale == "auto" else plan.scale
    if (short := beyond(found, scale)) is not None:
        raise MissingRequirement(
            f"profile {profile.name} at scale {scale:g} gives out {_amount(short, short.needed * scale)} "
            f"({FIGURES[short.resource]}); this machine has {_amount(short, short.available)} to give, four fifths of "
            f"{FOUND[short.resource]}",
            hint=f"Use --scale auto, or at most {largest_scale(found):g}.",
        )
    _require_quotas(plan, profile, scale)
    require_volumes(plan, profile, scale)
    caps = most_capped(plan, cpus, probes)
    if caps is not None and beyond([caps], 1.0):
        raise MissingRequirement(
            f"the largest cluster.diskWriteBytesS gives out {_amount(caps, caps.needed)} to all brokers; this machine "
            f"has {_amount(caps, caps.available)} to give, which is {FOUND['disk']}",
            hint="Leave that scenario out (--only), or lower its cap, so that all brokers' together are less.",
        )
    return Hardware(profile=profile, asked=plan.scale, scale=scale, bounds=found)


def _require_quotas(plan: Plan, profile: Profile, scale: float) -> None:
    least = least_scale(profile, plan)
    if scale >= least:
        return
    raise MissingRequirement(
        f"profile {profile.name} at scale {scale:g} gives a container less than {CPUS_MIN:g} CPUs, the least "
        "that a quota can be",
        hint=f"Use --scale {least:g} or more."
        if plan.scale != "auto"
        else f"This machine has too little for it: it takes a scale of {least:g} or more.",
    )


def with_recorded_profile(plan: Plan, directory: Path) -> Plan:
    """The plan of a run in that directory, with the profile that is recorded there: its file may change meanwhile."""
    return plan.model_copy(update={"profile": str(directory / RECORDED)})


def _amount(bound: Bound, value: float) -> str:
    if bound.resource == "cpu":
        return f"{number(value)} CPUs"
    if bound.resource == "operations":
        return f"{number(value)} writes a second to disks"
    return f"{mb(value)} MB/s of {bound.resource}"


def told(hardware: Hardware) -> str:
    """The scale and what it comes from, in a line."""
    name = hardware.profile.name
    if not hardware.bounds:
        return f"hardware {name}: nothing is limited but what scenarios say themselves"
    allowed = ", ".join(f"{bound.resource} {largest_scale([bound]):g}" for bound in hardware.bounds)
    chosen = "auto" if hardware.asked == "auto" else "as asked"
    return f"hardware {name} at scale {hardware.scale:g} ({chosen}; this machine allows: {allowed})"


@contextmanager
def limited(bench: Bench, limits: Sequence[Limit]) -> Iterator[None]:
    """Holds all limits, each of which was found to hold and recorded; those of load workers, which come with each
    trial, are only probed. Raises LabError for one that does not hold."""
    if not limits:
        yield
        return
    power = limitable(bench.cluster)
    with ExitStack() as stack:
        with ExitStack() as spinning:
            spinners = {
                limit: spinning.enter_context(_spinner(bench.cluster, limit))
                for limit in limits
                if limit.resource == "cpu"
            }
            own = of_load(limits)
            for limit in limits:
                (spinning if limit in own else stack).enter_context(power.limit(limit))
            bench.progress.phase("probing the limits")
            probes = _probe_all(bench, power, limits, spinners)
        for probe in probes:
            bench.writer.limit(probe)
        _refuse_wrong(probes)
        yield


def _probe_all(
    bench: Bench, power: Limitable, limits: Sequence[Limit], spinners: Mapping[Limit, Process]
) -> list[LimitProbe]:
    """One resource after the other; of each, all hosts at once. CPU of brokers and sidecars before that of clients:
    together they may be given most of what the machine has, and something must be left to see it."""

    def spun(wanted: Sequence[Limit]) -> Mapping[Limit, float]:
        return _cpu(bench.clock, power, {limit: spinners[limit] for limit in wanted})

    def written(wanted: Sequence[Limit]) -> Mapping[Limit, float]:
        return _disks(bench.cluster, power, wanted)

    def carried(wanted: Sequence[Limit]) -> Mapping[Limit, float]:
        return _links(bench.cluster, power, wanted)

    turns: dict[str, Measure] = {
        "cpu": spun,
        "load": spun,
        "disk": written,
        "operations": written,
        "network": carried,
    }
    found: list[LimitProbe] = []
    for turn, measure in turns.items():
        waiting = [limit for limit in limits if _turn(limit) == turn]
        for tries in range(1, TRIES + 1):
            measured = measure(waiting) if waiting else {}
            probes = [LimitProbe(limit=limit, measured=measured[limit], tries=tries) for limit in waiting]
            found += [probe for probe in probes if probe.holds or tries == TRIES]
            waiting = [probe.limit for probe in probes if not probe.holds]
    return found


def _turn(limit: Limit) -> str:
    return "load" if of_load([limit]) else limit.resource


def _refuse_wrong(probes: Sequence[LimitProbe]) -> None:
    wrong = [probe for probe in probes if not probe.holds]
    if not wrong:
        return
    worst = max(wrong, key=lambda probe: abs(probe.error))
    limit = worst.limit
    unit = {"cpu": "CPUs", "operations": "a second"}.get(limit.resource, "MB/s")
    should, found = (mb(value) if unit == "MB/s" else number(value) for value in (limit.amount, worst.measured))
    what = f"{limit.component} CPU" if limit.resource == "cpu" else limit.resource
    raise LabError(
        f"the limit of {limit.host}'s {what} does not hold: {should} {unit} were set, a probe found {found} "
        f"({percent(worst.error, signed=True)}; {percent(TOLERANCE)} are allowed)",
        hint="Other work on the machine takes what a limit leaves: end it, or use a smaller --scale."
        if worst.error < 0
        else "The kernel does not enforce it here; run without the profile.",
    )


@contextmanager
def _spinner(testbed: Testbed, limit: Limit) -> Iterator[Process]:
    argv = ["python", "-m", "meshmark.load.probe_cpu", "--threads", str(math.ceil(limit.amount) + 1)]
    name = f"limit-cpu-{limit.component}"
    with testbed.spawn(limit.host, argv, name=name, component=limit.component) as process:
        _answer(process)
        yield process


def _cpu(clock: Clock, power: Limitable, spinners: Mapping[Limit, Process]) -> dict[Limit, float]:
    """CPUs that each component got, whatever of it took them. Nothing else is read meanwhile: a broker that has to
    share its quota with who spins answers late."""
    for process in spinners.values():
        process.send_line("spin")
    clock.sleep(CPU_SETTLE_S)
    before = {limit: _used(clock, power, limit) for limit in spinners}
    clock.sleep(CPU_SECONDS)
    after = {limit: _used(clock, power, limit) for limit in spinners}
    for process in spinners.values():
        process.send_line("stop")
    return {limit: (after[limit][1] - before[limit][1]) / (after[limit][0] - before[limit][0]) for limit in spinners}


def _used(clock: Clock, power: Limitable, limit: Limit) -> tuple[float, float]:
    """When, and CPU seconds until then."""
    return clock.now(), power.cpu_s(limit.host, limit.component)


def _disks(testbed: Testbed, power: Limitable, limits: Sequence[Limit]) -> dict[Limit, float]:
    """Bytes a second through the page cache, or writes a second of single pages past it."""
    with ExitStack() as stack:
        processes = {}
        for limit in limits:
            argv = ["python", "-m", "meshmark.load.probe_disk", "--directory", str(power.volume(limit.host))]
            # As the broker: with cgroup v2 the limit is of its group.
            process = testbed.spawn(limit.host, [*argv, *_writes(limit)], name="limit-disk", component="kafka")
            processes[limit] = stack.enter_context(process)
        return {limit: _written(limit, _answer(process)) for limit, process in processes.items()}


def _writes(limit: Limit) -> list[str]:
    small = limit.resource == "operations"
    size, writers = (SMALL_WRITE_BYTES, SMALL_WRITERS) if small else (WRITE_BYTES, DISK_WRITERS)
    most = limit.amount * DISK_SECONDS * 2 * (size if small else 1)
    shape = ["--mode", "direct" if small else "buffered", "--writers", str(writers), "--write-bytes", str(size)]
    return [*shape, "--seconds", str(DISK_SECONDS), "--bytes-max", str(round(most)), "--first"]


def _written(limit: Limit, answer: Mapping[str, float]) -> float:
    return answer["writes" if limit.resource == "operations" else "bytes"] / answer["seconds"]


def _links(testbed: Testbed, power: Limitable, limits: Sequence[Limit]) -> dict[Limit, float]:
    """Brokers each to the next, all at once; then each client to all brokers, and back. Of a link's two directions
    the one that is further off."""
    wanted = {limit.host: limit for limit in limits}
    brokers = testbed.broker_hosts
    ways: dict[str, list[float]] = {host: [] for host in wanted}
    if wanted.keys() & set(brokers):
        ring = {host: brokers[(place + 1) % len(brokers)] for place, host in enumerate(brokers)}
        carried = _flows(testbed, power, list(ring.items()))
        for source, target in ring.items():
            for end in {source, target} & wanted.keys():
                ways[end].append(carried[target])
    for client in (host for host in testbed.client_hosts if host in wanted):
        sent = _flows(testbed, power, [(client, broker) for broker in brokers])
        received = _flows(testbed, power, [(broker, client) for broker in brokers])
        ways[client] = [sum(sent.values()), received[client]]
    return {
        limit: max(ways[host], key=lambda rate, amount=limit.amount: abs(rate - amount))  # type: ignore[misc]
        for host, limit in wanted.items()
    }


def _flows(testbed: Testbed, power: Limitable, pairs: Sequence[tuple[str, str]]) -> dict[str, float]:
    """Target -> bytes of frames a second that came to it from all of its sources, all pairs at once."""
    module, seconds = ["python", "-m", "meshmark.load.probe_network"], ["--seconds", str(NETWORK_SECONDS), "--first"]
    targets = dict.fromkeys(target for _, target in pairs)
    with ExitStack() as stack:
        receivers = {}
        for target in targets:
            flows = FLOWS * sum(each == target for _, each in pairs)
            argv = [*module, "receive", "--port", str(power.probe_port), "--flows", str(flows), *seconds]
            receivers[target] = stack.enter_context(
                testbed.spawn(target, argv, name="limit-receive", component="meshmark")
            )
        for receiver in receivers.values():
            _answer(receiver)
        for source, target in pairs:
            to = f"{testbed.address(target)}:{power.probe_port}"
            argv = [*module, "send", "--to", to, "--flows", str(FLOWS), *seconds]
            stack.enter_context(testbed.spawn(source, argv, name=f"limit-send-{target}", component="meshmark"))
        return {target: _rate(_answer(each)) * FRAME / FRAME_PAYLOAD for target, each in receivers.items()}


def _rate(answer: Mapping[str, float]) -> float:
    return answer["bytes"] / answer["seconds"]


def _answer(process: Process) -> Mapping[str, float]:
    line = process.read_line(ANSWER_TIMEOUT_S)
    answer: dict[str, float] = json.loads(line or '{"error": "no answer in time"}')
    if "error" in answer:
        raise ComponentFailed(
            f"the probe {process.name} on {process.host} failed: {answer['error']}",
            component=process.name,
            hint="Its log is in the run directory.",
        )
    return answer
