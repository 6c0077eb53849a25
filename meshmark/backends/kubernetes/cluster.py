"""A scenario in a cluster as `meshmark/cluster.py` asks for it: pods with Kafka serving on them, or without.

    with testbed(api, wanted, ...) as bed: ...
    with cluster(api, wanted, ...) as made: ...

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

from meshmark.backends.kubernetes import evidence, lifecycle, manifest, ownership, rights, tls
from meshmark.backends.kubernetes.api import APPLIED_STAYS, Api
from meshmark.backends.kubernetes.change import Tell, Wanted
from meshmark.backends.kubernetes.config import TLS_DIRECTORY
from meshmark.backends.kubernetes.evidence import Place
from meshmark.backends.kubernetes.hosts import PodsTestbed
from meshmark.backends.kubernetes.kept import kept
from meshmark.backends.kubernetes.metering import NOBODY, Metering, metered
from meshmark.clock import SystemClock
from meshmark.cluster import KeepLogs, TopicLayout, discard_logs
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
from meshmark.kafka.properties import BROKER_PORT
from meshmark.kafka.shown import wait_until_shown
from meshmark.nodes import Metered, NodesRead, error_between_s
from meshmark.plan import Workload
from meshmark.record import Proof

SERVING_TIMEOUT_S = 90.0
RELOAD_TIMEOUT_S, RELOAD_EACH_S = 240.0, 3.0
"""A kubelet looks for changes of a Secret every minute or so."""


class PodsCluster(PodsTestbed):
    """Implements `meshmark.cluster.Cluster`, `Pausable`, `Clocked` and `OnNodes`; made by `cluster` alone."""

    def __init__(self, api: Api, wanted: Wanted, stack: ExitStack, metering: Metering) -> None:
        super().__init__(api, wanted, stack)
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
        self._metering = metering
        self._meter = stack.enter_context(metered(api, metering, self.nodes(), self.namespace))

    @property
    def bootstrap_servers(self) -> str:
        brokers = range(1, self.scenario.cluster.brokers + 1)
        return ",".join(f"{self._name(number)}:{BROKER_PORT}" for number in brokers)

    @property
    def client_config(self) -> Mapping[str, str]:
        if self.scenario.data_plane.kafka_tls:
            return {"security.protocol": "SSL", "ssl.ca.location": evidence.AUTHORITY}
        return {"security.protocol": "PLAINTEXT"}

    @property
    def encrypted_hops(self) -> tuple[str, ...]:
        return self.scenario.data_plane.encrypted_hops

    @property
    def plain_hops(self) -> tuple[str, ...]:
        return self.scenario.data_plane.plain_hops

    def create_topics(self, workload: Workload, prefix: str) -> Layout:
        return self._administration.create(workload, self.scenario.cluster, prefix)

    def delete_topics(self, layout: TopicLayout) -> None:
        self._administration.delete(layout)

    def prove(self) -> Sequence[Proof]:
        brokers = [
            Place(host=host, address=self.address(host), name=self._name(number))
            for number, host in enumerate(self.broker_hosts, start=1)
        ]
        agents = {host: self.agents[host] for host in self.broker_hosts}
        stranger = next((self.agents[host] for host in self.strangers), None)
        clients = [self.agents[host] for host in self.client_hosts]
        found = evidence.prove(self.scenario.data_plane, brokers, agents, clients, stranger)
        if self.around is None:
            return found
        return (*found, *self.around.proofs(len(clients) * len(brokers), len(brokers) * (len(brokers) - 1)))

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
        if self._wanted.issuer is None:
            raise MissingRequirement(f"the data plane {self.scenario.data_plane} has no certificates of Kafka's own")
        body = tls.secret(self.namespace, ownership.labels_of(self._wanted.manifests[-1].body), self._wanted.issuer)
        self._renewed = tls.fingerprint_of(body)
        self.api.apply(body)

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
        told = self._meter.read(time.time()) if self._meter else Metered()
        return NodesRead(
            readings=len(spreads_s),
            spread_p50_s=statistics.median(spreads_s) if spreads_s else None,
            spread_max_s=max(spreads_s, default=None),
            clocks=tuple(self.clocks),
            source=self._metering.source,
            verified=self._metering.authority is not None,
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

    def _name(self, number: int) -> str:
        return manifest.address(number, self.namespace, stretched=bool(self.scenario.cluster.topology))

    def _partitions(self) -> set[tuple[str, str]]:
        return {(name, host) for host in self.broker_hosts for name in self.agents[host].ask("partitions")}

    def _lead(self, leaders: Leaders) -> None:
        for host in self.broker_hosts:
            led = [[topic, number] for (topic, number), leader in leaders.items() if leader == host]
            self.agents[host].ask("lead", partitions=led)


@contextmanager
def testbed(api: Api, wanted: Wanted, *, tell: Tell, timeout_s: float) -> Iterator[PodsTestbed]:
    """Pods and, where the data plane has them, sidecars; brokers' containers are idle."""
    with _up(api, wanted, discard_logs, tell=tell, timeout_s=timeout_s), ExitStack() as stack:
        yield PodsTestbed(api, wanted, stack)


