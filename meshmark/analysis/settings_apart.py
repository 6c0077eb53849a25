"""What differs between a scenario and its baseline in what ran: by a round's files, not by the plan's text.

A setting is told as the components got it: brokers' properties and command lines, the TLS and listeners in Envoy's
configuration, what load clients said that they go by, limits, links. What was only asked for (Envoy's threads, topics)
is told as the plan has it, resolved. Addresses and paths are left out, since they say who a host is and not what it
does; of settings that may hold a secret only that they are set. Of each scenario its first round is read: `verify`
judges whether the others had the same.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from meshmark.analysis.brief import brief
from meshmark.analysis.encryption import proven_hops
from meshmark.analysis.ledger import broker_hosts, client_hosts, gateway_hosts
from meshmark.analysis.settings_model import SettingApart
from meshmark.confidential import holds_secret
from meshmark.plan import Scenario
from meshmark.record import LinkProbe
from meshmark.store import RoundData, Run
from meshmark.units import number, percent

HIDDEN = "set, not shown"
UNPROVEN = "not known: its proofs do not all hold, or none of its rounds ended"
OWN = frozenset({"node.id", "log.dirs", "log.dir", "metadata.log.dir"})
"""Settings by which brokers of one cluster differ and that are no choice."""
_ADDRESS = re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b")
_PATH = re.compile(r"(?<![\w.:/-])/[\w.+@-]+(?:/[\w.+@-]*)*")
_HEAP = re.compile(r"(-Xm[sx])(\d+)")
_CLIENT = re.compile(r"(producer|consumer)-\d+\.properties")
_NUMBERED = re.compile(r"-\d+$")
_ELSEWHERE = frozenset({"brokerConfig", "topology", "heapBytes", "jvmOptions"})
"""Of the plan: what the brokers' and the links' own records tell."""

Key = tuple[str, str, str]
"""Part, setting, file."""
Settings = dict[Key, str]


def settings_apart(run: Run) -> tuple[SettingApart, ...]:
    """In the plan's order, of scenarios that both ran."""
    ran = {scenario.name: found for scenario in run.plan.scenarios if (found := _settings(run, scenario))}
    return tuple(
        SettingApart(
            scenario=scenario.name,
            baseline=base,
            part=key[0],
            setting=key[1],
            value=ran[scenario.name].get(key),
            baseline_value=ran[base].get(key),
            recorded_in=key[2],
        )
        for scenario in run.plan.scenarios
        if (base := run.plan.baseline_of(scenario)) != scenario.name and {base, scenario.name} <= ran.keys()
        for key in {**ran[base], **ran[scenario.name]}
        if ran[base].get(key) != ran[scenario.name].get(key)
    )


def _settings(run: Run, scenario: Scenario) -> Settings:
    """Empty where no round of it got so far that it had configurations."""
    rounds = [each for each in run.rounds if each.started.scenario == scenario.name]
    data = next(iter(rounds), None)
    texts = data.configurations() if data is not None else {}
    if data is None or not texts:
        return {}
    found: Settings = {("data plane", "data plane", "started.json"): data.started.data_plane.value}
    hops = proven_hops(rounds)
    told = ", ".join(hops.encrypted) or ("none" if hops.plain else UNPROVEN)
    found["data plane", "encrypted hops", "finished.json, proofs.jsonl"] = told
    for part, setting, file, value in (*_brokers(scenario, texts), *_proxies(scenario, texts), *_clients(texts)):
        _add(found, (part, setting, file), value)
    for part, setting, file, value in (*_load(data), *_limits(data), *_links(data.links)):
        _add(found, (part, setting, file), value)
    elsewhere = {f"{part}Config.{setting}" for part, setting, _ in found} | _ELSEWHERE
    if not any(name.endswith(".command") for name in texts):
        elsewhere -= {"heapBytes", "jvmOptions"}
    return found | dict(_asked(scenario, elsewhere))


def _add(found: Settings, key: Key, value: str) -> None:
    """Beside what other hosts have, where that differs."""
    before = found.get(key)
    if before is None or value not in before.split("; "):
        found[key] = value if before is None else f"{before}; {value}"


Told = Iterator[tuple[str, str, str, str]]


def _brokers(scenario: Scenario, texts: Mapping[str, str]) -> Told:
    for host in broker_hosts(scenario):
        for key, _, value in (line.partition("=") for line in texts.get(f"{host}.properties", "").splitlines()):
            if key not in OWN:
                yield "broker", key, "config/broker-*.properties", _shown(key, value)
        for line in texts.get(f"{host}.command", "").splitlines():
            if line.startswith(("-X", "-D")):
                heap = _HEAP.fullmatch(line)
                key, _, value = (heap[1], "", heap[2]) if heap else line.partition("=")
                yield "broker's JVM", key, "config/broker-*.command", _shown(key, value or "yes")


