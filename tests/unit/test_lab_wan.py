"""Links of the lab, as far as they can be told without a kernel: routes, queues, what netem is asked for."""

from __future__ import annotations

from typing import Any, cast

import pytest
from pyroute2.netlink.rtnl import TC_H_ROOT

from meshmark.backends.lab.link import addresses
from meshmark.backends.lab.namespace import NetworkNamespace
from meshmark.backends.lab.netem import NetemProbe, Passed, at_root, counted
from meshmark.backends.lab.wan import QUEUE_BYTES_MIN, WideLink, netem_options, queue_bytes, routes
from meshmark.topology import Backward, Link, MeshCluster, Topology, Way

TOPOLOGY = Topology(
    clusters=(
        MeshCluster(name="a", brokers=2, clients=1),
        MeshCluster(name="b", brokers=1),
        MeshCluster(name="c", brokers=1, clients=1),
    ),
    links=(Link(ends=("a", "b"), rtt_ms=10), Link(ends=("b", "c"), rtt_ms=10), Link(ends=("c", "a"), rtt_ms=90)),
)
MADE = [
    WideLink(link=link, kind="netem", ends=dict.fromkeys(link.ends, f"wan{number}"))
    for number, link in enumerate(TOPOLOGY.links, start=1)
]


def test_each_cluster_is_a_network_of_its_own_and_hosts_keep_their_numbers() -> None:
    assert {name: address.text for name, address in addresses(4, 2, TOPOLOGY).items()} == {
        "broker-1": "10.77.0.11",
        "broker-2": "10.77.0.12",
        "broker-3": "10.77.1.13",
        "broker-4": "10.77.2.14",
        "client-1": "10.77.0.101",
        "client-2": "10.77.2.102",
    }


def test_routers_know_the_shortest_way_to_every_other_cluster() -> None:
    assert routes(TOPOLOGY, "a", MADE) == {"10.77.1.0/24": "wan1", "10.77.2.0/24": "wan1"}
    assert routes(TOPOLOGY, "b", MADE) == {"10.77.0.0/24": "wan1", "10.77.2.0/24": "wan2"}
    assert routes(TOPOLOGY, "c", MADE) == {"10.77.0.0/24": "wan2", "10.77.1.0/24": "wan2"}


@pytest.mark.parametrize(
    ("bandwidth_bytes_s", "delay_s", "expected"),
    [(1e8, 0.05, 10_000_000), (1e8, 0, 2_000_000), (1e5, 0.05, QUEUE_BYTES_MIN)],
)
def test_a_queue_holds_a_bandwidth_delay_product(bandwidth_bytes_s: float, delay_s: float, expected: int) -> None:
    way = Way(delay_s=delay_s, jitter_s=0, loss=0, bandwidth_bytes_s=bandwidth_bytes_s)
    assert queue_bytes(way) == expected


def test_netem_is_asked_for_what_the_link_says_in_its_units() -> None:
    way = Way(delay_s=0.012, jitter_s=0.001, loss=0.001, bandwidth_bytes_s=1e8)
    assert netem_options(way) == {
        "delay": 12_000,
        "jitter": 1_000,
        "loss": pytest.approx(0.1),
        "rate": "800000000bit",
        "limit": 1_600,
    }
    assert netem_options(Way(delay_s=0, jitter_s=0, loss=0, bandwidth_bytes_s=None)) == {"delay": 0, "limit": 10_000}


def told(**link: Any) -> dict[str, float]:
    """Of 1,000 packets there and 300 back, of 1,500 and 52 bytes, in frames; 12 and 1 did not get through."""
    found = counted(
        Link(ends=("a", "b"), rtt_ms=10, **link),
        Passed(frame_bytes=1_000 * 1_514, packets=1_000, dropped=12),
        Passed(frame_bytes=300 * 66, packets=300, dropped=1),
    )
    return {key.removeprefix("link-a-b/netem/"): value for key, value in found.items()}


def test_what_netem_counts_is_told_in_a_relay_s_words() -> None:
    assert told() == {
        "carried_packets": 1_300,
        "forward_bytes": 1_500_000,
        "back_bytes": 15_600,
        "lost_packets": 0,
        "dropped_packets": 13,
    }


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        pytest.param({"bandwidth_bytes_s": 1e6}, (0, 13), id="a queue that was full"),
        pytest.param({"loss": 0.01}, (13, 0), id="lost as asked"),
        pytest.param({"loss": 0.01, "bandwidth_bytes_s": 1e6}, (None, None), id="one or the other"),
        pytest.param({"back": Backward(loss=0.01), "bandwidth_bytes_s": 1e6}, (None, None), id="in one direction"),
    ],
)
def test_netem_has_one_count_for_what_it_lost_and_what_found_a_queue_full(
    link: dict[str, Any], expected: tuple[float | None, float | None]
) -> None:
    found = told(**link)
    assert (found.get("lost_packets"), found.get("dropped_packets")) == expected


class Said(dict[str, Any]):
    """A message of the kernel, or a part of one."""

    def get_attr(self, name: str) -> Any:
        return self.get(name)


def scheduler(**statistics: Any) -> Said:
    return Said(parent=TC_H_ROOT, TCA_STATS2=Said(statistics))


BASIC, QUEUE = {"bytes": 9_084, "packets": 6}, {"drops": 2}
WHOLE = scheduler(TCA_STATS_BASIC=BASIC, TCA_STATS_QUEUE=QUEUE)


def test_the_scheduler_at_the_root_is_read() -> None:
    assert at_root([Said(parent=1), WHOLE]) == Passed(frame_bytes=9_084, packets=6, dropped=2)


@pytest.mark.parametrize(
    "schedulers",
    [
        pytest.param([], id="none"),
        pytest.param([Said(parent=1)], id="none at the root"),
        pytest.param([WHOLE, WHOLE], id="two"),
        pytest.param([Said(parent=TC_H_ROOT)], id="without statistics"),
        pytest.param([scheduler(TCA_STATS_BASIC=BASIC)], id="without a queue"),
        pytest.param([scheduler(TCA_STATS_QUEUE=QUEUE)], id="without counts"),
    ],
)
def test_a_link_whose_scheduler_tells_nothing_has_no_counters(schedulers: list[Said]) -> None:
    class Router:
        def call(self, _: object) -> Passed:
            return at_root(schedulers)

    router = cast("NetworkNamespace", Router())
    assert NetemProbe(TOPOLOGY.links[0], (router, router), "wan1").read() == {}
