"""A scenario over the clusters of its topology, or in one: what `lifecycle` does with one of them, done with all.

Nothing is applied in any of them before each has said that it would take it. Then their meshes must have one root of
trust, and pods must reach those of clusters without a gateway directly: both are looked at apart, since brokers that
do not find each other only wait. Limits: whether istiods know each other's services is told by the brokers alone,
which are not ready else.
"""

from __future__ import annotations

import io
import re
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from meshmark.backends.kubernetes import change, lifecycle, rights
from meshmark.backends.kubernetes.api import Api
from meshmark.backends.kubernetes.change import Tell
from meshmark.backends.kubernetes.kinds import CONFIG_MAP, POD
from meshmark.backends.kubernetes.lifecycle import Site
from meshmark.backends.kubernetes.manifest import MANAGED, OWNER, Body
from meshmark.backends.kubernetes.ownership import Labels
from meshmark.backends.kubernetes.pods import BASH
from meshmark.backends.kubernetes.state import CONTAINER, State
from meshmark.backends.kubernetes.stretched import PROBE_PORT
from meshmark.clock import Clock
from meshmark.errors import ClusterUnreachable, ComponentFailed, MeshmarkError, NoRights, UsageError

ROOT = "istio-ca-root-cert"
"""istiod puts its root of trust into every namespace."""
ROOT_KEY = "root-cert.pem"
ROOT_S = 60.0
"""How long it may take for that."""
CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
REACH_S = 5
CONNECT = f"""there=/dev/tcp/$0/$1
connect() {{ : < "$there"; }}
ask() {{
  for _ in 1 2 3 4 5; do
    begun=${{EPOCHREALTIME/[.,]/}}
    connect 2> /dev/null
    echo $((${{EPOCHREALTIME/[.,]/}} - begun))
  done
  connect
}}
ask &
asking=$!
{{ read -rt {REACH_S} <> <(:); kill $asking; }} > /dev/null 2>&1 &
limit=$!
wait $asking
code=$?
kill $limit 2> /dev/null
exit $code
"""
"""How long a connection takes that is accepted or refused, in microseconds, five times; then why it failed. By bash
alone: images of Kafka may have no `timeout`."""
KILLED = 128
"""Added by a shell to the number of the signal."""
STAYS = "What was applied stays; `meshmark down` removes it."
STEPS = f"`meshmark infra istio` prints the steps that make one mesh of these clusters. {STAYS}"

Place = tuple[Api, Labels]
"""A cluster, and what the namespace's labels are there if it holds what is meant."""


def up(sites: Sequence[Site], *, tell: Tell, clock: Clock, timeout_s: float, force: bool = False) -> tuple[State, ...]:
    """Applies the scenario in all clusters, and returns when all brokers are ready. Raises what `lifecycle.up` does,
    and ComponentFailed where the meshes, or the networks, are not one."""
    if len(sites) == 1:
        [only] = sites
        return (lifecycle.up(only.api, only.wanted, tell=tell, clock=clock, timeout_s=timeout_s, force=force),)
    for verb in ("up", "exec"):
        require(sites, verb)
    for site in sites:
        change.apply(site.api, site.wanted, tell=_nobody, dry_run=True, force=force)
    for site in sites:
        change.apply(site.api, site.wanted, tell=of_cluster(tell, site), force=force)
    if sites[0].wanted.scenario.data_plane.sidecars:
        _require_one_root(sites, clock, timeout_s)
    tried: list[bool] = []

    def try_once() -> None:
        if tried:
            return
        pods = {site.cluster: pod for site in sites if (pod := _running(site))}
        if len(pods) == len(sites):
            _require_reach(sites, pods, tell)
            tried.append(True)

    return lifecycle.ready(sites, tell=tell, clock=clock, timeout_s=timeout_s, meanwhile=try_once)


def require(sites: Sequence[Site], verb: rights.Verb, more: Sequence[rights.Right] = ()) -> None:
    """Raises NoRights with all that are lacking, in all clusters."""
    lacking: list[NoRights] = []
    for site in sites:
        try:
            rights.require(site.api, verb, site.wanted.namespace, more)
        except NoRights as error:
            lacking.append(error)
    if lacking:
        raise NoRights("; ".join(error.message for error in lacking), hint=lacking[0].hint)


def each(places: Sequence[Place], do: Callable[[Api, Labels], None], tell: Tell) -> None:
    """With every one, whatever goes wrong with another: that is told, and the first error raised in the end."""
    failed: list[MeshmarkError] = []
    for api, labels in places:
        try:
            do(api, labels)
        except MeshmarkError as error:
            failed.append(error)
            if len(places) > 1:
                tell(f"{api.context}: {error.message}")
    if failed:
        raise failed[0]


