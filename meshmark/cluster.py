"""The protocols between an experiment and whatever runs the system under test.

A Backend opens a Testbed (hosts joined by a data plane, nothing on them yet) or a Cluster (a Testbed with
Kafka serving on it). Both exist only inside their `with`; leaving it removes everything. The lab, the
simulated system and Kubernetes implement these; experiments know no more than this file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol, runtime_checkable

from meshmark.errors import MissingRequirement
from meshmark.nodes import NodesRead
from meshmark.plan import Plan, Scenario, Workload
from meshmark.record import Counters, CpuProfile, HostFacts, Limit, LinkProbe, Proof, Versions


class Process(Protocol):
    """A process on a host that is spoken to in lines (JSON) over its standard streams."""

    @property
    def name(self) -> str: ...

    @property
    def host(self) -> str: ...

    def send_line(self, line: str) -> None:
        """Raises ComponentFailed, with the last lines of its log, if the process is gone."""

    def read_line(self, timeout_s: float) -> str | None:
        """The next line of its standard output; None when none came in time.
        Raises ComponentFailed if the process ended."""

    def signal(self, number: int) -> None: ...

    def wait(self, timeout_s: float) -> int:
        """The exit status; raises ComponentFailed when it does not end in time."""


@runtime_checkable
class Elsewhere(Protocol):
    """A Process on a machine with a monotonic clock of its own."""

    clock_ahead_s: float
    """That clock before the conductor's, as well as it is known."""


class Lines:
    """What a process writes, as it comes -> lines. What consumers tell in the end may be one of 100 MB, so each piece
    is searched for an end by itself, and joined once."""

    def __init__(self) -> None:
        self._pieces = [b""]

    def add(self, piece: bytes) -> None:
        """Once `next` has none."""
        self._pieces.append(piece)

    def next(self) -> str | None:
        """A line without its end; None where that has not come yet."""
        end, newline, rest = self._pieces[-1].partition(b"\n")
        if not newline:
            return None
        line = b"".join((*self._pieces[:-1], end))
        self._pieces = [rest]
        return line.decode(errors="replace")


class Probe(Protocol):
    """Reads counters of one component of one host."""

    @property
    def edges_only(self) -> bool:
        """Too dear to read on a clock: read only at the edges of windows."""

    def read(self) -> Counters:
        """Keys `HOST/COMPONENT/METRIC`; a value that cannot be read now is absent. Never raises for a
        component that is gone."""


class Testbed(Protocol):
    """Hosts joined by a data plane."""

    @property
    def broker_hosts(self) -> tuple[str, ...]: ...

    @property
    def client_hosts(self) -> tuple[str, ...]: ...

    def address(self, host: str) -> str:
        """The IP address by which other hosts reach it."""

    def spawn(
        self, host: str, argv: Sequence[str], *, name: str, component: str = "client"
    ) -> AbstractContextManager[Process]:
        """Runs a command on a host (the first word `python` stands for this interpreter). Its CPU and memory
        are booked to `component`. Leaving the context ends it. Its standard error is its log."""

    def probes(self) -> Sequence[Probe]:
        """Everything that can be sampled here, spawned processes included as they come and go."""

    def check(self) -> None:
        """Raises ComponentFailed if a component that should be running has died."""

    def configurations(self) -> Mapping[str, str]:
        """File name -> text of every component's configuration, without secrets."""

    @property
    def log_dir(self) -> Path:
        """A directory on the file system that the brokers' logs are on, for the disk probe."""


class TopicLayout(Protocol):
    """Where the partitions of the workload's topics are led from."""

    @property
    def leaders(self) -> Mapping[tuple[str, int], str]:
        """(topic, partition) -> host."""


class Cluster(Testbed, Protocol):
    """A Testbed with Kafka serving."""

    @property
    def bootstrap_servers(self) -> str: ...

    @property
    def client_config(self) -> Mapping[str, str]:
        """Kafka client settings a client host needs to connect (security.protocol and the like)."""

    @property
    def encrypted_hops(self) -> tuple[str, ...]:
        """Hops whose bytes are ciphertext: client-broker, broker-broker, application-sidecar, controller."""

    @property
    def plain_hops(self) -> tuple[str, ...]: ...

    def create_topics(self, workload: Workload, prefix: str) -> TopicLayout:
        """Topics `PREFIX-1`.. with leaders spread evenly; returns once every replica is in sync."""

    def delete_topics(self, layout: TopicLayout) -> None:
        """Returns once the log bytes are gone from the disks."""

    def prove(self) -> Sequence[Proof]:
        """Shows what the data plane promises; empty where it promises nothing."""


