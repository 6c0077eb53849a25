"""A topology in a plan file against itself: unknown clusters, clusters without a path, numbers that contradict.

As in `limits`, a value that is already known to be wrong is left out; what is left is compared, and every problem has
its place in the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from meshmark.data_plane import DataPlane
from meshmark.planfile.schema import did_you_mean
from meshmark.planfile.tree import START, Node, Problem
from meshmark.topology import TRUST_DOMAIN, reachable


@dataclass(frozen=True, slots=True)
class _Link:
    node: Node
    ends: tuple[str, str]


def problems(topology: Node, told: dict[str, int | None], data_plane: object, bad: set[str]) -> list[Problem]:
    """`told` are the numbers of brokers and clients that the scenario's cluster says; None: wrong already."""
    clusters = _entries(topology, "clusters")
    if not clusters:
        return [
            _at(link, "a link needs clusters; name them in topology.clusters") for link in _entries(topology, "links")
        ]
    named = [(str(name), each) for each in clusters if (name := _value(each, "name", bad)) is not None]
    names = list(dict.fromkeys(name for name, _ in named))
    found = [
        _at(each, f"a second cluster named {name}; give it another name")
        for place, (name, each) in enumerate(named)
        if name in [before for before, _ in named[:place]]
    ]
    links, wrong = _links(topology, names, bad)
    found += wrong
    if not wrong and not found:
        found += _apart(named, links)
    for each in clusters:
        found += _controllers(each, bad) + _mesh(each, data_plane, bad)
    found += _roles(topology, clusters, bad) + _hosts(topology, clusters, bad)
    for link in _entries(topology, "links"):
        found += _jitter(link, bad)
    for what, number in told.items():
        found += _sum(topology, clusters, what, number, bad)
    return found


def _links(topology: Node, names: Sequence[str], bad: set[str]) -> tuple[list[_Link], list[Problem]]:
    links: list[_Link] = []
    found: list[Problem] = []
    for each in _entries(topology, "links"):
        ends = each.items().get("ends")
        if ends is None or ends.key in bad or not isinstance(ends.value, list):
            continue
        if len(ends.value) != 2:
            found.append(_at(ends, "a link joins two clusters; name both"))
            continue
        unknown = [end for end in ends.value if end.value not in names and end.key not in bad]
        found += [
            _at(
                end,
                f"no cluster is named {end.value}{did_you_mean(str(end.value), names)}; must be one of "
                f"{', '.join(names)}",
            )
            for end in unknown
        ]
        one, other = (str(end.value) for end in ends.value)
        if one == other:
            found.append(_at(ends, f"a link joins two clusters; {one} stands here twice"))
        if any({one, other} == set(link.ends) for link in links):
            found.append(_at(ends, f"a second link between {one} and {other}; two clusters have one"))
        elif alike := next((link for link in links if "-".join(link.ends) == f"{one}-{other}"), None):
            like = " and ".join(alike.ends)
            text = f"would be named {one}-{other}, like the link between {like}; rename one of these clusters"
            found.append(_at(ends, text))
        links.append(_Link(each, (one, other)))
    return links, found


def _apart(named: Sequence[tuple[str, Node]], links: Sequence[_Link]) -> list[Problem]:
    """Of each cluster that the first one has no path to."""
    if not named:
        return []
    first = named[0][0]
    joined = reachable([link.ends for link in links], first)
    return [
        _at(each, f"no path between {first} and {name}; add a link to it, or to a cluster that has one")
        for name, each in named
        if name not in joined
    ]


def _controllers(cluster: Node, bad: set[str]) -> list[Problem]:
    brokers, controllers = (_value(cluster, key, bad) for key in ("brokers", "controllers"))
    if f"{cluster.key}.brokers" in bad or not isinstance(controllers, int):
        return []
    if controllers <= (brokers if isinstance(brokers, int) else 0):
        return []
    node = cluster.items()["controllers"]
    return [
        _at(node, f"{controllers} controllers do not fit on brokers: {brokers or 0}; controllers are brokers as well")
    ]


