"""A scenario in a cluster, or in those of its topology, as `meshmark/cluster.py` asks for it: pods with Kafka serving
on them, or without.

    with testbed(sites, ...) as bed: ...
    with cluster(sites, ...) as made: ...

It is brought up as `meshmark up` does, and removed however the context is left. What is there already is left alone.
"""

from __future__ import annotations

import math
import signal
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType

from meshmark.backends.kubernetes import evidence, lifecycle, manifest, ownership, rights, sites, tls
from meshmark.backends.kubernetes.api import APPLIED_STAYS, Api
from meshmark.backends.kubernetes.change import Tell
from meshmark.backends.kubernetes.config import TLS_DIRECTORY
from meshmark.backends.kubernetes.evidence import Place
from meshmark.backends.kubernetes.hosts import PodsTestbed
from meshmark.backends.kubernetes.kept import kept
from meshmark.backends.kubernetes.lifecycle import Site
from meshmark.backends.kubernetes.metering import NOBODY, Metering, all_metered
from meshmark.clock import SystemClock
from meshmark.cluster import KeepLogs, TopicLayout, discard_logs
from meshmark.data_plane import CONTROLLER, HOPS
from meshmark.errors import (
    Busy,
    ClusterUnreachable,
    ComponentFailed,
    LoadError,
    MeshmarkError,
    MissingRequirement,
)
from meshmark.kafka import administration
from meshmark.kafka.administration import Administration, Layout, Leaders
from meshmark.kafka.properties import BROKER_PORT, CONTROLLER_PORT
from meshmark.kafka.shown import wait_until_shown
from meshmark.nodes import NodesRead, error_between_s
from meshmark.plan import Workload
from meshmark.record import Proof

SERVING_TIMEOUT_S = 90.0
REMOVED = "It is removed; `meshmark up` shows the same and keeps it."
RELOAD_TIMEOUT_S, RELOAD_EACH_S = 240.0, 3.0
"""A kubelet looks for changes of a Secret every minute or so."""


