"""Ways to tamper with the directory of a run, each with the file that gives the forger away.

`FORGERIES` are (name, what is done, file): made on a run of `plain`, `istio` and `istio-mtls` in two repeats, and
found out although all hashes are recomputed (`forge`).
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from meshmark import seal
from meshmark.analysis.summary import summarize
from meshmark.histogram import Histogram, latency
from meshmark.seal import Chain
from meshmark.store import load

Json = dict[str, Any]
Tamper = Callable[[Path], object]
Forgery = tuple[str, Tamper, str]

MTLS = "istio-mtls"


def forge(directory: Path) -> None:
    """A new chain, over whatever is there now."""
    (directory / seal.NAME).unlink()
    Chain(directory).seal()


def change(path: Path, edit: Callable[[Json], object]) -> None:
    """Edits a file that holds one value."""
    value = json.loads(path.read_text())
    edit(value)
    path.write_text(json.dumps(value))


def lines(path: Path) -> list[Json]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write_lines(path: Path, values: list[Json]) -> None:
    path.write_text("".join(json.dumps(value, separators=(",", ":")) + "\n" for value in values))


def change_lines(path: Path, edit: Callable[[list[Json]], object]) -> None:
    values = lines(path)
    edit(values)
    write_lines(path, values)


def round_of(directory: Path, scenario: str, repeat: int = 2) -> Path:
    return sorted(directory.glob(f"rounds/*-{scenario}"))[repeat - 1]


def trials(directory: Path, edit: Callable[[list[Json]], object], scenario: str = "plain") -> None:
    change_lines(round_of(directory, scenario) / "trials.jsonl", edit)


def first_trial(directory: Path, edit: Callable[[Json], object], scenario: str = "plain") -> None:
    trials(directory, lambda found: edit(found[0]), scenario)


def put(value: Any, path: str, new: Any) -> None:
    """`path` with dots; a function is given the old value."""
    *way, last = path.split(".")
    for key in way:
        value = value[int(key)] if isinstance(value, list) else value[key]
    place: Any = int(last) if isinstance(value, list) else last
    value[place] = new(value[place]) if callable(new) else new


def in_trial(path: str, new: Any, scenario: str = "plain") -> Tamper:
    return lambda directory: first_trial(directory, lambda trial: put(trial, path, new), scenario)


def in_plan(path: str, new: Any) -> Tamper:
    return in_file("plan.json", path, new)


def in_all_scenarios(path: str, new: Any) -> Tamper:
    def tamper(directory: Path) -> None:
        def edit(plan: Json) -> None:
            for scenario in plan["scenarios"]:
                put(scenario, path, new)

        change(directory / "plan.json", edit)

    return tamper


def in_file(file: str, path: str, new: Any) -> Tamper:
    return lambda directory: change(directory / file, lambda value: put(value, path, new))


EDITED: list[Forgery] = [
    ("acknowledged", in_trial("window.acknowledged", lambda n: n + 1_000), "trials.jsonl:1"),
    ("acknowledged bytes", in_trial("window.acknowledgedBytes", lambda n: n * 2), "trials.jsonl:1"),
    ("offered in all", in_trial("total.offered", lambda n: n + 1), "trials.jsonl:1"),
    ("a point of the series", in_trial("series.2.acknowledged", lambda n: n + 5), "trials.jsonl:1"),
    ("a latency", in_trial("latency.p99S", 0.001), "trials.jsonl:1"),
    ("the lateness", in_trial("lateness.late10Ms", 7), "trials.jsonl:1"),
    ("a histogram that is none", in_trial("latency.histogram", "HISTF"), "trials.jsonl:1"),
    ("the offered rate", in_trial("offeredMsgS", lambda rate: rate * 1.1), "trials.jsonl:1"),
    ("a rate of nothing", in_trial("offeredMsgS", 0), "trials.jsonl:1"),
    ("a window of no length", in_trial("windowEndS", 0), "trials.jsonl"),
    ("a longer window", in_trial("windowEndS", lambda s: s + 0.5), "trials.jsonl:1"),
    ("an earlier trial", in_trial("startedS", lambda s: s - 200), "trials.jsonl:1"),
    ("a fault to discard it", in_trial("faults", ["records do not add up"]), "trials.jsonl:1"),
    ("the broker's CPU time", in_trial("countersEnd.broker-1/kafka/cpu_user_s", 1.0), "trials.jsonl:1"),
    ("the logs before", in_trial("quietStart.broker-1/kafka/leader_log_bytes", 1.0), "trials.jsonl:1"),
    ("what a sidecar counted", in_trial("path.0.countedBytes", 1.0, "istio"), "trials.jsonl:1"),
    ("by how much a sidecar is off", in_trial("path.0.error", 0.5, "istio"), "trials.jsonl:1"),
    ("the connections", in_trial("connections", 40), "trials.jsonl:1"),
    ("the load workers", in_trial("clients", 2), "intervals.jsonl"),
    ("the purpose", in_trial("purpose", "explain"), "trials.jsonl"),
    ("its repeat", in_trial("repeat", 1), "trials.jsonl:1"),
    ("its number", in_trial("number", 3), "trials.jsonl:1"),
    ("its scenario", in_trial("scenario", "istio"), "trials.jsonl:1"),
]


def _acknowledged_everywhere(directory: Path) -> None:
    """All of a trial's own figures agree with each other."""

    def edit(trial: Json) -> None:
        trial["window"]["acknowledged"] += 1_000
        trial["window"]["acknowledgedBytes"] += 512_000
        trial["window"]["outstanding"] -= 1_000
        for key in ("acknowledged", "outstanding"):
            trial["series"][-1][key] += 1_000 if key == "acknowledged" else -1_000
        trial["latency"]["count"] += 1_000

    first_trial(directory, edit)