@runtime_checkable
class Pausable(Protocol):
    """The power to let a broker stand still for a while; apart from Cluster, since not every system gives it."""

    def active_controller(self) -> str:
        """The host of it."""

    def paused(self, host: str) -> AbstractContextManager[None]:
        """Within the context Kafka on that host stands still; it goes on however the context is left."""


def pausable(cluster: Cluster) -> Pausable:
    """Raises MissingRequirement where brokers cannot be paused."""
    if not isinstance(cluster, Pausable):
        raise MissingRequirement("brokers of this system cannot be paused")
    return cluster


@runtime_checkable
class Restartable(Protocol):
    """The power to restart Kafka on a host, with its data; apart from Cluster, as above."""

    def restart(self, host: str) -> None:
        """As its administrators do: the broker hands its leaderships over, ends, and is started again. Returns once it
        has started; raises ComponentFailed when it does not end, or start, in time."""

    def wait_until_in_sync(self, timeout_s: float) -> None:
        """Returns once every replica of every topic is. Raises LoadError when that is not so in time."""


def restartable(cluster: Cluster) -> Restartable:
    """Raises MissingRequirement where brokers cannot be restarted."""
    if not isinstance(cluster, Restartable):
        raise MissingRequirement("brokers of this system cannot be restarted")
    return cluster


@runtime_checkable
class Renewable(Protocol):
    """The power to renew the certificates of Kafka's own TLS; apart from Cluster, as above."""

    def renew_certificates(self) -> None:
        """Of all brokers, by the authority that their clients trust; put where brokers read them, who go on with the
        old ones. Raises MissingRequirement where the data plane has none of Kafka's."""

    def reload_certificate(self, host: str) -> None:
        """The broker there reads its new certificate while it runs. Returns once it shows that to a new connection;
        raises ComponentFailed when it does not in time."""


def renewable(cluster: Cluster) -> Renewable:
    """Raises MissingRequirement where certificates cannot be renewed."""
    if not isinstance(cluster, Renewable):
        raise MissingRequirement("certificates of this system cannot be renewed")
    return cluster


@runtime_checkable
class PathTimed(Protocol):
    """A Cluster that can time parts of the path between clients and brokers by small requests of its own."""

    def timing_paths(self, seed: int) -> AbstractContextManager[None]:
        """While inside, such requests go, and `probes` gives their times too, as HOST/paths/..."""


def timing_paths(cluster: Cluster, seed: int) -> AbstractContextManager[None]:
    """Nothing happens where the cluster cannot do it."""
    return cluster.timing_paths(seed) if isinstance(cluster, PathTimed) else nullcontext()


@runtime_checkable
class Profiled(Protocol):
    """A Cluster that can tell what its components' CPU time goes into, from samples of it."""

    def profiling(self, trial: int, hz: int) -> AbstractContextManager[None]:
        """While inside, every CPU is sampled."""

    def cpu_profiles(self, windows: Mapping[int, tuple[float, float]]) -> Sequence[CpuProfile]:
        """Of trials that were sampled, within times of the machine's monotonic clock; those whose samples are not
        complete are left out. Takes some CPU seconds, and the components must still run: to be asked when no trial is
        left."""


def profiling(cluster: Cluster, trial: int, hz: int) -> AbstractContextManager[None]:
    """Raises MissingRequirement where the cluster cannot do it."""
    return _profiled(cluster).profiling(trial, hz)


def cpu_profiles(cluster: Cluster, windows: Mapping[int, tuple[float, float]]) -> Sequence[CpuProfile]:
    """As above."""
    return _profiled(cluster).cpu_profiles(windows)


def _profiled(cluster: Cluster) -> Profiled:
    if not isinstance(cluster, Profiled):
        raise MissingRequirement("what this system's CPU does cannot be sampled", hint="Leave out --perf.")
    return cluster


