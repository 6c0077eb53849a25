"""CPU seconds of one window, by component, and whether they add up to the machine's.

The machine's total is elapsed x CPUs - idle - iowait - steal. What no component accounts for (interrupts of an idle
CPU, processes that nobody waited for, a component that could not be read) is `unattributed` and is shown, never booked
to somebody. Softirq and hard interrupt time are part of the kernel's share: without IRQ time accounting the kernel
books them to whatever task they interrupted as well, so softirq is an 'of which' and is never added. More in
docs/explanation/ledger.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from meshmark.analysis.model import CpuPerGb, LedgerLine
from meshmark.plan import Scenario
from meshmark.record import Trial
from meshmark.units import GB

UNUSABLE_SHARE = 0.10
"""A ledger that leaves more than this part of the machine's time unattributed says nothing about components."""

OTHERS = "others"
COMPILERS = "kafka/compilers"
"""Of a broker's JVM, counted within it. They work until the broker is warm, so their time is no price of its load."""
RELAY = "relay"
"""Of a link between clusters: what a wire would be, so no part of the system under test."""
NAMED_OTHERS = 3
"""The largest processes outside meshmark get a line of their own."""

Kind = Literal["user_s", "system_s", "total_s"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cpu:
    """CPU seconds."""

    user_s: float
    system_s: float

    @property
    def total_s(self) -> float:
        return self.user_s + self.system_s

    def less(self, part: Cpu) -> Cpu:
        return Cpu(user_s=self.user_s - part.user_s, system_s=self.system_s - part.system_s)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ledger:
    """None: not measured, or not there in this data plane. `machine` is what the kernel counted as user time and as
    time in the kernel; `busy_s` is elapsed x CPUs less what was not used, the total that must be explained."""

    elapsed_s: float
    cpus: int
    payload_bytes: float
    brokers: Cpu | None
    compilers: Cpu | None
    sidecars: Cpu | None
    gateways: Cpu | None
    clients: Cpu | None
    meshmark: Cpu | None
    kernel: Cpu | None
    others: Cpu | None
    relays: Cpu | None
    machine: Cpu | None
    busy_s: float | None
    softirq_s: float | None
    steal_s: float | None

    @property
    def unattributed_s(self) -> float | None:
        return None if self.busy_s is None else self.busy_s - sum(cpu.total_s for cpu in self._components())

    @property
    def unattributed_share(self) -> float | None:
        unattributed = self.unattributed_s
        return None if unattributed is None or not self.busy_s else unattributed / self.busy_s

    def per_gb(self, kind: Kind) -> CpuPerGb:
        """By GB of payload acknowledged."""
        machine, unattributed = self.busy_s, self.unattributed_s
        if kind != "total_s":
            machine = _part(self.machine, kind)
            unattributed = None if machine is None else machine - sum(getattr(c, kind) for c in self._components())
        return CpuPerGb(
            brokers=self.gb_share(_part(self.brokers, kind)),
            compilers=self.gb_share(_part(self.compilers, kind)),
            sidecars=self.gb_share(_part(self.sidecars, kind)),
            gateways=self.gb_share(_part(self.gateways, kind)),
            clients=self.gb_share(_part(self.clients, kind)),
            meshmark=self.gb_share(_part(self.meshmark, kind)),
            kernel=self.gb_share(_part(self.kernel, kind)),
            others=self.gb_share(_part(self.others, kind)),
            relays=self.gb_share(_part(self.relays, kind)),
            unattributed=self.gb_share(unattributed),
            machine=self.gb_share(machine),
        )

    def gb_share(self, value: float | None) -> float | None:
        return None if value is None or self.payload_bytes <= 0 else value / (self.payload_bytes / GB)

    def share(self, seconds: float | None) -> float | None:
        """Of all CPUs' time."""
        return None if seconds is None else seconds / (self.elapsed_s * self.cpus)

    def _components(self) -> list[Cpu]:
        ours = (self.brokers, self.compilers, self.sidecars, self.gateways, self.clients, self.meshmark)
        return [cpu for cpu in (*ours, self.kernel, self.others, self.relays) if cpu is not None]


def ledger(trial: Trial, scenario: Scenario, cpus: int) -> Ledger:
    """The window's CPU. The counters' own clock gives the time between their readings, and the payload is scaled to
    it: marks and readings of the window's edges are some milliseconds apart."""
    elapsed = elapsed_s(trial)
    brokers, seen = broker_hosts(scenario), _all_components(trial)
    jvms = _component(trial, [f"{host}/kafka" for host in brokers])
    compilers = _component(trial, [f"{host}/{COMPILERS}" for host in brokers], separator="_")
    sidecars = sidecar_hosts(scenario)
    idle, iowait, steal, user, system, softirq, irq = (
        trial.delta(f"machine/cpu/{part}_s")
        for part in ("idle", "iowait", "steal", "user", "system", "softirq", "irq")
    )
    kernel = sum_known((system, softirq, irq))
    unused = sum_known((idle, iowait, steal))
    return Ledger(
        elapsed_s=elapsed,
        cpus=cpus,
        payload_bytes=trial.window.acknowledged_bytes / trial.seconds * elapsed,
        brokers=jvms if jvms is None or compilers is None else jvms.less(compilers),
        compilers=compilers,
        sidecars=_component(trial, [f"{host}/sidecar" for host in sidecars]),
        gateways=_component(trial, [f"{host}/gateway" for host in gateway_hosts(scenario)]),
        clients=_component(trial, _of_kind(seen, "client")),
        meshmark=_component(trial, _of_kind(seen, "meshmark")),
        kernel=_component(trial, _of_kind(seen, "kernel")),
        others=_component(trial, _of_kind(seen, OTHERS)),
        relays=_component(trial, _of_kind(seen, RELAY)),
        machine=None if user is None or kernel is None else Cpu(user_s=user, system_s=kernel),
        busy_s=None if unused is None else elapsed * cpus - unused,
        softirq_s=softirq,
        steal_s=steal,
    )


def lines(trial: Trial, book: Ledger) -> tuple[LedgerLine, ...]:
    """Every component of every host, and the largest of the others by name, as counted: what could not be read has
    no line."""
    found = [(key, cpu) for key in _all_components(trial) if (cpu := cpu_of(trial, key)) is not None]
    named = [(key, cpu) for key, cpu in found if f"/{OTHERS}:" in key and cpu.total_s > 0]
    largest = sorted(named, key=lambda item: -item[1].total_s)[:NAMED_OTHERS]
    shown = [item for item in found if f"/{OTHERS}:" not in item[0]] + largest
    made = []
    for key, cpu in shown:
        host, component = key.split("/", 1)
        user, system = book.gb_share(cpu.user_s), book.gb_share(cpu.system_s)
        if user is not None and system is not None:
            made.append(LedgerLine(host=host, component=component, user_s_per_gb=user, system_s_per_gb=system))
    return tuple(made)


def mean_lines(repeats: Sequence[Sequence[LedgerLine]]) -> tuple[LedgerLine, ...]:
    """Of each component the mean over the repeats that have it."""
    by_component: dict[tuple[str, str], list[LedgerLine]] = {}
    for line in (line for repeat in repeats for line in repeat):
        by_component.setdefault((line.host, line.component), []).append(line)
    return tuple(
        LedgerLine(
            host=host,
            component=component,
            user_s_per_gb=fmean(line.user_s_per_gb for line in each),
            system_s_per_gb=fmean(line.system_s_per_gb for line in each),
        )
        for (host, component), each in by_component.items()
    )


def elapsed_s(trial: Trial) -> float:
    """Between the two readings of the counters; the window's own length where they were not timed."""
    return trial.delta("machine/cpu/elapsed_s") or trial.seconds


def broker_hosts(scenario: Scenario) -> tuple[str, ...]:
    return tuple(f"broker-{number}" for number in range(1, scenario.cluster.brokers + 1))


def client_hosts(scenario: Scenario) -> tuple[str, ...]:
    return tuple(f"client-{number}" for number in range(1, scenario.cluster.clients + 1))


def sidecar_hosts(scenario: Scenario) -> tuple[str, ...]:
    plane = scenario.data_plane
    brokers = broker_hosts(scenario) if plane.has_sidecar("broker") else ()
    return (*brokers, *(client_hosts(scenario) if plane.has_sidecar("client") else ()))


def gateway_hosts(scenario: Scenario) -> tuple[str, ...]:
    return tuple(f"gateway-{cluster.name}" for cluster in scenario.gateways)


def sum_known(values: Iterable[float | None]) -> float | None:
    """None if there is none or if any is unknown: a sum with a hole is no sum."""
    known: list[float] = []
    for value in values:
        if value is None:
            return None
        known.append(value)
    return sum(known) if known else None


def cpu_of(trial: Trial, component: str, separator: str = "/") -> Cpu | None:
    """Of one component of one host, `HOST/COMPONENT`. A name among the others has no counter before it first used
    something."""
    start = 0.0 if f"/{OTHERS}:" in component else None
    user, system = (trial.delta(f"{component}{separator}cpu_{kind}_s", absent=start) for kind in ("user", "system"))
    return None if user is None or system is None else Cpu(user_s=user, system_s=system)


def _part(cpu: Cpu | None, kind: Kind) -> float | None:
    return None if cpu is None else float(getattr(cpu, kind))


def _component(trial: Trial, components: Iterable[str], separator: str = "/") -> Cpu | None:
    parts = [cpu_of(trial, component, separator) for component in components]
    user = sum_known(None if part is None else part.user_s for part in parts)
    system = sum_known(None if part is None else part.system_s for part in parts)
    return None if user is None or system is None else Cpu(user_s=user, system_s=system)


def _of_kind(components: Sequence[str], kind: str) -> list[str]:
    """Wherever it ran: which client hosts had workers is not the plan's to say."""
    return [key for key in components if key.endswith(f"/{kind}")]


def _all_components(trial: Trial) -> list[str]:
    keys = trial.counters_start.keys() | trial.counters_end.keys()
    return sorted(key.removesuffix("/cpu_user_s") for key in keys if key.endswith("/cpu_user_s"))