def begun_earlier(directory: Path, share: float = 0.1) -> None:
    """So much more in a window: as many fewer before it, with latencies for them; all figures of the trial agree."""

    def edit(trial: Json) -> None:
        more = int(trial["window"]["acknowledged"] * share)
        size = trial["window"]["acknowledgedBytes"] // trial["window"]["acknowledged"]
        trial["window"]["acknowledged"] += more
        trial["window"]["acknowledgedBytes"] += more * size
        trial["window"]["outstanding"] -= more
        trial["series"][0]["acknowledged"] -= more
        trial["series"][0]["outstanding"] += more
        histogram = Histogram.decode(trial["latency"]["histogram"])
        histogram.record(np.full(more, round(trial["latency"]["p50S"] * 1e6)))
        trial["latency"] = latency(histogram).model_dump(mode="json")

    first_trial(directory, edit)


def _latencies_of_another(directory: Path) -> None:
    def edit(found: list[Json]) -> None:
        found[0]["latency"] = {**found[1]["latency"], "count": found[0]["latency"]["count"]}

    trials(directory, edit)


def _equal_load(directory: Path) -> None:
    def edit(found: list[Json]) -> None:
        put(
            next(trial for trial in found if trial["purpose"] == "equal-load"), "offeredMsgS", lambda rate: rate * 0.99
        )

    trials(directory, edit)


def _encrypted(hops: list[str], scenario: str) -> Tamper:
    """In the end of a round, with the rest of all hops called plain."""
    rest = [hop for hop in ("client-broker", "broker-broker", "controller") if hop not in hops]
    edited: Json = {"encryptedHops": hops, "plainHops": rest}
    return lambda directory: change(round_of(directory, scenario) / "finished.json", lambda end: end.update(edited))


def _no_proof_at(host: str) -> Tamper:
    def tamper(directory: Path) -> None:
        for path in directory.glob("rounds/*/proofs.jsonl"):
            write_lines(path, [proof for proof in lines(path) if proof["host"] != host])

    return tamper