@runtime_checkable
class Clocked(Protocol):
    """A Cluster whose load workers may be on machines with clocks of their own."""

    def clock_error_s(self, since_s: float) -> float | None:
        """Of times from one load worker to another, at most, of those that ran since then and ended. None: their
        clocks could not be compared again."""


def clock_error_s(cluster: Cluster, since_s: float) -> float | None:
    """0 where there is one clock for all."""
    return cluster.clock_error_s(since_s) if isinstance(cluster, Clocked) else 0.0


@runtime_checkable
class OnNodes(Protocol):
    """A Cluster on nodes that others count, too."""

    def nodes_read(self) -> NodesRead:
        """Since it was made. What could not be read is told in it; nothing is raised for that."""


def nodes_read(cluster: Cluster) -> NodesRead | None:
    """None where there are no such nodes."""
    return cluster.nodes_read() if isinstance(cluster, OnNodes) else None


@runtime_checkable
class Warmable(Protocol):
    """A Cluster whose brokers can be made to compile sooner."""

    def warming(self) -> AbstractContextManager[None]:
        """While inside, compilers of the brokers' JVMs go before everything else, if the machine lets them."""


def warming(cluster: Cluster) -> AbstractContextManager[None]:
    """Nothing happens where the cluster cannot do it: a warm-up takes longer."""
    return cluster.warming() if isinstance(cluster, Warmable) else nullcontext()


@runtime_checkable
class Limitable(Protocol):
    """The power to give one host less of one resource for a while; apart from Testbed, as above."""

    probe_port: int
    """TCP to this port of a host goes past all sidecars; nothing listens there unless somebody probes."""

    def limit(self, limit: Limit) -> AbstractContextManager[None]:
        """Holds until the context is left. Raises MissingRequirement for what cannot be limited here, before anything
        is changed."""

    def volume(self, host: str) -> Path:
        """A directory on the disk of that host that can be limited."""

    def cpu_s(self, host: str, component: str) -> float:
        """That the component's processes on a host have used so far; a reading of this alone, which starved components
        cannot delay."""


def limitable(testbed: Testbed) -> Limitable:
    """Raises MissingRequirement where nothing can be limited."""
    if not isinstance(testbed, Limitable):
        raise MissingRequirement("hosts of this system cannot be limited", hint="Use the lab, as root.")
    return testbed


@runtime_checkable
class Linked(Protocol):
    """A Testbed whose hosts may be in several clusters, with links between them."""

    def probe_links(self, trial: int | None = None) -> Sequence[LinkProbe]:
        """The way between neighbouring clusters, in either direction; empty where there is but one. With a trial,
        whose load goes on meanwhile, round trips alone."""


@runtime_checkable
class Cuttable(Protocol):
    """The power to cut a link between two clusters for a while; apart from Linked, as above."""

    def cut(self, link: str) -> AbstractContextManager[None]:
        """Nothing goes over a link of this name (`A-B`, its ends) until the context is left. Raises MissingRequirement
        where there is none."""


def probe_links(testbed: Testbed, trial: int | None = None) -> Sequence[LinkProbe]:
    """As above; empty where the system knows no distance."""
    return testbed.probe_links(trial) if isinstance(testbed, Linked) else ()


def cuttable(testbed: Testbed) -> Cuttable:
    """Raises MissingRequirement where links cannot be cut."""
    if not isinstance(testbed, Cuttable):
        raise MissingRequirement("this system has no links that could be cut", hint="Use the lab.")
    return testbed


KeepLogs = Callable[[Mapping[str, Path]], None]
"""Is given log files by the name that each is to have."""


def discard_logs(files: Mapping[str, Path]) -> None:
    """Keeps none."""


class Backend(Protocol):
    """Where systems under test come from."""

    @property
    def name(self) -> str: ...

    def facts(self) -> HostFacts: ...

    def versions(self) -> Versions: ...

    def prepare(self, plan: Plan) -> None:
        """Everything slow that is needed once (downloads, caches) and every check that a run needs;
        raises before anything has been changed on the machine."""

    def testbed(self, scenario: Scenario) -> AbstractContextManager[Testbed]: ...

    def cluster(self, scenario: Scenario, keep_logs: KeepLogs = discard_logs) -> AbstractContextManager[Cluster]:
        """`keep_logs` is given the logs of every component, spawned processes included, before they are removed: when
        the cluster has ended, or could not start."""
