"""What each setup carried against what disk and network gave before Kafka was there. Pure.

    disk       bytes to the device, all brokers together, against buffered writes with their flush
    network    the path from one host to another that is nearest to what it gives: TCP in several flows through the
               data plane's proxies, or past them where it leaves out what brokers send each other
    ceiling    rate x given / used; of the disk, / what all brokers' logs grew by, which it must take in the end

L_b is what the logs that broker b leads grew by in a second, so bytes of batches, as producers compressed them:

    from client c to b         L_b x c's share of what all clients sent
    from b to another broker   L_b x (RF - 1) / (brokers - 1), since followers are spread evenly
    from b to client c         L_b x records consumed / acknowledged x c's share of what all clients received

A result above what the same machine gave without Kafka, by more than the probe's repeats differ, is no result: one of
the two is wrong. That is why it is looked for.

Limits: heads of requests and packets, and TLS, are in neither figure, so a path is used somewhat more than told. Not
compared: logs in RAM, or kept otherwise than where the disk was probed; setups with a topology, whose links are probed
in every round; setups whose sidecars have another number of threads, or clients other CPUs, than where their path was
probed; reads from replicas nearby. Kafka's TLS is held against TCP without TLS, and memory that is written back later
counts when it is. One path is not all: many at once may share what a single one could have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from meshmark.analysis import stats
from meshmark.analysis.environment import probed_in
from meshmark.analysis.environment_model import AgainstEnvironment
from meshmark.analysis.ledger import broker_hosts, client_hosts, elapsed_s
from meshmark.analysis.model import DiskCeiling, Environment, NetworkCeiling, RepeatSummary, ScenarioSummary
from meshmark.data_plane import BROKER_BROKER, CLIENT_BROKER, NetworkPath
from meshmark.plan import Plan, Scenario
from meshmark.record import Trial
from meshmark.store import Run
from meshmark.units import mb, percent


@dataclass(frozen=True, kw_only=True, slots=True)
class Life:
    """The trial that stands for a repeat, as measured, bytes a second; `paths` by `HOST to HOST`, the others None if
    not read."""

    rate_msg_s: float
    device_bytes_s: float | None
    log_bytes_s: float | None
    paths: Mapping[str, float]


def against_environment(
    run: Run, given: Environment, scenarios: Sequence[ScenarioSummary]
) -> tuple[AgainstEnvironment, ...]:
    """Disk and network of every setup, as far as both sides are known."""
    found: list[AgainstEnvironment] = []
    for row in scenarios:
        scenario = run.plan.scenario(row.name)
        lives = [_life(run, scenario, each) for each in row.repeats if each.valid]
        found += compared(run.plan, scenario, given, lives)
    return tuple(found)


def compared(plan: Plan, scenario: Scenario, given: Environment, lives: Sequence[Life]) -> list[AgainstEnvironment]:
    """Of one setup; empty where nothing can be compared."""
    if not lives:
        return []
    rate = fmean(life.rate_msg_s for life in lives)
    found = []
    device = stats.mean([life.device_bytes_s for life in lives])
    disk = next((each for each in given.disk if each.mode == "buffered"), None)
    if disk and device is not None and _same_disk(plan, scenario):
        logs = stats.mean([life.log_bytes_s for life in lives])
        found.append(_against(scenario, "all brokers", rate, device, disk, logs))
    moved = {where: stats.mean([life.paths.get(where) for life in lives]) or 0.0 for where in lives[0].paths}
    probed = {where: _several_flows(plan, scenario, where, given) for where in moved}
    known = {where: ceiling for where, ceiling in probed.items() if ceiling}
    if known:
        where = max(known, key=lambda each: moved[each] / known[each].rate_bytes_s)
        found.append(_against(scenario, where, rate, moved[where], known[where], moved[where]))
    return found


def above(rows: Sequence[AgainstEnvironment]) -> tuple[str, ...]:
    """One sentence for each result that cannot be."""
    return tuple(
        f"{row.scenario}: {mb(row.used_bytes_s)} MB/s of {row.resource} ({row.where}) is a result above what the "
        f"environment gave without Kafka ({row.probe}: {mb(row.given_bytes_s)} MB/s, "
        f"{'measured once' if row.spread is None else f'spread {percent(row.spread)}'}): one of the two is wrong"
        for row in rows
        if row.above
    )


def paths(trial: Trial, scenario: Scenario) -> dict[str, float]:
    """Bytes of batches a second by `HOST to HOST`, in the window; empty where logs were not counted."""
    led = {host: trial.delta(f"{host}/kafka/leader_log_bytes") for host in broker_hosts(scenario)}
    sent, received = _shares(trial, scenario, "tx_bytes"), _shares(trial, scenario, "rx_bytes")
    copies = (scenario.workload.replication_factor - 1) / max(1, len(led) - 1)
    reads = trial.window.consumed / (trial.window.acknowledged or 1)
    found: dict[str, float] = {}
    for broker, byte_count in led.items():
        if byte_count is None:
            return {}
        rate = byte_count / elapsed_s(trial)
        found |= {f"{client} to {broker}": rate * share for client, share in sent.items()}
        found |= {f"{broker} to {other}": rate * copies for other in led if other != broker}
        if reads and not scenario.reads_nearby:
            found |= {f"{broker} to {client}": rate * reads * share for client, share in received.items()}
    return found


def _shares(trial: Trial, scenario: Scenario, metric: str) -> dict[str, float]:
    """Of what all client hosts' interfaces counted; even where one was not read."""
    clients = client_hosts(scenario)
    counted = {host: trial.delta(f"{host}/net/{metric}") for host in clients}
    known = {host: value for host, value in counted.items() if value is not None}
    total = sum(known.values())
    if len(known) < len(clients) or total <= 0:
        return dict.fromkeys(clients, 1 / len(clients))
    return {host: value / total for host, value in known.items()}