def _faults_forgotten(directory: Path) -> None:
    """Of a round whose proofs do not hold."""
    change_lines(round_of(directory, MTLS) / "proofs.jsonl", lambda found: put(found[0], "holds", False))


def _swap(directory: Path, name: str, one: str = "plain", other: str = "istio") -> None:
    first, second = round_of(directory, one) / name, round_of(directory, other) / name
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(kept)


def _swap_scenarios(directory: Path) -> None:
    """Plain's figures under the name of the other, as its files say, too."""
    plain, other = round_of(directory, "plain"), round_of(directory, MTLS)
    aside = directory / "rounds" / "aside"
    plain.rename(aside)
    other.rename(plain)
    aside.rename(other)
    for folder, scenario in ((plain, "plain"), (other, MTLS)):
        _rename(folder, int(folder.name[:3]), scenario)


def _rename(folder: Path, index: int, scenario: str) -> None:
    """In every file of a round that says which it is."""
    change(folder / "started.json", lambda it: it.update(scenario=scenario, dataPlane=scenario, index=index))
    change(folder / "finished.json", lambda it: it.update(index=index))
    values = lines(folder / "trials.jsonl")
    for trial in values:
        trial.update(scenario=scenario, roundIndex=index)
    write_lines(folder / "trials.jsonl", values)


def _drop(place: int) -> Tamper:
    def tamper(directory: Path) -> None:
        def edit(found: list[Json]) -> None:
            del found[place]
            for number, trial in enumerate(found, start=1):
                trial["number"] = number

        trials(directory, edit)

    return tamper


def _drop_with_its_reports(directory: Path) -> None:
    """The first trial of a round, and what load workers said of it; the log of the run stays."""
    folder = round_of(directory, "plain")
    gone = lines(folder / "trials.jsonl")[0]
    _drop(0)(directory)
    left = [
        each for each in lines(folder / "intervals.jsonl") if not gone["startedS"] <= each["timeS"] <= gone["endedS"]
    ]
    write_lines(folder / "intervals.jsonl", left)


def drop_round(place: int) -> Tamper:
    def tamper(directory: Path) -> None:
        rounds = sorted(directory.glob("rounds/*"))
        shutil.rmtree(rounds[place])
        change(directory / "finished.json", lambda finished: finished.update(roundsDone=len(rounds) - 1))

    return tamper


def _drop_round_and_say_why(directory: Path) -> None:
    """As if the time budget had ended."""
    drop_round(-1)(directory)
    text = "the time budget of 3600 s ended after 5 of 6 rounds; the rest were not run"

    def edit(found: list[Json]) -> None:
        del found[max(place for place, event in enumerate(found) if event["text"] == "starting the cluster") :]
        found.append({**found[-1], "level": "warning", "phase": "rounds", "text": text})

    change_lines(directory / "events.jsonl", edit)


def _all_rounds(directory: Path) -> None:
    shutil.rmtree(directory / "rounds")
    change(directory / "finished.json", lambda finished: finished.update(roundsDone=0))


def _shuffle(name: str) -> Tamper:
    return lambda directory: change_lines(round_of(directory, "plain") / name, random.Random(1).shuffle)


def cut(name: str, keep: float = 0.5) -> Tamper:
    def tamper(directory: Path) -> None:
        path = directory / name if (directory / name).exists() else round_of(directory, "plain") / name
        write_lines(path, lines(path)[: int(len(lines(path)) * keep)])

    return tamper


def remove(name: str, scenario: str = "plain") -> Tamper:
    """In the last round of a scenario."""
    return lambda directory: (round_of(directory, scenario, repeat=0) / name).unlink()


def _config(name: str, old: str, new: str, scenario: str = "plain") -> Tamper:
    def tamper(directory: Path) -> None:
        path = round_of(directory, scenario) / "config" / name
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return tamper


def _another_envoy(directory: Path) -> None:
    shutil.copy(
        round_of(directory, "istio") / "config" / "broker-1.envoy.json", round_of(directory, "plain") / "config"
    )