class PodsCluster(PodsTestbed):
    """Implements `meshmark.cluster.Cluster`, `Pausable`, `Clocked` and `OnNodes`; made by `cluster` alone."""

    def __init__(self, places: Sequence[Site], stack: ExitStack, sources: Mapping[str, Metering]) -> None:
        super().__init__(places, stack)
        process = stack.enter_context(
            self.spawn(self.client_hosts[0], administration.ARGV, name="admin", component="meshmark")
        )
        self._administration = Administration(
            process,
            {"bootstrap.servers": self.bootstrap_servers, **self.client_config},
            disks=self._partitions,
            check=self.check,
            told=self._lead,
        )
        self._renewed = ""
        self._source = next(iter(sources.values()), NOBODY)
        self._meter = stack.enter_context(all_metered(self.on_nodes(), sources, self.namespace))

    @property
    def bootstrap_servers(self) -> str:
        names = dict.fromkeys(map(self.name_of, self.broker_hosts))
        return ",".join(f"{name}:{BROKER_PORT}" for name in names)

    @property
    def client_config(self) -> Mapping[str, str]:
        if self.scenario.data_plane.kafka_tls:
            return {"security.protocol": "SSL", "ssl.ca.location": evidence.AUTHORITY}
        return {"security.protocol": "PLAINTEXT"}

    @property
    def encrypted_hops(self) -> tuple[str, ...]:
        """Over several clusters the mesh alone knows the way to a controller."""
        carried = self.scenario.data_plane.mtls and bool(self._controllers)
        return tuple(hop for hop in HOPS if hop in self.scenario.encrypted_hops or (carried and hop == CONTROLLER))

    @property
    def plain_hops(self) -> tuple[str, ...]:
        return tuple(hop for hop in self.scenario.plain_hops if hop not in self.encrypted_hops)

    @property
    def _controllers(self) -> Sequence[int]:
        """Numbers of the brokers whose controllers' port is in the mesh."""
        topology, plane = self.scenario.cluster.topology, self.scenario.data_plane
        if plane.carries(CONTROLLER):
            return range(1, self.scenario.cluster.brokers + 1)
        return topology.controllers() if plane.sidecars else ()

    def create_topics(self, workload: Workload, prefix: str) -> Layout:
        return self._administration.create(workload, self.scenario.cluster, prefix)

    def delete_topics(self, layout: TopicLayout) -> None:
        self._administration.delete(layout)

    def prove(self) -> Sequence[Proof]:
        brokers = [
            Place(host=host, address=self.pod_address(host), name=self.name_of(host), within=self.address(host))
            for host in self.broker_hosts
        ]
        clients = [self.agents[host] for host in self.client_hosts]
        before = self.around.counted() if self.around else {}
        found = evidence.prove(
            self.scenario.data_plane,
            brokers,
            {host: self.agents[host] for host in self.broker_hosts},
            clients,
            {host: self.agents[stranger] for host in self.broker_hosts for stranger in self.beside(host)},
            [brokers[number - 1]._replace(port=CONTROLLER_PORT) for number in self._controllers],
        )
        for hop, port in self.made.own_tls.items():
            at_port = [each._replace(port=port) for each in brokers]
            for each in at_port:
                found += evidence.own_tls(each, hop, self.agents[each.host])
            if self.scenario.carries(hop):
                among = [self.agents[host] for host in self.broker_hosts]
                found += evidence.carried(self.scenario.data_plane, at_port, hop, among)
        if self.around is None:
            return found
        ports = len(brokers) + len(self._controllers)
        by_clients, by_brokers = len(clients) * len(brokers), ports * (len(brokers) - 1)
        return (*found, *self.around.proofs(before, by_clients, by_brokers))

    def active_controller(self) -> str:
        """As the brokers have written down. One that has not heard of its election yet knows no leader (-1)."""
        found = [self.agents[host].ask("quorum") for host in self.broker_hosts]
        latest = max(found, key=lambda each: (each["epoch"], each["leader"]))
        return self.broker_hosts[int(latest["leader"]) - 1]

    @contextmanager
    def paused(self, host: str) -> Iterator[None]:
        """The broker's container has no part in it: the monitor beside it stops the process."""
        agent = self.agents[host]
        try:
            if agent.ask("signal", component="kafka", number=signal.SIGSTOP) != 1:
                raise ComponentFailed(f"there is not one broker's process to be stopped in {host}", component="kafka")
            yield
        finally:
            agent.ask("signal", component="kafka", number=signal.SIGCONT)

    def restart(self, host: str) -> None:
        """By the eviction of its pod, whose broker hands its leaderships over when it is told to end."""
        self.replace(host)

    def wait_until_in_sync(self, timeout_s: float) -> None:
        self._administration.wait_until_in_sync(len(self.broker_hosts), timeout_s)

    def renew_certificates(self) -> None:
        """In the Secret; kubelets bring it to the pods, within a minute or two."""
        wanted = self.sites[0].wanted
        if wanted.issuer is None:
            raise MissingRequirement(f"the data plane {self.scenario.data_plane} has no certificates of Kafka's own")
        body = tls.secret(self.namespace, ownership.labels_of(wanted.manifests[-1].body), wanted.issuer)
        self._renewed = tls.fingerprint_of(body)
        self.sites[0].api.apply(body)

    def reload_certificate(self, host: str) -> None:
        """Told again, now and then, until its pod has the new one."""
        client, told_s = self.agents[self.client_hosts[0]], -math.inf

        def look() -> str:
            nonlocal told_s
            if time.monotonic() - told_s >= RELOAD_EACH_S:
                self._administration.reload_keystore(host, f"{TLS_DIRECTORY}/{manifest.TLS_KEYSTORE}")
                told_s = time.monotonic()
            return str(client.ask("shown", address=self.address(host), port=BROKER_PORT))

        wait_until_shown(host, self._renewed, look, RELOAD_TIMEOUT_S)

    def clock_error_s(self, since_s: float) -> float | None:
        hosts = {host for host, began_s in self.loads if began_s >= since_s}
        return error_between_s(hosts, [each for each in self.clocks if each.began_s >= since_s])

    def nodes_read(self) -> NodesRead:
        spreads_s = self.read.spreads_s
        told = self._meter.read(time.time())
        return NodesRead(
            readings=len(spreads_s),
            spread_p50_s=statistics.median(spreads_s) if spreads_s else None,
            spread_max_s=max(spreads_s, default=None),
            clocks=tuple(self.clocks),
            source=self._source.source,
            verified=self._source.authority is not None,
            cpu=told.cpu,
            quotas=told.quotas,
            problems=told.problems,
        )

    def wait_until_serving(self) -> None:
        """Until the load pod sees all brokers through the data plane."""
        try:
            self._administration.wait(len(self.broker_hosts), SERVING_TIMEOUT_S)
        except LoadError as error:
            raise ComponentFailed(
                f"the brokers are ready, and {self.client_hosts[0]} does not reach all of them: {error.message}",
                component="kafka",
                hint="The logs of brokers and sidecars tell more.",
            ) from error

    def _partitions(self) -> set[tuple[str, str]]:
        return {(name, host) for host in self.broker_hosts for name in self.agents[host].ask("partitions")}

    def _lead(self, leaders: Leaders) -> None:
        for host in self.broker_hosts:
            led = [[topic, number] for (topic, number), leader in leaders.items() if leader == host]
            self.agents[host].ask("lead", partitions=led)


