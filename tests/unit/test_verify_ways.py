"""`verify` of what lies between clients and brokers: hops of a latency, links, gateways; and of their clocks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from meshmark.analysis.hops import counted_hops
from meshmark.analysis.ledger import broker_hosts, client_hosts
from meshmark.analysis.path import check_path
from meshmark.analysis.verify import verify
from meshmark.data_plane import (
    AT_CONTROLLERS,
    BROKER_BROKER,
    CONTROLLERS_TLS,
    NO_CERTIFICATE,
    NO_PLAINTEXT,
    DataPlane,
)
from meshmark.nodes import ClockCheck, NodesRead
from meshmark.plan import ClusterSpec
from meshmark.record import Trial
from meshmark.store import load
from meshmark.topology import Link, MeshCluster, Topology
from tests.mutants.record import Json, change, change_lines, forge, in_plan, lines, remove, round_of, write_lines
from tests.planes import SELECTIVE
from tests.unit.test_conductor import plan_of, run
from tests.unit.test_verify import files

EXCLUDED = DataPlane.ISTIO_MTLS_EXCLUDE_REPLICATION


def with_hops(directory: Path) -> None:
    """As real brokers count their Produce requests, and what follows from that."""

    def counted(values: Json) -> Json:
        stored = values["broker-1/kafka/log_bytes"]
        return {"broker-1/kafka/produce_requests": stored / 1e4, "broker-1/kafka/produce_local_s": stored / 1e9}

    def in_trials(found: list[Json]) -> None:
        for trial in found:
            for name in ("countersStart", "countersEnd", "quietStart", "quietEnd"):
                trial[name] |= counted(trial[name])
            if trial["hops"]:
                hops = counted_hops(trial["countersStart"], trial["countersEnd"])
                trial["hops"] = [each.model_dump(mode="json") for each in hops] + trial["hops"]
                trial["hops"][-1]["meanS"] -= sum(each.mean_s for each in hops)

    for folder in directory.glob("rounds/*"):
        change_lines(
            folder / "series.jsonl", lambda found: [each["values"].update(counted(each["values"])) for each in found]
        )
        change_lines(folder / "trials.jsonl", in_trials)
    forge(directory)


def test_hops_that_counters_give_are_held_to_them(tmp_path: Path) -> None:
    copy = tmp_path / "run"
    run(copy, plan_of(DataPlane.PLAIN))
    with_hops(copy)
    assert (verify(copy).verdict, files(verify(copy))) == ("sound", "")

    def moved(found: list[Json]) -> None:
        """From one hop to another; the sum is what it was."""
        hops = {hop["hop"]: hop for trial in found for hop in trial["hops"]}
        hops["broker local"]["meanS"] -= 1e-4
        hops["not explained"]["meanS"] += 1e-4

    change_lines(round_of(copy, "plain") / "trials.jsonl", moved)
    forge(copy)
    (found,) = verify(copy).findings
    assert found.recorded.startswith("hops: broker local: ")


def test_links_are_those_of_the_plan(tmp_path: Path) -> None:
    clusters = (MeshCluster(name="near", brokers=2, clients=1), MeshCluster(name="far", brokers=1))
    topology = Topology(clusters=clusters, links=(Link(ends=("near", "far"), rtt_ms=20),))
    plan = plan_of(DataPlane.PLAIN, repeats=1)
    scenario = plan.scenarios[0].model_copy(update={"cluster": ClusterSpec(topology=topology)})
    run(tmp_path / "run", plan.model_copy(update={"scenarios": (scenario,)}))
    found = verify(tmp_path / "run")
    assert (found.verdict, files(found)) == ("sound", "")
    in_plan("scenarios.0.cluster.topology.links.0.rttMs", 5)(tmp_path / "run")
    forge(tmp_path / "run")
    assert "links.jsonl:1" in files(verify(tmp_path / "run"))
    (round_of(tmp_path / "run", "plain", repeat=1) / "links.jsonl").unlink()
    forge(tmp_path / "run")
    assert "no probe of a link" in files(verify(tmp_path / "run"))


def test_a_run_whose_mesh_leaves_something_out_is_sound_and_has_no_sidecar_elsewhere(tmp_path: Path) -> None:
    run(tmp_path / "run", plan_of(*SELECTIVE, repeats=1))
    assert (verify(tmp_path / "run").verdict, files(verify(tmp_path / "run"))) == ("sound", "")
    clients, excluded = (round_of(tmp_path / "run", plane, repeat=1) for plane in SELECTIVE)
    shutil.copy(excluded / "config/broker-1.envoy.json", clients / "config/broker-1.envoy.json")
    settings = excluded / "config/broker-2.properties"
    settings.write_text(settings.read_text(encoding="utf-8").replace("=REPLICATION", "=CLIENT"), encoding="utf-8")
    finished = json.loads((excluded / "finished.json").read_text(encoding="utf-8"))
    assert finished["encryptedBy"] == {"client-broker": "envoy"}
    finished["encryptedBy"] = {"client-broker": "kafka"}
    (excluded / "finished.json").write_text(json.dumps(finished), encoding="utf-8")
    forge(tmp_path / "run")
    told = {finding.file.rpartition("/")[2]: finding.follows for finding in verify(tmp_path / "run").findings}
    assert told["broker-1.envoy.json"] == "istio-clients has none on this host"
    assert told["broker-2.properties"].endswith("brokers replicate at REPLICATION")
    assert told["finished.json"].endswith("has client-broker by envoy")


@pytest.fixture(scope="module")
def with_own_listener(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("excluded") / "run"
    run(directory, plan_of(DataPlane.PLAIN, EXCLUDED, repeats=1))
    return directory


@pytest.mark.parametrize(
    ("plane", "line", "told"),
    [
        (EXCLUDED, ("inter.broker.listener.name=REPLICATION\n", ""), "brokers replicate at REPLICATION"),
        (EXCLUDED, ("name=REPLICATION", "name=CONTROLLER"), "brokers replicate at REPLICATION"),
        (EXCLUDED, (",REPLICATION:PLAINTEXT", ""), "the listener of replication is REPLICATION:PLAINTEXT"),
        (DataPlane.PLAIN, ("name=CLIENT", "name=REPLICATION"), "brokers replicate at CLIENT"),
        pytest.param(DataPlane.PLAIN, ("inter.broker.listener.name=CLIENT\n", ""), "", id="an older record"),
    ],
)
def test_brokers_replicate_where_their_data_plane_has_it(
    with_own_listener: Path, tmp_path: Path, plane: DataPlane, line: tuple[str, str], told: str
) -> None:
    copy = shutil.copytree(with_own_listener, tmp_path / "run")
    settings = round_of(copy, plane, repeat=1) / "config/broker-2.properties"
    text = settings.read_text(encoding="utf-8")
    assert line[0] in text
    settings.write_text(text.replace(*line), encoding="utf-8")
    forge(copy)
    assert [each.follows for each in verify(copy).findings] == ([f"with {plane} {told}"] if told else [])


@pytest.mark.parametrize(
    ("kept", "told"), [("", "the port of replication"), (BROKER_BROKER, "the port of clients")], ids=["clients", "own"]
)
def test_what_is_encrypted_and_what_is_left_out_have_a_proof_each(
    with_own_listener: Path, tmp_path: Path, kept: str, told: str
) -> None:
    copy = shutil.copytree(with_own_listener, tmp_path / "run")
    path = round_of(copy, EXCLUDED, repeat=1) / "proofs.jsonl"
    write_lines(path, [each for each in lines(path) if each["hop"] == kept])
    forge(copy)
    assert [each.recorded for each in verify(copy).findings] == [f"no proof at broker-1, broker-2, broker-3, {told}"]


def test_a_byte_of_replication_that_its_sidecar_should_not_have_seen_is_found(tmp_path: Path) -> None:
    """By its counters, however well the check that the record has of them goes with these."""
    run(tmp_path / "run", plan_of(EXCLUDED, repeats=1))
    folder, key = round_of(tmp_path / "run", EXCLUDED, repeat=1), "broker-2/sidecar/outbound_rx_bytes"

    def passed(found: list[Json]) -> None:
        scenario = load(tmp_path / "run").plan.scenarios[0]
        for each in found:
            each["quietEnd"][key] += 1
            trial = Trial.model_validate(each)
            again = check_path(
                start=trial.quiet_start,
                end=trial.quiet_end,
                scenario=scenario,
                broker_hosts=broker_hosts(scenario),
                client_hosts=client_hosts(scenario),
                batch=trial.batch,
            )
            each["path"] = [check.model_dump(mode="json", by_alias=True) for check in again]

    change_lines(folder / "trials.jsonl", passed)
    forge(tmp_path / "run")
    assert any(
        finding.recorded == "no fault" and finding.follows.startswith("the sidecar of broker-2 does not explain outb")
        for finding in verify(tmp_path / "run").findings
    )


def test_an_older_record_without_a_row_of_what_counted_nothing_is_sound(tmp_path: Path) -> None:
    run(tmp_path / "run", plan_of(EXCLUDED, repeats=1))

    def older(found: list[Json]) -> None:
        for trial in found:
            trial["path"] = [
                each for each in trial["path"] if each["expectedBytes"] or each["direction"] != "outbound_tx"
            ]

    change_lines(round_of(tmp_path / "run", EXCLUDED, repeat=1) / "trials.jsonl", older)
    forge(tmp_path / "run")
    assert (verify(tmp_path / "run").verdict, files(verify(tmp_path / "run"))) == ("sound", "")


def test_ways_that_were_found_are_held_to_each_other(tmp_path: Path) -> None:
    clusters = (MeshCluster(name="near", brokers=2, clients=1), MeshCluster(name="far", brokers=1))
    topology = Topology(clusters=clusters, links=(Link(ends=("near", "far"), rtt_ms=20),))
    plan = plan_of(DataPlane.PLAIN, repeats=1)
    scenario = plan.scenarios[0].model_copy(update={"cluster": ClusterSpec(topology=topology)})
    run(tmp_path / "run", plan.model_copy(update={"scenarios": (scenario,)}))
    folder = round_of(tmp_path / "run", "plain", repeat=1)
    lines, nodes = folder / "links.jsonl", folder / "nodes.json"
    nodes.write_text(NodesRead(readings=1, spread_p50_s=0, spread_max_s=0).model_dump_json(), encoding="utf-8")

    def found_after(change: Callable[[list[Json]], object]) -> list[tuple[str, str]]:
        change_lines(lines, change)
        forge(tmp_path / "run")
        return [(each.file.rpartition("/")[2], each.recorded) for each in verify(tmp_path / "run").findings]

    assert found_after(lambda all_: [each.update(kind="found", rttS=0.03, rttMaxS=0.05) for each in all_]) == []
    less = found_after(lambda all_: all_[0].update(rttMinS=0.04))
    assert less == [("links.jsonl:1", "found, round trips of 0.04, 0.03, 0.05 s")]

    def untimed(all_: list[Json]) -> None:
        all_[0].update(rttS=None, rttMinS=None, rttMaxS=None)

    assert found_after(untimed) == [("links.jsonl:1", "no round trip from near to far before load")]
    nodes.unlink()
    assert len(found_after(lambda all_: all_[0].update(rttS=0.03))) == len(lines.read_text().splitlines())
    nodes.write_text(NodesRead(readings=1, spread_p50_s=0, spread_max_s=0).model_dump_json(), encoding="utf-8")

    def another_kind(all_: list[Json]) -> None:
        all_[1].update(kind="netem")

    assert [file for file, _ in found_after(another_kind)] == ["links.jsonl:2"]

    def one_way(all_: list[Json]) -> None:
        all_[1].update(kind="found")
        all_[:] = [each for each in all_ if each["source"] == "near"]

    assert found_after(one_way) == [("links.jsonl", "no probe before load of the way from far to near")]


def test_a_run_behind_gateways_is_sound_and_needs_their_configurations(tmp_path: Path) -> None:
    clusters = (MeshCluster(name="one", brokers=2, clients=1, gateway=True), MeshCluster(name="two", brokers=1))
    topology = Topology(clusters=clusters, links=(Link(ends=("one", "two"), rtt_ms=2),))
    plan = plan_of(DataPlane.ISTIO_MTLS, repeats=1)
    scenario = plan.scenarios[0].model_copy(update={"cluster": ClusterSpec(topology=topology)})
    run(tmp_path / "run", plan.model_copy(update={"scenarios": (scenario,)}))
    assert (verify(tmp_path / "run").verdict, files(verify(tmp_path / "run"))) == ("sound", "")
    remove("config/gateway-one.envoy.json", scenario.name)(tmp_path / "run")
    forge(tmp_path / "run")
    (found,) = verify(tmp_path / "run").findings
    assert found.file.endswith("config/gateway-one.envoy.json")


def test_an_error_by_clocks_is_held_to_their_comparison(tmp_path: Path) -> None:
    copy = tmp_path / "run"
    run(copy, plan_of(DataPlane.PLAIN))
    folder = round_of(copy, "plain")
    trials = [json.loads(line) for line in (folder / "trials.jsonl").read_text(encoding="utf-8").splitlines()]
    checks = [
        ClockCheck(host=host, worker="w", began_s=0, ended_s=trial["endedS"], ahead_s=9, bound_s=1e-6, error_s=error_s)
        for trial in trials
        for host, error_s in (("client-1", 2e-6), ("client-2", 1e-6))
    ]
    read = NodesRead(readings=1, spread_p50_s=0, spread_max_s=0, clocks=tuple(checks))
    (folder / "nodes.json").write_text(read.model_dump_json(), encoding="utf-8")
    set_errors(folder, 3e-6)
    assert (verify(copy).verdict, files(verify(copy))) == ("sound", "")
    set_errors(folder, 2e-6)
    found = verify(copy).findings
    assert len(found) == len(trials)
    assert {each.recorded for each in found} == {"endToEndErrorS 2e-06"}
    (folder / "nodes.json").unlink()
    assert {each.follows.partition(" (")[0] for each in verify(forged(copy)).findings} == {
        "its load workers' clocks give 0.0"
    }


def set_errors(folder: Path, error_s: float) -> None:
    change_lines(folder / "trials.jsonl", lambda found: [trial.update(endToEndErrorS=error_s) for trial in found])
    forge(folder.parents[1])


def forged(directory: Path) -> Path:
    forge(directory)
    return directory


def test_controllers_are_encrypted_where_that_was_asked_at_each_of_them(tmp_path: Path) -> None:
    clusters = (MeshCluster(name="one", brokers=2, clients=1, controllers=1), MeshCluster(name="two", brokers=1))
    topology = Topology(clusters=clusters, links=(Link(ends=("one", "two"), rtt_ms=2),))
    plan = plan_of(DataPlane.ISTIO_MTLS, repeats=1)
    scenario = plan.scenarios[0].model_copy(update={"cluster": ClusterSpec(topology=topology)})
    run(tmp_path / "run", plan.model_copy(update={"scenarios": (scenario,)}))
    where = round_of(tmp_path / "run", scenario.name, repeat=1)

    def more_hops(told: Json) -> None:
        told["encryptedHops"].append("controller")
        told["encryptedBy"]["controller"] = told["encryptedBy"]["broker-broker"]
        told["plainHops"].remove("controller")

    def shown(name: str, *brokers: str) -> str:
        proofs = [{"name": name, "host": broker, "holds": True, "detail": "as it is"} for broker in brokers]
        change_lines(where / "proofs.jsonl", lambda found: found.extend(proofs))
        forge(tmp_path / "run")
        return files(verify(tmp_path / "run"))

    change(where / "finished.json", more_hops)
    refused, uncertified = (f"STRICT: {words} {AT_CONTROLLERS}" for words in (NO_PLAINTEXT, NO_CERTIFICATE))
    too_many = "encrypted: client-broker, broker-broker, controller"
    assert too_many in shown(refused, "broker-1", "broker-3")
    assert too_many in shown(uncertified, "broker-1", "broker-3")
    assert too_many in shown(CONTROLLERS_TLS, "broker-1", "broker-2")
    assert shown(CONTROLLERS_TLS, "broker-3") == ""
    change(where / "finished.json", lambda told: told["encryptedBy"].update(controller="kafka"))
    assert "finished.json" in shown(refused)


def test_a_mesh_that_leaves_brokers_out_encrypts_no_controllers_whatever_is_shown_there(tmp_path: Path) -> None:
    clusters = (MeshCluster(name="one", brokers=2, clients=1, controllers=1), MeshCluster(name="two", brokers=1))
    topology = Topology(clusters=clusters, links=(Link(ends=("one", "two"), rtt_ms=2),))
    plan = plan_of(EXCLUDED, repeats=1)
    scenario = plan.scenarios[0].model_copy(update={"cluster": ClusterSpec(topology=topology)})
    run(tmp_path / "run", plan.model_copy(update={"scenarios": (scenario,)}))
    where = round_of(tmp_path / "run", scenario.name, repeat=1)
    shown = [*((f"STRICT: {words} {AT_CONTROLLERS}", (1, 3)) for words in (NO_PLAINTEXT, NO_CERTIFICATE))]
    proofs = [
        {"name": name, "host": f"broker-{number}", "holds": True, "detail": "as it is"}
        for name, numbers in (*shown, (CONTROLLERS_TLS, (1, 2, 3)))
        for number in numbers
    ]
    change_lines(where / "proofs.jsonl", lambda found: found.extend(proofs))
    forge(tmp_path / "run")
    assert files(verify(tmp_path / "run")) == ""