def _life(run: Run, scenario: Scenario, repeat: RepeatSummary) -> Life:
    number = next(each.number for each in repeat.trials if each.stands)
    trials = next(data.trials for data in run.rounds if data.started.index == repeat.round_index)
    trial = next(each for each in trials if each.number == number)
    device, logs = repeat.device_bytes_s_per_broker, repeat.disk_bytes_s_per_broker
    return Life(
        rate_msg_s=trial.rate_msg_s,
        device_bytes_s=None if device is None else device * scenario.cluster.brokers,
        log_bytes_s=None if logs is None else logs * scenario.cluster.brokers,
        paths=paths(trial, scenario),
    )


def _against(
    scenario: Scenario, where: str, rate: float, used: float, given: DiskCeiling | NetworkCeiling, whole: float | None
) -> AgainstEnvironment:
    """`whole`: bytes a second that such a rate asks for in the long run."""
    return AgainstEnvironment(
        scenario=scenario.name,
        resource="disk" if isinstance(given, DiskCeiling) else "network",
        where=where,
        probe="buffered writes" if isinstance(given, DiskCeiling) else f"{given.path}, {given.flows} flows",
        used_bytes_s=used,
        given_bytes_s=given.rate_bytes_s,
        spread=given.spread,
        rate_msg_s=rate,
        ceiling_msg_s=rate * given.rate_bytes_s / whole if whole else None,
        above=used > given.rate_bytes_s * (1 + (given.spread or 0.0)),
    )


def _several_flows(plan: Plan, scenario: Scenario, where: str, given: Environment) -> NetworkCeiling | None:
    """As many flows as were probed of what lies between these two hosts; None if that is not like it."""
    hop = BROKER_BROKER if set(where.split(" to ")) <= set(broker_hosts(scenario)) else CLIENT_BROKER
    path = scenario.path_of(hop)
    rows = [each for each in given.network if each.path == path]
    return max(rows, key=lambda each: each.flows, default=None) if _same_path(plan, scenario, path) else None


def _same_disk(plan: Plan, scenario: Scenario) -> bool:
    """Are its logs on the device that was probed?"""
    probed = probed_in(plan)["direct"]
    return scenario.cluster.storage == probed.cluster.storage != "ram"


def _same_path(plan: Plan, scenario: Scenario, path: NetworkPath) -> bool:
    """Is the way between its hosts like the one that was probed?"""
    ours, theirs = scenario.cluster, probed_in(plan)[path].cluster
    if ours.topology or theirs.topology or ours.client_cpus != theirs.client_cpus:
        return False
    return path == "direct" or ours.sidecar_concurrency == theirs.sidecar_concurrency
