"""A run over two clusters, on two fake API servers that run commands on this machine: no Kafka, no mesh, no node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest

from meshmark.backends.kubernetes import (
    cluster,
    contexts,
    distance,
    handshakes,
    hosts,
    manifests,
    metering,
    rights,
    target,
    targets,
)
from meshmark.backends.kubernetes.change import Wanted
from meshmark.backends.kubernetes.hosts import PodsTestbed
from meshmark.backends.kubernetes.kinds import POD
from meshmark.backends.kubernetes.lifecycle import Site
from meshmark.backends.kubernetes.measured import LoadPods, measured
from meshmark.backends.kubernetes.metering import Metering, all_metered
from meshmark.backends.kubernetes.stream import AgentLink
from meshmark.cli import app
from meshmark.cluster import probe_links
from meshmark.data_plane import DataPlane
from meshmark.errors import Busy, ClusterUnreachable, ComponentFailed, NoRights, UsageError
from meshmark.nodes import CpuReading, Metered
from meshmark.plan import Plan
from meshmark.planfile import load
from tests.lab.ground import ROOT
from tests.unit.kubernetes.conftest import SPACE, Two
from tests.unit.kubernetes.test_cluster_rights import in_use, plain
from tests.unit.kubernetes.test_schemas import judge

Capture = pytest.CaptureFixture[str]
EXAMPLE = str(ROOT / "examples" / "stretched-24ms.yaml")
BOTH = ("--context", "one=first", "--context", "two=second")
RUN = ("run", EXAMPLE, "--backend", "kubernetes", "--client-image", "x", *BOTH)


def places(plan: Plan | None = None, *, kafka: bool = False) -> list[Site]:
    plan = plan or load(Path(EXAMPLE))
    [scenario] = plan.scenarios
    found = contexts.contexts()
    apis = {"one": contexts.connect(found, "first"), "two": contexts.connect(found, "second")}
    asked = target(plan, scenario, kafka_version="4.4.0", share_nodes=True)
    return [
        Site(
            api=apis[place.cluster],
            wanted=Wanted(
                scenario=scenario,
                manifests=measured(
                    manifests(plan, scenario, place), scenario, place, LoadPods(image="meshmark:1"), kafka=kafka
                ),
            ),
        )
        for place in targets(scenario, asked)
    ]


@contextmanager
def opened(two: Two, told: list[str] | None = None) -> Iterator[PodsTestbed]:
    two.rooted()
    with cluster.testbed(places(), tell=nobody if told is None else told.append, timeout_s=60) as bed:
        yield bed


def nobody(text: str) -> None:
    """Hears it."""


def pods(two: Two) -> list[list[str]]:
    return [sorted(name for kind, _, name in fake.objects if kind == POD) for fake in two]


def test_each_cluster_has_its_own_brokers_and_load_pods_and_somebody_outside_the_mesh(two: Two) -> None:
    with opened(two) as bed:
        assert pods(two) == [["broker-1", "broker-2", "client-1", "stranger-1"], ["broker-3", "stranger-2"]]
        assert [bed.beside(host) for host in bed.broker_hosts] == [("stranger-1",), ("stranger-1",), ("stranger-2",)]
    assert [fake.names() for fake in two] == [[], []]


def test_load_pods_are_numbered_through_the_clusters(two: Two) -> None:
    plan = load(Path(EXAMPLE))
    [scenario] = plan.scenarios
    one, other = scenario.cluster.topology.clusters
    clusters = (one, other.model_copy(update={"clients": 2}))
    topology = scenario.cluster.topology.model_copy(update={"clusters": clusters})
    spec = scenario.cluster.model_copy(update={"topology": topology, "clients": 3})
    wide = plan.model_copy(update={"scenarios": (scenario.model_copy(update={"cluster": spec}),)})
    made = [{each.file: each.body for each in site.wanted.manifests} for site in places(wide, kafka=True)]
    ordinals = [
        (body["spec"]["ordinals"]["start"], body["spec"]["replicas"])
        for body in (each["clients.yaml"] for each in made)
    ]
    assert ordinals == [(1, 1), (2, 2)]
    for body in (body for each in made for body in each.values()):
        assert [error.message for error in judge(body).iter_errors(body)] == []
    assert "clients.yaml" not in {each.file for each in places()[1].wanted.manifests}


def test_what_is_done_in_a_pod_is_done_in_its_cluster(two: Two) -> None:
    with opened(two) as bed, bed.spawn("broker-3", ["cat"], name="echo") as process:
        process.send_line("one")
        assert process.read_line(20) == "one"
        assert (two.first.commands[-1][-1], two.second.commands[-1][-1]) != ("cat", "cat")
        assert two.second.commands[-1][-1] == "cat"
        assert {bed.node(host) for host in bed.agents} == {"one/n1", "two/n1"}
        assert not any("machine/cpu/idle_s" in probe.read() for probe in bed.probes())


def test_the_way_between_clusters_is_timed_by_the_kernels_from_either_side(two: Two) -> None:
    with opened(two) as bed:
        idle, loaded = probe_links(bed), probe_links(bed, 3)
    for probes, trial in ((idle, None), (loaded, 3)):
        assert [(each.source, each.target) for each in probes] == [("one", "two"), ("two", "one")]
        assert {(each.kind, each.trial, each.asked_rtt_s) for each in probes} == {("found", trial, 0.024)}
        for each in probes:
            assert each.rtt_min_s is not None
            assert each.rtt_s is not None
            assert each.rtt_max_s is not None
            assert 0 < each.rtt_min_s <= each.rtt_s <= each.rtt_max_s
            assert each.congestion_control
            assert each.tcp_memory_bytes is not None


def test_a_handshake_that_nobody_answers_has_no_time() -> None:
    with handshakes.listening("127.0.0.3", 5203):
        assert [len(each) for each in handshakes.handshakes("127.0.0.3", 5203, 5, 5.0)] == [5, 0]
    times_s, failed = handshakes.handshakes("127.0.0.3", 5203, 5, 5.0)
    assert times_s == []
    assert "refused" in failed


class Unheard:
    """An agent to whose handshakes nobody answers, or that itself does not."""

    def __init__(self, host: str, *, away: bool = False) -> None:
        self.host, self._away = host, away

    def ask(self, question: str, **_: object) -> object:
        if question == "way" and self._away:
            raise ClusterUnreachable("the connection broke")
        said = {"times_s": [], "failed": "timed out", "congestion_control": "cubic", "tcp_memory_bytes": [1, 2]}
        return said if question == "way" else None


def test_a_way_without_a_time_ends_the_run_before_load_and_is_recorded_so_under_it() -> None:
    [scenario] = load(Path(EXAMPLE)).scenarios
    agents = cast("Mapping[str, AgentLink]", {"one": Unheard("broker-1"), "two": Unheard("broker-3", away=True)})

    def timed(trial: int | None) -> list[tuple[str, float | None, str]]:
        found = distance.probes(scenario.cluster.topology, agents, lambda host: f"address of {host}", trial)
        return [(each.source, each.rtt_s, each.congestion_control) for each in found]

    told = "from broker-1 in the cluster one with broker-3 in two, at address of broker-3 port 5203: timed out"
    with pytest.raises(ComponentFailed, match=told):
        timed(None)
    assert timed(3) == [("one", None, "cubic"), ("two", None, "")]


def test_rights_that_lack_are_told_of_all_clusters_at_once(two: Two, capsys: Capture, tmp_path: Path) -> None:
    two.first.denied, two.second.denied = {("create", "pods/exec")}, {("get", "pods/log"), ("list", "events")}
    assert app.main([*RUN, "--out", str(tmp_path / "run")]) == NoRights.exit_code
    told = capsys.readouterr().err
    assert "context first lacks 1 right that run needs in the namespace meshmark-istio-mtls: create pods/exec" in told
    assert "context second lacks 2 rights that run needs" in told
    assert [fake.writes for fake in two] == [[], []]


def test_a_run_uses_no_right_that_it_does_not_ask_for(two: Two) -> None:
    with opened(two) as bed:
        bed.logs()
        for fake in two:
            assert in_use(fake.used) <= {plain(right) for right in rights.needed("run")}


def test_a_cluster_that_is_up_in_one_of_them_is_left_alone(two: Two) -> None:
    def again() -> None:
        with opened(two):
            raise AssertionError("not reached")

    with opened(two):
        for name in [name for name in two.first.objects if name[1] == SPACE or name[2] == SPACE]:
            del two.first.objects[name]
        kept = two.second.names()
        with pytest.raises(Busy, match="is up in the namespace meshmark-istio-mtls of the context second already"):
            again()
        assert two.second.names() == kept


def test_an_api_server_that_stays_away_is_named_and_the_other_cluster_is_ended(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "CHECK_S", 0.0)
    told: list[str] = []

    def left_alone() -> None:
        with opened(two, told) as bed:
            two.second.go_away()
            bed.check()  # for a moment it may be away
            monkeypatch.setattr(hosts, "PATIENCE_S", 0.0)
            bed.check()

    with pytest.raises(ClusterUnreachable, match="of the context second cannot be reached"):
        left_alone()
    assert two.first.names() == []
    assert "broker-3" in pods(two)[1]
    assert told[-1].startswith(f"the namespace {SPACE} is left: ")
    assert told[-2].startswith("second: ")
    two.second.away = 0
    assert app.main(["down", "--backend", "kubernetes", "-n", SPACE, "--context", "second"]) == 0
    assert two.second.names() == []


def test_a_connection_that_broke_with_its_api_server_is_explained_by_that(two: Two) -> None:
    with opened(two) as bed, bed.spawn("broker-3", ["cat"], name="echo") as process:
        two.second.go_away()
        with pytest.raises(ClusterUnreachable, match=r"the connection to echo on broker-3 broke \(context second\)"):
            process.read_line(20)
        with pytest.raises(ClusterUnreachable, match="of the context second cannot be reached"):
            bed.explain()
        two.second.away = 0


def test_a_pod_that_goes_is_told_with_the_events_of_its_own_cluster(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "CHECK_S", 0.0)

    def evicted() -> None:
        with opened(two) as bed:
            two.second.evict("broker-3", SPACE)
            bed.check()

    with pytest.raises(ComponentFailed, match="broker-3 is gone") as failed:
        evicted()
    assert failed.value.log_tail == ("pod/broker-3: Evicted: The node was low on resource: memory.",)


def test_what_pods_wrote_and_the_events_of_each_cluster_are_kept(two: Two) -> None:
    two.second.brokers = "unplaced"
    two.rooted()
    texts: dict[str, str] = {}

    def keep(files: Mapping[str, Path]) -> None:
        texts.update({name: file.read_text(encoding="utf-8") for name, file in files.items()})

    with (
        pytest.raises(ComponentFailed, match=r"not ready after 0\.5 s") as failed,
        cluster.cluster(places(), keep, tell=nobody, timeout_s=0.5),
    ):
        raise AssertionError("not reached")
    assert failed.value.hint == "It is removed; `meshmark up` shows the same and keeps it."
    assert "pod/broker-3: FailedScheduling" in texts["two.events.log"]
    assert {"broker-1-kafka.log", "broker-3-kafka.log", "stranger-2-stranger.log"} <= texts.keys()


def test_meshes_that_are_not_one_end_a_run_with_the_steps_and_nothing_stays(two: Two) -> None:
    two.rooted(second="other")
    with (
        pytest.raises(ComponentFailed, match="no root of trust in common") as failed,
        cluster.testbed(places(), tell=nobody, timeout_s=60),
    ):
        raise AssertionError("not reached")
    assert failed.value.hint == (
        "`meshmark infra istio` prints the steps that make one mesh of these clusters. It is removed; `meshmark up` "
        "shows the same and keeps it."
    )
    assert [fake.names() for fake in two] == [[], []]


def test_configurations_are_those_of_every_cluster(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(two) as bed:
        # no Envoy is there to be asked
        monkeypatch.setattr(bed, "scenario", bed.scenario.model_copy(update={"data_plane": DataPlane.PLAIN}))
        found = bed.configurations()
    assert {"broker-1.properties", "broker-2.properties", "broker-3.properties"} <= found.keys()
    assert {name for name in found if name.endswith(".statefulset.yaml")} == {
        *(f"one.{name}.statefulset.yaml" for name in ("broker", "client", "stranger")),
        *(f"two.{name}.statefulset.yaml" for name in ("broker", "stranger")),
    }


class Meter:
    """A Prometheus that has one reading, at another time than others have."""

    def __init__(self, url: str, *_: object) -> None:
        self._url = url

    def read(self, now_at: float) -> Metered:
        read_at = now_at - float(self._url == "http://10.0.0.8:80")
        reading = CpuReading(node="n1", part="node", read_at=read_at, cpu_s=1.0)
        return Metered.of([reading], [], [f"no more of {self._url}"])


def test_nodes_of_one_name_are_told_apart_by_their_cluster(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metering, "Prometheus", Meter)
    sources = {
        "one": Metering(prometheus="http://10.0.0.9:80"),
        "two": Metering(prometheus="http://10.0.0.8:80"),
    }
    with opened(two) as bed, all_metered(bed.on_nodes(), sources, SPACE) as meter:
        told = meter.read(100.0)
    assert [(each.node, each.read_at) for each in told.cpu] == [("two/n1", 99.0), ("one/n1", 100.0)]
    assert told.problems == ("one: no more of http://10.0.0.9:80", "two: no more of http://10.0.0.8:80")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--prometheus", "http://example.com:9090"), "is of one cluster, and the topology has 2"),
        (("--prometheus", "find"), "is of one cluster, and the topology has 2"),
        (("--context", "again"), "it is not clear which context each is"),
    ],
)
def test_what_cannot_be_meant_is_refused(more: tuple[str, ...], said: str, two: Two, capsys: Capture) -> None:
    assert app.main([*RUN, *more]) == UsageError.exit_code
    assert said in capsys.readouterr().err
    assert [fake.used for fake in two] == [set(), set()]


def test_distances_over_the_same_clusters_are_refused_with_what_can_be_done(two: Two, capsys: Capture) -> None:
    several = ["run", "distance", "--only", "*-istio-mtls", *RUN[2:]]
    assert app.main(several) == UsageError.exit_code
    assert "differ in links between the same clusters" in capsys.readouterr().err
    assert [fake.used for fake in two] == [set(), set()]


def test_scenarios_in_different_clusters_and_gateways_are_refused(two: Two, tmp_path: Path, capsys: Capture) -> None:
    text = Path(EXAMPLE).read_text(encoding="utf-8")
    here = "cluster: {topology: {clusters: [], links: []}}"
    mixed = tmp_path / "mixed.yaml"
    mixed.write_text(f"{text}  - {{name: near, dataPlane: istio-mtls, {here}}}\n", encoding="utf-8")
    assert app.main(["run", str(mixed), *RUN[2:]]) == UsageError.exit_code
    assert "are in different clusters (istio-mtls: one, two; near: one cluster)" in capsys.readouterr().err
    gateways = str(ROOT / "examples" / "gateways.yaml")
    assert app.main(["run", gateways, *RUN[2:]]) == UsageError.exit_code
    assert "one, two is behind a gateway, which nobody reads there" in capsys.readouterr().err
    operate = ["operate", "restart", "-f", EXAMPLE, "--backend", "kubernetes", "--client-image", "x", *BOTH]
    assert app.main(operate) == UsageError.exit_code
    assert "`operate` goes to one cluster of Kubernetes" in capsys.readouterr().err
    assert [fake.used for fake in two] == [set(), set()]
