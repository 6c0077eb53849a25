"""Topologies: where hosts are, which way packets take, and what is told about those that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshmark import planfile
from meshmark.data_plane import DataPlane
from meshmark.errors import PlanError
from meshmark.plan import ClusterSpec, Plan, Scenario, Workload
from meshmark.topology import Backward, Link, MeshCluster, Topology
from tests.planes import WHOLE

NEAR = MeshCluster(name="near", brokers=2, clients=1)
FAR = MeshCluster(name="far", brokers=1, rack="north")
OFF = MeshCluster(name="off")
ACROSS = Link(ends=("near", "far"), rtt_ms=24)
LINK_OFF = Link(ends=("all", "off"), rtt_ms=24)


def test_without_a_topology_there_is_one_place() -> None:
    assert not ClusterSpec().topology
    assert planfile.builtin("banzai-2019").scenarios[0].cluster.topology == Topology()


def test_the_longest_round_trip_is_that_of_the_shortest_path_between_the_farthest_two() -> None:
    assert Topology().farthest_s() == 0
    links = (ACROSS, Link(ends=("far", "off"), rtt_ms=10), Link(ends=("near", "off"), rtt_ms=50))
    assert Topology(clusters=(NEAR, FAR, OFF), links=links).farthest_s() == pytest.approx(0.034)


def test_time_is_reckoned_for_a_second_attempt_at_the_self_test_over_forty_milliseconds() -> None:
    def needed_s(rtt_ms: float) -> float:
        topology = Topology(clusters=(NEAR, FAR), links=(Link(ends=("near", "far"), rtt_ms=rtt_ms),))
        scenario = Scenario(name="far", data_plane=DataPlane.PLAIN, cluster=ClusterSpec(topology=topology))
        return planfile.estimate_seconds(Plan(name="x", scenarios=(scenario,)))

    assert needed_s(39) == needed_s(0)
    assert needed_s(40) == needed_s(39) + 20


def test_hosts_are_numbered_through_the_clusters() -> None:
    topology = Topology(clusters=(NEAR, FAR), links=(Link(ends=("near", "far"), rtt_ms=24),))
    assert [topology.cluster_of("broker", number).region for number in (1, 2, 3)] == ["near", "near", "north"]
    assert topology.cluster_of("client", 1) is NEAR
    with pytest.raises(ValueError, match="no cluster has a broker"):
        topology.cluster_of("broker", 4)


def test_all_brokers_are_controllers_unless_the_cluster_says_how_many() -> None:
    assert Topology(clusters=(NEAR, FAR)).controllers() == (1, 2, 3)
    some = MeshCluster(name="near", brokers=3, controllers=2)
    assert Topology(clusters=(some, FAR)).controllers() == (1, 2, 4)


def test_brokers_of_passive_clusters_lead_nothing() -> None:
    assert Topology(clusters=(NEAR, FAR)).leading() == (1, 2, 3)
    assert Topology(clusters=(FAR.model_copy(update={"passive": True}), NEAR)).leading() == (2, 3)


def test_the_other_direction_is_alike_but_for_what_is_said_of_it() -> None:
    forward, back = Link(
        ends=("near", "far"), rtt_ms=24, jitter_ms=2, loss=0.01, back=Backward(loss=0, bandwidth_bytes_s=1e6)
    ).ways()
    assert (forward.delay_s, forward.jitter_s, forward.loss, forward.bandwidth_bytes_s) == (0.012, 0.002, 0.01, None)
    assert (back.delay_s, back.jitter_s, back.loss, back.bandwidth_bytes_s) == (0.012, 0.002, 0, 1e6)


def test_a_packet_takes_the_shortest_path_and_the_same_one_back() -> None:
    topology = Topology(
        clusters=(NEAR, FAR, OFF),
        links=(
            Link(ends=("near", "far"), rtt_ms=50),
            Link(ends=("far", "off"), rtt_ms=10, loss=0.1, back=Backward(bandwidth_bytes_s=1e6)),
            Link(ends=("off", "near"), rtt_ms=20, loss=0.2, bandwidth_bytes_s=2e6),
        ),
    )
    assert [link.name for link in topology.path("near", "far")] == ["off-near", "far-off"]
    assert [link.name for link in topology.path("far", "near")] == ["far-off", "off-near"]
    assert (topology.between("near", "far"), topology.between("near", "off")) == (("off",), ())
    way, back = topology.way("near", "far"), topology.way("far", "near")
    assert way.delay_s == back.delay_s == pytest.approx(0.015)
    assert way.loss == pytest.approx(1 - 0.9 * 0.8)
    assert (way.bandwidth_bytes_s, back.bandwidth_bytes_s) == (1e6, 2e6)


def test_where_there_is_no_path_none_is_given() -> None:
    with pytest.raises(ValueError, match="no path between near and far"):
        Topology(clusters=(NEAR, FAR)).way("near", "far")


BOTH = """      - {name: near, brokers: 2, clients: 1}
      - {name: far, brokers: 1}
