"""Links of the lab, as far as they can be told without a kernel: routes, queues, what netem is asked for."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pyroute2.netlink.rtnl import TC_H_ROOT
from pyroute2.netlink.rtnl.tcmsg import sched_netem

from meshmark.backends.lab import backend as lab_backend
from meshmark.backends.lab.backend import LabBackend
from meshmark.backends.lab.ground import Parts
from meshmark.backends.lab.link import addresses
from meshmark.backends.lab.namespace import NetworkNamespace
from meshmark.backends.lab.netem import NetemProbe, Passed, at_root, counted
from meshmark.backends.lab.wan import (
    COUNTERS,
    FASTEST_BYTES_S,
    MTU_BYTES,
    QUEUE_BYTES_MIN,
    RelayProbe,
    WideLink,
    netem_options,
    queue_bytes,
    relay_spec,
    routes,
)
from meshmark.data_plane import DataPlane
from meshmark.plan import Scenario
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
        "rate": 100_000_000,
        "limit": 2_467,
    }
    assert netem_options(Way(delay_s=0, jitter_s=0, loss=0, bandwidth_bytes_s=None)) == {"delay": 0, "limit": 10_000}


def test_netem_has_room_for_what_is_under_way_and_keeps_packets_in_order() -> None:
    far = netem_options(Way(delay_s=0.05, jitter_s=0, loss=0, bandwidth_bytes_s=None))
    assert far["limit"] * MTU_BYTES >= 0.05 * FASTEST_BYTES_S
    assert "rate" not in far
    narrow = Way(delay_s=0.05, jitter_s=0.01, loss=0, bandwidth_bytes_s=1e7)
    assert netem_options(narrow)["limit"] * MTU_BYTES >= 0.06 * 1e7 + queue_bytes(narrow)
    unsteady = netem_options(Way(delay_s=0.05, jitter_s=0.01, loss=0, bandwidth_bytes_s=None))
    assert unsteady["rate"] == FASTEST_BYTES_S, "without a rate netem lets packets overtake each other"


def test_netem_s_options_are_what_netlink_can_say() -> None:
    """In the kernel's 32-bit fields: delays in ticks, loss as a share of 2**32, the rate in bytes a second."""
    way = Way(delay_s=0.012, jitter_s=0.001, loss=0.25, bandwidth_bytes_s=FASTEST_BYTES_S)
    said = sched_netem.get_parameters(netem_options(way))
    message = sched_netem.options()
    message.setvalue(said)
    message.encode()
    again = sched_netem.options(bytes(message.data))
    again.decode()
    assert again["loss"] == pytest.approx(2**30, abs=2)
    assert again["limit"] == netem_options(way)["limit"]
    assert again.get_attr("TCA_NETEM_RATE")["rate"] == FASTEST_BYTES_S


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
        "forward_carried_packets": 1_000,
        "forward_lost_packets": 0,
        "forward_dropped_packets": 12,
        "back_carried_packets": 300,
        "back_lost_packets": 0,
        "back_dropped_packets": 1,
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


def test_each_round_loses_other_packets_and_each_run_of_a_plan_the_same_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []
    here = Path("/")
    parts = Parts(instance=cast(Any, None), runtime=cast(Any, None), envoy=here, archive=None, log_budget_bytes=1)
    monkeypatch.setattr(LabBackend, "_parts", lambda self, scenario: parts)

    def cluster(parts: Parts, *_: object) -> AbstractContextManager[None]:
        given.append(parts.chance)
        return nullcontext()

    monkeypatch.setattr(lab_backend, "cluster", SimpleNamespace(cluster=cluster))
    for _ in range(2):
        backend = LabBackend(cast(Any, None))
        for plane in (DataPlane.PLAIN, DataPlane.ISTIO, DataPlane.PLAIN):
            backend.cluster(Scenario(name=plane.value, data_plane=plane))
    assert given == ["1/plain/1", "1/istio/1", "1/plain/2"] * 2
    assert relay_spec(TOPOLOGY.links[0], (3, 4), "1/plain/2/a-b", here)["seed"] == "1/plain/2/a-b"


def test_a_relay_s_losses_are_told_for_each_direction_and_together(tmp_path: Path) -> None:
    (tmp_path / "counters").write_bytes(COUNTERS.pack(900, 20, 80, 1_000_000, 90, 0, 10, 5_000))
    found = RelayProbe(MADE[0], tmp_path).read()
    assert {key.removeprefix("link-a-b/relay/"): value for key, value in found.items()} == {
        "carried_packets": 990,
        "lost_packets": 20,
        "dropped_packets": 90,
        "forward_carried_packets": 900,
        "forward_lost_packets": 20,
        "forward_dropped_packets": 80,
        "forward_bytes": 1_000_000,
        "back_carried_packets": 90,
        "back_lost_packets": 0,
        "back_dropped_packets": 10,
        "back_bytes": 5_000,
    }


def test_netem_tells_of_a_direction_what_it_can() -> None:
    found = told(bandwidth_bytes_s=1e6, back=Backward(loss=0.01))
    assert (found["forward_lost_packets"], found["forward_dropped_packets"]) == (0, 12)
    assert (found["forward_carried_packets"], found["back_carried_packets"]) == (1_000, 300)
    assert not {"back_lost_packets", "back_dropped_packets", "lost_packets"} & found.keys()