@contextmanager
def testbed(places: Sequence[Site], *, tell: Tell, timeout_s: float) -> Iterator[PodsTestbed]:
    """Pods and, where the data plane has them, sidecars; brokers' containers are idle. `places`: a cluster each."""
    with _up(places, discard_logs, tell=tell, timeout_s=timeout_s), ExitStack() as stack:
        yield PodsTestbed(places, stack)


@contextmanager
def cluster(
    places: Sequence[Site],
    keep_logs: KeepLogs,
    *,
    tell: Tell,
    timeout_s: float,
    sources: Mapping[str, Metering] = MappingProxyType({}),
) -> Iterator[PodsCluster]:
    """A testbed with Kafka serving through the data plane."""
    with _up(places, keep_logs, tell=tell, timeout_s=timeout_s), ExitStack() as stack:
        made = PodsCluster(places, stack, sources)
        stack.callback(lambda: keep_logs(made.logs()))
        try:
            made.wait_until_serving()
            yield made
        except (ComponentFailed, ClusterUnreachable, LoadError):
            made.explain()
            raise


@contextmanager
def _up(places: Sequence[Site], keep_logs: KeepLogs, *, tell: Tell, timeout_s: float) -> Iterator[None]:
    """Removed on any way out. What ended it counts more than what then keeps it from being removed."""
    refuse_kept(places)
    namespace = places[0].wanted.namespace
    try:
        with _logs_kept(places, keep_logs):
            try:
                sites.up(places, tell=tell, clock=SystemClock(), timeout_s=timeout_s)
            except MeshmarkError as error:
                for stays in (lifecycle.STAYS, APPLIED_STAYS, sites.STAYS):
                    if error.hint.endswith(stays):
                        error.hint = f"{error.hint.removesuffix(stays)}{REMOVED}"
                raise
            yield
    except BaseException:
        try:
            _down(places, tell, timeout_s)
        except MeshmarkError as error:
            tell(f"the namespace {namespace} is left: {error.message}; `meshmark down` removes it")
        raise
    _down(places, tell, timeout_s)


@contextmanager
def _logs_kept(places: Sequence[Site], keep_logs: KeepLogs) -> Iterator[None]:
    try:
        yield
    finally:
        if keep_logs is not discard_logs:
            with tempfile.TemporaryDirectory(prefix="meshmark-") as directory:
                for site in places:
                    keep_logs(kept(site.api, site.wanted.namespace, Path(directory), site.cluster))


def _down(places: Sequence[Site], tell: Tell, timeout_s: float) -> None:
    """All of them, whatever goes wrong with one."""
    namespace = places[0].wanted.namespace
    hears = {site.api.context: sites.of_cluster(tell, site) for site in places}

    def end(api: Api, _: ownership.Labels) -> None:
        lifecycle.down(api, namespace, tell=hears[api.context], clock=SystemClock(), timeout_s=timeout_s)

    try:
        sites.each([(site.api, ownership.ANY) for site in places], end, tell)
    except KeyboardInterrupt:
        tell(f"the namespace {namespace} may be left: `{_ends(places)}` removes it")
        raise


def _ends(places: Sequence[Site]) -> str:
    """The command that ends what is left."""
    contexts = "".join(f" --context {site.api.context}" for site in places)
    return f"meshmark down --backend kubernetes -n {places[0].wanted.namespace}{contexts}"


def refuse_kept(places: Sequence[Site], needed: Sequence[rights.Right] = ()) -> None:
    """A run begins with empty clusters. `needed`: rights beside its own."""
    sites.require(places, "run", needed)
    for site in places:
        name = site.wanted.namespace
        found = ownership.namespace(site.api, name, ownership.labels_of(site.wanted.namespace_body))
        if found is not None and (ownership.is_ending(found) or ownership.ours(site.api, name)):
            of = f" of the context {site.api.context}" if site.cluster else ""
            raise Busy(
                f"a cluster is up in the namespace {name}{of} already",
                hint=f"`{_ends(places)}` ends it, if nobody needs it.",
            )