"""
PLAN = f"""name: x
cluster:
  brokers: 3
  topology:
    clusters:
{BOTH}    links:
      - {{ends: [near, far], rttMs: 24}}
scenarios: [plain]
"""


def test_a_plan_with_a_topology_reads_back_from_what_is_shown_of_it() -> None:
    plan = planfile.loads(PLAN, "f")
    assert plan.scenarios[0].cluster.topology.way("near", "far").delay_s == 0.012
    assert planfile.loads(planfile.dump(plan), "shown") == plan


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (
            "rttMs: 24",
            "rttMs: -1",
            "f:9:36: cluster.topology.links[0].rttMs: -1 is not allowed; must be a number from",
        ),
        ("rttMs: 24", "rttMs: 24, loss: 1", "loss: 1 is not allowed; must be a number from 0 to 0.5"),
        ("rttMs: 24", "rttMs: 24, bandwidthBytesS: x", 'bandwidthBytesS: "x" is not allowed; must be a number from'),
        ("rttMs: 24", "rttMs: 24, jitterMs: 13", "f:9:50: cluster.topology.links[0].jitterMs: 13 is above half"),
        ("rttMs: 24", "rttMs: 24, back: {jitterMs: 13}", "links[0].back.jitterMs: 13 is above half of rttMs, 12"),
        ("rttMs: 24", "rtt: 24", "f:9:29: cluster.topology.links[0].rtt: unknown key (did you mean rttMs?)"),
        (
            "[near, far]",
            "[near, fra]",
            "f:9:23: cluster.topology.links[0].ends[1]: no cluster is named fra; must be one",
        ),
        ("[near, far]", "[near, near]", "f:9:16: cluster.topology.links[0].ends: a link joins two clusters; near"),
        ("[near, far]", "[near]", "f:9:16: cluster.topology.links[0].ends: a link joins two clusters; name both"),
        ("far, brokers: 1}", "far, brokers: 1}\n      - {name: off}", "f:8:9: cluster.topology.clusters[2]: no path"),
        ("far, brokers: 1}", "near, brokers: 1}", "f:7:9: cluster.topology.clusters[1]: a second cluster named near"),
        ("brokers: 1}", "brokers: 1, controllers: 2}", "controllers: 2 controllers do not fit on brokers: 1"),
        (
            BOTH,
            BOTH.replace("brokers", "passive: true, brokers"),
            "f:5:5: cluster.topology: all clusters with brokers",
        ),
        (BOTH, BOTH.replace("brokers", "controllers: 0, brokers"), "f:5:5: cluster.topology: no broker is a contro"),
        (
            "far, brokers: 1}",
            "far, brokers: 1, gateway: true}",
            "f:7:42: cluster.topology.clusters[1].gateway: plain has no gateways: they tell brokers apart by the",
        ),
        (
            "far, brokers: 1}",
            "far, brokers: 1}\n      - {name: off, gateway: true}",
            "f:8:30: cluster.topology.clusters[2].gateway: off has no brokers, and a gateway leads to brokers alone",
        ),
        (
            "far, brokers: 1}",
            "far, brokers: 1, trustDomain: other.example}",
            "f:7:46: cluster.topology.clusters[1].trustDomain: other.example is another trust domain; sidecars of",
        ),
        (
            "{ends: [near, far]",
            "{ends: [near, far], bandwidthBytesS: 4.3e9",
            "is not allowed; must be a number from 10,000 to 4,294,967,295",
        ),
        (
            "near, brokers: 2, clients: 1}\n      - {name: far, brokers: 1}",
            "near, brokers: 3, clients: 1}\n      - {name: far}",
            "f:5:5: cluster.topology: one cluster has all hosts; give another one brokers or clients",
        ),
        ("brokers: 3", "brokers: 4", "f:5:5: cluster.topology: its clusters have 3 brokers together, cluster.brokers"),
        ("clients: 1", "clients: 2", "its clusters have 2 clients together, cluster.clients says 1; make them equal"),
        ("brokers: 3", "brokers: 2", "3 replicas do not fit on brokers: 2"),
        ("    links:\n      - {ends: [near, far], rttMs: 24}\n", "", "no path between near and far; add a link to it"),
    ],
)
def test_a_topology_that_cannot_be_is_told_with_its_place(before: str, after: str, expected: str) -> None:
    with pytest.raises(PlanError) as caught:
        planfile.loads(PLAN.replace(before, after), "f")
    assert any(expected in problem for problem in caught.value.problems), caught.value.problems


def test_links_of_one_name_are_told() -> None:
    links = "{ends: [near, far-off], rttMs: 24}\n      - {ends: [near-far, off], rttMs: 1}"
    clusters = BOTH.replace("name: far,", "name: far-off,") + "      - {name: near-far}\n      - {name: off}\n"
    text = PLAN.replace(BOTH, clusters).replace("{ends: [near, far], rttMs: 24}", links)
    with pytest.raises(PlanError) as caught:
        planfile.loads(text, "f")
    expected = "would be named near-far-off, like the link between near and far-off; rename one of these clusters"
    assert any(expected in problem for problem in caught.value.problems), caught.value.problems


def test_a_gateway_is_for_other_clusters_under_mtls() -> None:
    text = PLAN.replace("far, brokers: 1}", "far, brokers: 1, gateway: true, trustDomain: cluster.local}")
    (scenario,) = planfile.loads(text.replace("[plain]", "[istio-mtls]"), "f").scenarios
    assert [cluster.name for cluster in scenario.gateways] == ["far"]
    assert scenario.model_copy(update={"data_plane": DataPlane.PLAIN}).gateways == ()


def test_all_that_is_wrong_with_a_topology_is_told_at_once() -> None:
    text = PLAN.replace("[near, far], rttMs: 24", "[near, fra], rttMs: -24, loss: 3").replace(
        "brokers: 3", "brokers: 2"
    )
    with pytest.raises(PlanError) as caught:
        planfile.loads(text, "f")
    assert len(caught.value.problems) == 5


@pytest.mark.parametrize(
    ("topology", "expected"),
    [
        (Topology(clusters=(NEAR, FAR)), "a path between any two"),
        (Topology(clusters=(NEAR,)), "2 brokers together, cluster.brokers says 3"),
        (Topology(clusters=(MeshCluster(name="all", brokers=3, controllers=0, clients=1),)), "must be a controller"),
        (
            Topology(clusters=(MeshCluster(name="all", brokers=3, clients=1), OFF), links=(LINK_OFF,)),
            "two clusters at least must have hosts",
        ),
        (
            Topology(clusters=(NEAR, FAR, OFF.model_copy(update={"gateway": True})), links=(ACROSS,)),
            "a cluster without brokers has none",
        ),
        (
            Topology(
                clusters=(NEAR, MeshCluster(name="far-off", brokers=1), MeshCluster(name="near-far"), OFF),
                links=(
                    Link(ends=("near", "far-off"), rtt_ms=1),
                    Link(ends=("near-far", "off"), rtt_ms=1),
                    Link(ends=("far-off", "off"), rtt_ms=1),
                ),
            ),
            "two would have one name",
        ),
        (Topology(clusters=(NEAR, FAR), links=(Link(ends=("near", "x"), rtt_ms=1),)), "must join two"),
        (
            Topology(clusters=(NEAR.model_copy(update={"trust_domain": "other.example"}), FAR), links=(ACROSS,)),
            "one root of trust",
        ),
        (Topology(clusters=(NEAR, FAR.model_copy(update={"gateway": True})), links=(ACROSS,)), "plain has none"),
    ],
)
def test_the_models_refuse_it_as_well(topology: Topology, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        Scenario(name="x", data_plane=DataPlane.PLAIN, cluster=ClusterSpec(topology=topology), workload=Workload())


EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("rtt_ms", [7, 24, 2])
def test_an_example_is_one_of_the_document_s_pairs(rtt_ms: int) -> None:
    plan = planfile.load(EXAMPLES / f"stretched-{rtt_ms}ms.yaml")
    [scenario] = plan.scenarios
    assert scenario.data_plane is DataPlane.ISTIO_MTLS
    assert_is_the_document_s(scenario, rtt_ms)


def assert_is_the_document_s(scenario: Scenario, rtt_ms: float) -> None:
    topology, work = scenario.cluster.topology, scenario.workload
    assert [(cluster.brokers, cluster.voters) for cluster in topology.clusters] == [(2, 2), (1, 1)]
    assert len({cluster.region for cluster in topology.clusters}) == 2
    assert [link.rtt_ms for link in topology.links] == [rtt_ms]
    assert (work.replication_factor, work.topic_config["min.insync.replicas"]) == (3, 3)
    assert work.producer_config["acks"] == "all"


def test_the_geography_plan_has_each_pair_without_a_mesh_flat_and_with_gateways_and_one_that_is_mixed() -> None:
    plan = planfile.builtin("geography")
    for rtt_ms in (7, 24, 2):
        plain, mesh, gated = (plan.scenario(f"{rtt_ms}ms-{how}") for how in ("plain", "istio-mtls", "gateways"))
        assert (plain.data_plane, mesh.data_plane) == (DataPlane.PLAIN, DataPlane.ISTIO_MTLS)
        assert plan.baseline_of(mesh) == plan.baseline_of(plain) == plan.baseline_of(gated) == plain.name
        assert [len(each.gateways) for each in (plain, mesh, gated)] == [0, 0, 2]
        for scenario in (plain, mesh, gated):
            assert_is_the_document_s(scenario, rtt_ms)
    mixed = plan.scenario("24ms-mixed")
    assert [cluster.name for cluster in mixed.gateways] == ["two"]
    assert_is_the_document_s(mixed, 24)
    unencrypted = plan.scenario("24ms-istio")
    assert unencrypted.cluster == plan.scenario("24ms-istio-mtls").cluster
    assert unencrypted.data_plane is DataPlane.ISTIO
    assert len(plan.scenarios) == 11


def test_the_distance_plan_has_four_distances_of_each_data_plane_and_holds_out_two_more_of_two() -> None:
    plan = planfile.builtin("distance")
    for plane in WHOLE:
        own = [scenario for scenario in plan.scenarios if scenario.data_plane is plane]
        rtts_ms = [scenario.cluster.topology.links[0].rtt_ms for scenario in own if not scenario.held_out]
        assert rtts_ms == [0, 12, 50, 100]
        also = [f"25ms-{plane}", f"75ms-{plane}"] if plane in (DataPlane.PLAIN, DataPlane.ISTIO_MTLS) else []
        assert [scenario.name for scenario in own if scenario.held_out] == also
    last = [slot.scenario for slot in plan.order()][-4:]
    assert all(plan.scenario(name).held_out for name in last)


@pytest.mark.parametrize("plane", WHOLE)
def test_one_data_plane_of_the_distance_plan_is_run_without_the_others(plane: DataPlane) -> None:
    chosen = planfile.select(planfile.builtin("distance"), [f"*-{plane}"])
    assert {scenario.data_plane for scenario in chosen.scenarios} == {plane}
    assert {chosen.baseline_of(scenario) for scenario in chosen.scenarios} == {f"0ms-{plane}"}


SETTINGS = (
    "num.replica.fetchers",
    "replica.fetch.max.bytes",
    "replica.fetch.response.max.bytes",
    "replica.socket.receive.buffer.bytes",
    "max.in.flight.requests.per.connection",
    "batch.size",
)


def test_each_of_the_distance_settings_changes_one_thing_and_each_is_tried_without_a_mesh_and_with_mtls() -> None:
    plan = planfile.builtin("distance-settings")
    tried: dict[DataPlane, set[str]] = {plane: set() for plane in WHOLE}
    for scenario in plan.scenarios:
        base = plan.scenario(plan.baseline_of(scenario))
        assert base.data_plane is scenario.data_plane
        changed = [
            (part, key)
            for part in ("cluster", "workload")
            for key, value in getattr(scenario, part).model_dump().items()
            if value != getattr(base, part).model_dump()[key]
        ]
        assert len(changed) == (scenario is not base), changed
        tried[scenario.data_plane] |= {*scenario.cluster.broker_config, *scenario.workload.producer_config}
    for plane in (DataPlane.PLAIN, DataPlane.ISTIO_MTLS):
        assert set(SETTINGS) <= tried[plane]
    assert plan.repeats >= 2, "one life of a cluster gives no interval, so no setting would be seen to move anything"


def test_other_examples_are_what_their_names_say() -> None:
    three = planfile.load(EXAMPLES / "three-data-centres.yaml").scenarios[0].cluster.topology
    assert [cluster.brokers for cluster in three.clusters] == [1, 1, 1]
    pair = planfile.load(EXAMPLES / "active-passive.yaml").scenarios[0].cluster.topology
    assert (pair.leading(), pair.controllers()) == ((1, 2), (1, 2, 3))
    there, back = pair.links[0].ways()
    assert there.bandwidth_bytes_s != back.bandwidth_bytes_s
    [gated] = planfile.load(EXAMPLES / "gateways.yaml").scenarios
    assert [cluster.name for cluster in gated.gateways] == ["one", "two"]
    [mixed] = planfile.load(EXAMPLES / "mixed-gateway.yaml").scenarios
    assert mixed.cluster == planfile.builtin("geography").scenario("24ms-mixed").cluster
    leaders, follower = planfile.load(EXAMPLES / "fetch-from-follower.yaml").scenarios
    assert leaders.reads_nearby
    assert follower.reads_nearby
    assert (leaders.workload.consumer_config, follower.workload.consumer_config) == ({"client.rack": ""}, {})
    slow = planfile.load(EXAMPLES / "steady-state.yaml")
    for scenario in slow.scenarios:
        assert scenario.method.window_seconds >= 60
        assert slow.baseline_of(scenario) == scenario.name, "equal loads are shares of its own ceiling"
    for scenario in planfile.load(EXAMPLES / "flapping-link.yaml").scenarios:
        assert scenario.cluster.topology.flapping()
        assert scenario.workload.subscriptions_per_topic