def _no_self_test(directory: Path) -> None:
    next(directory.glob("rounds/001-*/selftests.jsonl")).unlink()


def _self_test_that_failed(directory: Path) -> None:
    path = next(directory.glob("rounds/001-*/selftests.jsonl"))
    change_lines(path, lambda found: put(found[0], "checks.0.counted", 0))


def _self_test_without_an_answer(directory: Path) -> None:
    path = next(directory.glob("rounds/001-*/selftests.jsonl"))
    change_lines(path, lambda found: put(found[0], "checks.0.caughtUp", False))


def _ended_early(directory: Path) -> None:
    """The last round of a run that was interrupted, called complete."""
    (max(directory.glob("rounds/*")) / "finished.json").unlink()


def _in_a_report(path: str, new: Any) -> Tamper:
    """Of the load workers, the last one of a round."""
    return lambda directory: change_lines(
        round_of(directory, "plain") / "intervals.jsonl", lambda found: put(found[-1], path, new)
    )


def _in_the_self_test(path: str, new: Any) -> Tamper:
    return lambda directory: change_lines(
        next(directory.glob("rounds/001-*/selftests.jsonl")), lambda found: put(found[0], path, new)
    )


REPORTED: list[Forgery] = [
    ("offered, in a report of load", _in_a_report("totals.offered", lambda n: n + 1), "intervals.jsonl"),
    ("bytes, in a report of load", _in_a_report("totals.acknowledgedBytes", lambda n: n + 1), "intervals.jsonl"),
    ("a latency, in a report of load", _in_a_report("latency.p99S", 0.001), "intervals.jsonl"),
    ("a histogram that is none, in a report of load", _in_a_report("latency.histogram", "HISTF"), "intervals.jsonl"),
    ("the lateness, in a report of load", _in_a_report("lateness.late10Ms", 9), "intervals.jsonl"),
    ("acknowledged, in a self-test", _in_the_self_test("totals.acknowledged", lambda n: n + 1), "selftests.jsonl:1"),
]