def _mesh(cluster: Node, data_plane: object, bad: set[str]) -> list[Problem]:
    """What only one mesh with mTLS can be."""
    found = []
    with_gateways = [plane for plane in DataPlane if plane.gateways]
    gateway, trust = (cluster.items().get(key) for key in ("gateway", "trustDomain"))
    name, brokers = (_value(cluster, key, bad) for key in ("name", "brokers"))
    if gateway is not None and gateway.value is True and data_plane in set(DataPlane) - set(with_gateways):
        found.append(
            _at(
                gateway,
                f"{data_plane} has no gateways: they tell brokers apart by the server name that mTLS sends; leave it "
                f"out, or take {' or '.join(with_gateways)}",
            )
        )
    if gateway is not None and gateway.value is True and f"{cluster.key}.brokers" not in bad and not brokers:
        found.append(_at(gateway, f"{name} has no brokers, and a gateway leads to brokers alone; leave it out"))
    if trust is not None and trust.key not in bad and trust.value != TRUST_DOMAIN:
        found.append(
            _at(
                trust,
                f"{trust.value} is another trust domain; sidecars of one mesh have one root of trust, {TRUST_DOMAIN}: "
                "leave it out",
            )
        )
    return found


def _roles(topology: Node, clusters: Sequence[Node], bad: set[str]) -> list[Problem]:
    """Somebody has to elect, and to lead."""
    brokers = [each for each in clusters if _value(each, "brokers", bad) not in (None, 0)]
    found = []
    if brokers and all(_value(each, "controllers", bad) == 0 for each in brokers):
        found.append(_at(topology, "no broker is a controller; leave controllers out, or give one cluster some"))
    if brokers and all((node := each.items().get("passive")) is not None and node.value is True for each in brokers):
        found.append(_at(topology, "all clusters with brokers are passive; one must lead"))
    return found


def _hosts(topology: Node, clusters: Sequence[Node], bad: set[str]) -> list[Problem]:
    """A link between places without hosts carries nothing, and cannot be probed."""
    kinds = ("brokers", "clients")
    if len(clusters) < 2 or any(f"{each.key}.{kind}" in bad for each in clusters for kind in kinds):
        return []
    peopled = [each for each in clusters if any(_value(each, kind, bad) for kind in kinds)]
    if len(peopled) != 1:
        return []
    text = "one cluster has all hosts; give another one brokers or clients, or leave the topology out"
    return [_at(topology, text)]


def _jitter(link: Node, bad: set[str]) -> list[Problem]:
    rtt = _value(link, "rttMs", bad)
    found = []
    for holder in (link, link.items().get("back")):
        jitter = _value(holder, "jitterMs", bad) if holder is not None else None
        if (
            holder is not None
            and isinstance(rtt, int | float)
            and isinstance(jitter, int | float)
            and jitter > rtt / 2
        ):
            node = holder.items()["jitterMs"]
            found.append(
                _at(node, f"{jitter:g} is above half of rttMs, {rtt / 2:g}: some packets would be ahead of time")
            )
    return found


def _sum(topology: Node, clusters: Sequence[Node], what: str, told: int | None, bad: set[str]) -> list[Problem]:
    values = [_value(each, what, bad) for each in clusters]
    held = sum(value for value in values if isinstance(value, int))
    wrong = any(f"{each.key}.{what}" in bad for each in clusters)
    if told is None or wrong or held == told:
        return []
    return [_at(topology, f"its clusters have {held} {what} together, cluster.{what} says {told}; make them equal")]


def _entries(topology: Node, key: str) -> list[Node]:
    node = topology.items().get(key)
    return [each for each in node.value if each.items()] if node is not None and isinstance(node.value, list) else []


def _value(holder: Node, key: str, bad: set[str]) -> object:
    """None where it is not said, or wrong already."""
    node = holder.items().get(key)
    return None if node is None or node.key in bad or isinstance(node.value, bool) else node.value


def _at(node: Node, text: str) -> Problem:
    return Problem(node.at or START, node.key, text)