@contextmanager
def cluster(
    api: Api,
    wanted: Wanted,
    keep_logs: KeepLogs,
    *,
    tell: Tell,
    timeout_s: float,
    metering: Metering = NOBODY,
) -> Iterator[PodsCluster]:
    """A testbed with Kafka serving through the data plane."""
    with _up(api, wanted, keep_logs, tell=tell, timeout_s=timeout_s), ExitStack() as stack:
        made = PodsCluster(api, wanted, stack, metering)
        stack.callback(lambda: keep_logs(made.logs()))
        try:
            made.wait_until_serving()
            yield made
        except (ComponentFailed, ClusterUnreachable, LoadError):
            made.explain()
            raise


@contextmanager
def _up(api: Api, wanted: Wanted, keep_logs: KeepLogs, *, tell: Tell, timeout_s: float) -> Iterator[None]:
    """Removed on any way out. What ended it counts more than what then keeps it from being removed."""
    refuse_kept(api, wanted)
    try:
        with _logs_kept(api, wanted.namespace, keep_logs):
            try:
                lifecycle.up(api, wanted, tell=tell, clock=SystemClock(), timeout_s=timeout_s)
            except MeshmarkError as error:
                if error.hint.endswith((lifecycle.STAYS, APPLIED_STAYS)):
                    error.hint = "It is removed; `meshmark up` shows the same and keeps it."
                raise
            yield
    except BaseException:
        try:
            _down(api, wanted, tell, timeout_s)
        except MeshmarkError as error:
            tell(f"the namespace {wanted.namespace} is left: {error.message}; `meshmark down` removes it")
        raise
    _down(api, wanted, tell, timeout_s)


@contextmanager
def _logs_kept(api: Api, namespace: str, keep_logs: KeepLogs) -> Iterator[None]:
    try:
        yield
    finally:
        if keep_logs is not discard_logs:
            with tempfile.TemporaryDirectory(prefix="meshmark-") as directory:
                keep_logs(kept(api, namespace, Path(directory)))


def _down(api: Api, wanted: Wanted, tell: Tell, timeout_s: float) -> None:
    try:
        lifecycle.down(api, wanted.namespace, tell=tell, clock=SystemClock(), timeout_s=timeout_s)
    except KeyboardInterrupt:
        command = f"meshmark down --backend kubernetes -n {wanted.namespace}"
        tell(f"the namespace {wanted.namespace} may be left: `{command}` removes it")
        raise


def refuse_kept(api: Api, wanted: Wanted, needed: Sequence[rights.Right] = ()) -> None:
    """A run begins with an empty cluster. `needed`: rights beside its own."""
    rights.require(api, "run", wanted.namespace, needed)
    found = ownership.namespace(api, wanted.namespace, ownership.labels_of(wanted.namespace_body))
    if found is not None and (ownership.is_ending(found) or ownership.ours(api, wanted.namespace)):
        raise Busy(
            f"a cluster is up in the namespace {wanted.namespace} already",
            hint=f"`meshmark down --backend kubernetes -n {wanted.namespace}` ends it, if nobody needs it.",
        )