MOVED: list[Forgery] = [
    ("a figure in all places of its trial", _acknowledged_everywhere, "trials.jsonl:1"),
    ("an edge of a window", begun_earlier, "trials.jsonl:1"),
    ("another trial's latencies", _latencies_of_another, "trials.jsonl:1"),
    ("a load that was to be equal", _equal_load, "trials.jsonl"),
    ("a proof that fails", _faults_forgotten, "trials.jsonl"),
    ("no proof in one round", remove("proofs.jsonl", MTLS), "proofs.jsonl"),
    ("no proof at one broker", _no_proof_at("broker-2"), "proofs.jsonl"),
    ("encrypted without a mesh's TLS", _encrypted(["client-broker", "broker-broker"], "istio"), "finished.json"),
    ("half of it encrypted", _encrypted(["client-broker"], MTLS), "finished.json"),
    ("nothing encrypted", _encrypted([], MTLS), "finished.json"),
    ("swapped scenarios", _swap_scenarios, "started.json"),
    ("swapped trials", lambda directory: _swap(directory, "trials.jsonl"), "trials.jsonl"),
    ("swapped series", lambda directory: _swap(directory, "series.jsonl"), "series.jsonl"),
    ("swapped reports of load", lambda directory: _swap(directory, "intervals.jsonl"), "intervals.jsonl"),
    ("swapped rounds' ends", lambda directory: _swap(directory, "finished.json"), "finished.json"),
    ("the first trial gone", _drop(0), "trials.jsonl"),
    ("a trial gone", _drop(1), "trials.jsonl"),
    ("the last trial gone", _drop(-1), "trials.jsonl"),
    ("a trial gone with its reports", _drop_with_its_reports, "trials.jsonl"),
    ("the first round gone", drop_round(0), "started.json"),
    ("a round gone", drop_round(2), "started.json"),
    ("the last round gone", drop_round(-1), "finished.json"),
    ("the last round gone with a reason", _drop_round_and_say_why, "finished.json"),
    ("all rounds gone", _all_rounds, "finished.json"),
    ("shuffled trials", _shuffle("trials.jsonl"), "trials.jsonl"),
    ("shuffled series", _shuffle("series.jsonl"), "series.jsonl"),
    ("shuffled reports of load", _shuffle("intervals.jsonl"), "intervals.jsonl"),
    ("half of the trials", cut("trials.jsonl"), "trials.jsonl"),
    ("half of the series", cut("series.jsonl"), "trials.jsonl"),
    ("half of the reports of load", cut("intervals.jsonl"), "trials.jsonl"),
    ("half of the log", cut("events.jsonl"), "trials.jsonl"),
    ("half of the environment", cut("environment.jsonl"), "environment.jsonl"),
    ("no series", remove("series.jsonl"), "trials.jsonl"),
    ("no reports of load", remove("intervals.jsonl"), "trials.jsonl"),
    ("no end of a round", remove("finished.json"), "rounds/"),
    ("a run that ended early called complete", _ended_early, "rounds/"),
    ("no self-test", _no_self_test, "selftests.jsonl"),
    ("a self-test that failed", _self_test_that_failed, "selftests.jsonl:1"),
    ("a self-test without an answer", _self_test_without_an_answer, "selftests.jsonl:1"),
    ("no configuration", remove("config/broker-2.properties"), "config/broker-2.properties"),
    ("no sidecar's configuration", remove("config/client-1.envoy.json", "istio"), "config/client-1.envoy.json"),
    ("a sidecar in plain", _another_envoy, "config/broker-1.envoy.json"),
    ("a broker's setting", _config("broker-1.properties", "num.io.threads=4", "num.io.threads=8"), "broker-1.prop"),
    ("a load client's setting", _config("producer-1.properties", "linger.ms=5", "linger.ms=50"), "producer-1.prop"),
    ("TLS of the brokers", _config("broker-1.properties", "PLAINTEXT", "SSL"), "broker-1.properties"),
    ("no TLS", _config("broker-1.envoy.json", "TlsContext", "None", MTLS), "broker-1.envoy.json"),
    ("TLS for one side", _config("broker-1.envoy.json", "true", "false", MTLS), "broker-1.envoy.json"),
    ("TLS without mesh", _config("broker-1.envoy.json", "[]", '[{"@type": "xTlsContext"}]', "istio"), "broker-1"),
    ("another setting that was not asked for", _config("client-1.envoy.json", "tls", "TLS", "istio"), "client-1"),
    ("another Envoy", _config("client-1.envoy.version", "simulated", "1.41.0", MTLS), "client-1.envoy.version"),
    ("an Envoy that reads no JSON", _config("client-1.envoy.json", "}", "", "istio"), "client-1.envoy.json"),
]

PLANNED: list[Forgery] = [
    ("seed", in_plan("seed", 5), "started.json"),
    ("repeats", in_plan("repeats", 3), "finished.json"),
    ("probes", in_plan("environment.repeats", 3), "environment.jsonl"),
    ("no probes", in_plan("environment.diskSeconds", 0), "environment.jsonl"),
    ("a scenario's name", in_plan("scenarios.0.name", "plane"), "started.json"),
    ("a scenario's data plane", in_plan("scenarios.1.dataPlane", "plain"), "started.json"),
    ("another scenario", in_plan("scenarios", lambda all_: [*all_, {**all_[0], "name": "more"}]), "started.json"),
    ("brokers", in_all_scenarios("cluster.brokers", 4), "config/broker-4.properties"),
    ("a broker's setting", in_all_scenarios("cluster.brokerConfig", {"num.io.threads": 16}), "broker-1.properties"),
    ("size", in_all_scenarios("workload.messageSize", 1_024), "trials.jsonl:1"),
    ("replication", in_all_scenarios("workload.replicationFactor", 2), "trials.jsonl:1"),
    ("connections", in_all_scenarios("workload.workers", 10), "trials.jsonl:1"),
    ("consumers", in_all_scenarios("workload.subscriptionsPerTopic", 1), "trials.jsonl:1"),
    ("window", in_all_scenarios("method.windowSeconds", 60), "trials.jsonl:1"),
    ("settling", in_all_scenarios("method.settleSeconds", 5), "trials.jsonl:1"),
    ("trials", in_all_scenarios("method.trials", 1), "trials.jsonl"),
    ("warm-up", in_all_scenarios("method.warmupMaxSeconds", 4), "finished.json"),
    ("equal loads", in_all_scenarios("method.equalLoad", [0.7]), "trials.jsonl"),
    ("no equal loads", in_all_scenarios("method.equalLoad", []), "trials.jsonl"),
    ("a fixed load", in_all_scenarios("method.loadBytesS", 1e6), "trials.jsonl"),
]