def _clients(texts: Mapping[str, str]) -> Told:
    """What load clients said that they go by."""
    for name, text in texts.items():
        if client := _CLIENT.fullmatch(name):
            for key, _, value in (line.partition("=") for line in text.splitlines()):
                yield client[1], key, f"config/{client[1]}-*.properties", _shown(key, value)


def _shown(key: str, value: str) -> str:
    """Without addresses, paths, and what may be secret."""
    if holds_secret(key):
        return HIDDEN
    return _PATH.sub("PATH", _ADDRESS.sub("ADDRESS", value))


def _proxies(scenario: Scenario, texts: Mapping[str, str]) -> Told:
    hosts = {
        "broker's sidecar": broker_hosts(scenario),
        "client's sidecar": client_hosts(scenario),
        "gateway": gateway_hosts(scenario),
    }
    for part, names in hosts.items():
        for name in names:
            try:
                settings = list(_envoy(json.loads(texts.get(f"{name}.envoy.json", "{}"))))
            except (ValueError, RecursionError):
                continue
            for setting, value in settings:
                yield part, setting, "config/*.envoy.json", value


def _envoy(envoy: Any) -> Iterator[tuple[str, str]]:
    """What it listens to, which filters a connection goes through, and how it encrypts."""
    nodes = list(_objects(envoy))
    kinds = Counter(str(each["traffic_direction"]).lower() for each in nodes if "traffic_direction" in each)
    if kinds:
        yield "listeners", ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    filters = {str(each["name"]) for each in nodes if "typed_config" in each and ".filters." in str(each.get("name"))}
    if filters:
        yield "filters", ", ".join(sorted(name.rpartition(".")[2] for name in filters))
    clusters = Counter(str(each["type"]) for each in nodes if "connect_timeout" in each and "type" in each)
    if clusters:
        yield "upstream clusters", ", ".join(f"{count} {kind}" for kind, count in sorted(clusters.items()))
    for kind, words in (("Downstream", "accepts"), ("Upstream", "sends")):
        contexts = [each for each in nodes if str(each.get("@type", "")).endswith(f"{kind}TlsContext")]
        for setting, values in _tls(contexts).items():
            yield f"{setting} that it {words}", "; ".join(dict.fromkeys(values))


def _tls(contexts: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Versions, cipher suites, protocols and whether both sides show a certificate; never certificates or keys."""
    found: dict[str, list[str]] = {}
    for each in contexts:
        common = _object(each.get("common_tls_context"))
        params = _object(common.get("tls_params"))
        versions = [str(params.get(f"tls_{end}_protocol_version", "")) for end in ("minimum", "maximum")]
        mutual = ", with a certificate of the client" if each.get("require_client_certificate") else ""
        found.setdefault("TLS", []).append(" to ".join(filter(None, versions)) + mutual)
        for setting, listed in (
            ("cipher suites", params.get("cipher_suites")),
            ("ALPN", common.get("alpn_protocols")),
        ):
            if isinstance(listed, list):
                found.setdefault(setting, []).append(", ".join(map(str, listed)))
    return found


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, dict):
        yield value
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in children:
        yield from _objects(each)


def _load(data: RoundData) -> Told:
    for trial in data.trials[:1]:
        yield "load", "client hosts' workers", "trials.jsonl", str(trial.clients)
        yield "load", "producer connections", "trials.jsonl", str(trial.connections)
        yield "load", "priority of threads", "trials.jsonl", trial.priority


def _limits(data: RoundData) -> Told:
    for probe in data.limits:
        limit = probe.limit
        host = _NUMBERED.sub("", limit.host)
        component = f" of {limit.component}" if limit.resource == "cpu" else ""
        yield "limit", f"{host} {limit.resource}{component}", "limits.jsonl", number(limit.amount)


def _links(probes: Sequence[LinkProbe]) -> Told:
    for probe in probes:
        if probe.trial is not None:
            continue
        bandwidth = probe.asked_bandwidth_bytes_s
        way = f"RTT {number(probe.asked_rtt_s * 1e3)} ms, loss {percent(probe.asked_loss)}, "
        way += f"{number(bandwidth)} bytes/s" if bandwidth else "no limit"
        yield "link", f"{probe.source} to {probe.target}", "links.jsonl", f"{way}, {probe.kind}"
        yield "link", "congestion control of hosts", "links.jsonl", probe.congestion_control


def _asked(scenario: Scenario, elsewhere: Collection[str]) -> Iterator[tuple[Key, str]]:
    for part in ("cluster", "workload", "method"):
        for key, value in brief(getattr(scenario, part).model_dump(mode="json")).items():
            settings = {f"{key}.{name}": each for name, each in value.items()} if isinstance(value, dict) else None
            for name, each in ({key: value} if settings is None else settings).items():
                if key not in elsewhere and name not in elsewhere:
                    yield (part, name, "plan.json"), _shown(name, _words(each))


def _words(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