def of(places: Sequence[Place], namespace: str, broker: str) -> Place:
    """The one that has the broker. Raises UsageError where none has it, and what went wrong with one that may have
    it."""
    hosts: list[str] = []
    failed: list[MeshmarkError] = []
    for place in places:
        try:
            there = [pod["metadata"]["name"] for pod in place[0].find(POD, namespace, {MANAGED: OWNER})]
        except (ClusterUnreachable, NoRights) as error:
            failed.append(error)
            continue
        if broker in there:
            return place
        hosts += there
    if failed:
        raise failed[0]
    raise UsageError(f"there is no host {broker}", hint=f"Hosts are: {', '.join(sorted(hosts)) or 'none yet'}.")


def _require_one_root(sites: Sequence[Site], clock: Clock, timeout_s: float) -> None:
    namespace = sites[0].wanted.namespace
    roots: dict[str, set[str]] = {}

    def look() -> bool | None:
        roots.update((site.cluster, _roots(site)) for site in sites)
        return all(roots.values()) or None

    if lifecycle.wait(look, clock, min(timeout_s, ROOT_S)) is None:
        raise ComponentFailed(
            f"no istiod has put its root of trust into the namespace {namespace} (ConfigMap {ROOT}) of "
            + ", ".join(name for name, found in roots.items() if not found),
            component="istio",
            hint=STEPS,
        )
    if not set.intersection(*roots.values()):
        raise ComponentFailed(
            f"the meshes of {', '.join(roots)} have no root of trust in common: no sidecar would take another's "
            "certificate",
            component="istio",
            hint=STEPS,
        )


def _roots(site: Site) -> set[str]:
    body = site.api.get(CONFIG_MAP, ROOT, site.wanted.namespace) or {}
    text = (body.get("data") or {}).get(ROOT_KEY, "")
    return {"".join(found.split()) for found in CERTIFICATE.findall(text)}


def _require_reach(sites: Sequence[Site], pods: Mapping[str, Body], tell: Tell) -> None:
    """From a pod of each cluster to one of each other that has no gateway."""
    if missed := list(_missed(sites, pods, tell)):
        raise ComponentFailed(
            f"pods do not reach each other directly: {', '.join(missed)}",
            component="network",
            hint="The plan's topology says that they do. Route and allow it (`gateway: true` says that a cluster is "
            f"reached through an east-west gateway). {STAYS}",
        )


def _missed(sites: Sequence[Site], pods: Mapping[str, Body], tell: Tell) -> Iterator[str]:
    topology = sites[0].wanted.scenario.cluster.topology
    behind = {cluster.name for cluster in topology.gateways()}
    for source in sites:
        for target in pods:
            if target not in (source.cluster, *behind):
                address = str(pods[target]["status"]["podIP"])
                answer = _asked(source, str(pods[source.cluster]["metadata"]["name"]), address)
                if answer.problem:
                    yield f"{source.cluster} to {target} ({address}: {answer.problem})"
                else:
                    tell(_round_trip(source, target, answer))


class Answer(NamedTuple):
    """Of another cluster's kernel: why there is none, or how long each took."""

    problem: str
    times_s: tuple[float, ...]


def _asked(site: Site, pod: str, address: str) -> Answer:
    """A refusal is an answer: nothing listens there."""
    out, err = io.BytesIO(), io.BytesIO()
    command = [BASH, "-c", CONNECT, address, str(PROBE_PORT)]
    code = site.api.execute(pod, site.wanted.namespace, CONTAINER, command, out, err)
    said = err.getvalue().decode(errors="replace").strip()
    if code == 0 or "refused" in said:
        return Answer("", tuple(int(text) / 1e6 for text in out.getvalue().split()))
    why = "" if code > KILLED else said.rpartition(": ")[2]
    return Answer(why or f"no answer within {REACH_S} s", ())


def _round_trip(source: Site, target: str, answer: Answer) -> str:
    topology = source.wanted.scenario.cluster.topology
    there, back = topology.way(source.cluster, target), topology.way(target, source.cluster)
    expected = f"the plan says {(there.delay_s + back.delay_s) * 1e3:g} ms"
    found = f"{statistics.median(answer.times_s) * 1e3:.1f} ms" if answer.times_s else "not measured"
    return f"round trip from {source.cluster} to {target}: {found}; {expected}"


def _running(site: Site) -> Body | None:
    """A pod whose broker's container runs."""
    for pod in site.api.find(POD, site.wanted.namespace, {MANAGED: OWNER}):
        status = pod.get("status") or {}
        running = any(
            each["name"] == CONTAINER and "running" in (each.get("state") or {})
            for each in status.get("containerStatuses") or []
        )
        if running and status.get("podIP"):
            return pod
    return None


def of_cluster(tell: Tell, site: Site) -> Tell:
    """Says of which one it is, in a topology."""
    return (lambda text: tell(f"{site.cluster}: {text}")) if site.cluster else tell


def _nobody(text: str) -> None:
    """Hears it."""