TOLD: list[Forgery] = [
    ("fewer CPUs", in_file("started.json", "host.cpus", 2), "trials.jsonl:1"),
    ("another machine's start", in_file("started.json", "clockOffsetS", lambda s: s - 90_000), "started.json"),
    ("the version of Envoy", in_file("started.json", "versions.envoy", "1.41.0"), "config/broker-1.envoy.version"),
    ("other scenarios", in_file("started.json", "scenariosSelected", ["plain"]), "started.json"),
    ("fewer rounds", in_file("finished.json", "roundsDone", 5), "finished.json"),
    ("an end before the start", in_file("finished.json", "finishedAt", 1.0), "finished.json"),
    ("an end years later", in_file("finished.json", "finishedAt", lambda s: s + 1e8), "finished.json"),
]


FORGERIES = (*EDITED, *REPORTED, *MOVED, *PLANNED, *TOLD)


def same_number(directory: Path) -> None:
    path = round_of(directory, "plain") / "series.jsonl"
    path.write_text(path.read_text().replace("1", "2", 1))


def added(directory: Path) -> None:
    (round_of(directory, "plain") / "logs").mkdir()
    (round_of(directory, "plain") / "logs" / "broker-1-broker.log").write_text("nothing happened\n")


def linked_file(directory: Path) -> None:
    """No file of the directory is new or changed."""
    outside = directory.with_name("outside.jsonl")
    outside.write_text("")
    (round_of(directory, "plain") / "outages.jsonl").symlink_to(outside)


def linked_folder(directory: Path) -> None:
    """A broker's log."""
    outside = directory.with_name("outside")
    outside.mkdir()
    (outside / "broker-1-broker.log").write_text("nothing happened\n")
    (round_of(directory, "plain") / "logs").symlink_to(outside)


def linked_round(directory: Path) -> None:
    """A round as it was, from another place."""
    folder, outside = round_of(directory, "plain"), directory.with_name("outside")
    shutil.copytree(folder, outside)
    shutil.rmtree(folder)
    folder.symlink_to(outside)


def consistent(directory: Path) -> None:
    """A broker that took half of its CPU time, in every file that says so."""
    names = ("countersStart", "countersEnd", "quietStart", "quietEnd", "values")
    files = ("trials.jsonl", "series.jsonl")
    for path in (folder / file for folder in directory.glob("rounds/*-istio-mtls") for file in files):
        values = lines(path)
        for counters in (value[name] for value in values for name in names if name in value):
            for key in ("broker-1/kafka/cpu_user_s", "broker-1/kafka/cpu_system_s"):
                counters[key] /= 2
        write_lines(path, values)
    (directory / "summary.json").write_text(summarize(load(directory)).model_dump_json())
    forge(directory)


def leaves(value: Any) -> Iterator[tuple[Any, Any]]:
    for key, each in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(each, dict | list):
            yield from leaves(each)
        else:
            yield value, key
