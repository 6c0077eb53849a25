"""The configurations that components were given, against the plan and the versions of the record.

Whatever a run adds to the plan is not judged, but it must be the same in every round of a scenario, but for the
directories that are new with each cluster, or when a run that was cut goes on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from meshmark.analysis.ledger import broker_hosts, gateway_hosts, sidecar_hosts
from meshmark.analysis.verify.meshes import mesh_findings
from meshmark.analysis.verify.model import Finding
from meshmark.analysis.verify.raw import Raw
from meshmark.plan import ConfigValue, Scenario
from meshmark.store import Run

_TLS = "TlsContext"
_NEW_EACH_TIME = re.compile(r"/(hosts-\w+|run-[0-9a-f]+)(?=/)")
_CLIENT = re.compile(r"(producer|consumer)-[0-9]+\.properties")
_KAFKA_JAR = re.compile(r"/kafka-clients-([0-9][\w.-]*)\.jar")
_LOGGED = {
    "kafka": re.compile(r"Kafka version: (\S+)"),
    "java": re.compile(r"^(?:openjdk|java) version \"([^\"]+)\"", re.MULTILINE),
}


def configuration_findings(run: Run, round_: Raw, scenario: Scenario) -> Iterator[Finding]:
    texts = round_.data.configurations()
    if round_.data.finished is None and not texts:
        return
    for number, host in enumerate(broker_hosts(scenario), start=1):
        name = f"{host}.properties"
        if name in texts:
            yield from _properties(round_.file(f"config/{name}"), _parsed(texts[name]), number, scenario)
        else:
            yield _absent(round_, name, f"the plan has {scenario.cluster.brokers} brokers")
        yield from _command(round_, texts.get(f"{host}.command"), host, run, scenario)
    envoy = scenario.data_plane.mesh == "istio"
    sidecars = {f"{host}.envoy.json" for host in sidecar_hosts(scenario)} if envoy else set()
    for name in sorted(sidecars - texts.keys()):
        yield _absent(round_, name, f"{scenario.data_plane} has a sidecar on this host")
    gateways = {f"{host}.envoy.json" for host in gateway_hosts(scenario)}
    for name in sorted(gateways - texts.keys()):
        yield _absent(round_, name, "the plan has this cluster behind a gateway")
    for name, text in texts.items():
        if role := _CLIENT.fullmatch(name):
            workload = scenario.workload
            asked = workload.producer_config if role[1] == "producer" else workload.consumer_config
            yield from _client(round_.file(f"config/{name}"), _parsed(text), asked)
        elif name in gateways:
            yield from _gateway(round_.file(f"config/{name}"), text)
        elif name.endswith(".envoy.json"):
            yield from _envoy(round_.file(f"config/{name}"), text, scenario, expected=name in sidecars)
    yield from mesh_findings(round_, scenario, texts)
    yield from _versions(run, round_, texts)
    yield from _as_before(run, round_, texts)


def _absent(round_: Raw, name: str, why: str) -> Finding:
    return Finding(file=round_.file(f"config/{name}"), recorded="no such file", follows=why)


def _versions(run: Run, round_: Raw, texts: Mapping[str, str]) -> Iterator[Finding]:
    """What components said of themselves when they started. A log holds the end of what was written: one that is long
    has lost it."""
    for name, text in texts.items():
        if name.endswith(".version"):
            program = name.removesuffix(".version").rpartition(".")[2]
            yield from _version(round_.file(f"config/{name}"), program, text.strip(), run)
    for name, text in round_.data.logs().items():
        for program, pattern in _LOGGED.items():
            if found := pattern.search(text):
                yield from _version(round_.file(f"logs/{name}"), program, found[1], run)


def _version(file: str, program: str, version: str, run: Run) -> Iterator[Finding]:
    versions = run.started.versions
    told = str(versions.proxies.get(program) or getattr(versions, program, "nothing of"))
    if version not in told.split(", "):
        yield Finding(
            file=file, recorded=f"{program.capitalize()} {version}", follows=f"started.json says {program} {told}"
        )


def _parsed(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def _properties(file: str, found: Mapping[str, str], number: int, scenario: Scenario) -> Iterator[Finding]:
    asked: dict[str, ConfigValue] = {"node.id": number, **scenario.cluster.broker_config}
    for key, value in asked.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if found.get(key) != text.replace("\\", "\\\\"):
            yield Finding(file=file, recorded=f"{key}={found.get(key)}", follows=f"the plan says {key}={text}")
    plane = scenario.data_plane
    protocols = found.get("listener.security.protocol.map", "")
    asked_of = {"clients": f"{scenario.cluster.listener}:{'SSL' if plane.kafka_tls else 'PLAINTEXT'}"}
    if plane.own_replication:
        asked_of["replication"] = "REPLICATION:PLAINTEXT"
    for who, protocol in asked_of.items():
        if protocol not in protocols.split(","):
            yield Finding(
                file=file,
                recorded=f"listener.security.protocol.map={protocols}",
                follows=f"with {plane} the listener of {who} is {protocol}",
            )
    listener = found.get("inter.broker.listener.name")
    expected = "REPLICATION" if scenario.own_replication else "CLIENT"
    # Strimzi's name ends with the port. Older simulated brokers were told none.
    if (listener or "").partition("-")[0] != expected and (scenario.own_replication or listener is not None):
        yield Finding(
            file=file,
            recorded=f"inter.broker.listener.name={listener}",
            follows=f"with {plane} brokers replicate at {expected}",
        )


def _client(file: str, found: Mapping[str, str], asked: Mapping[str, ConfigValue]) -> Iterator[Finding]:
    """What its clients said that they go by; they say no more than what decides how they send and read."""
    for key in sorted(asked.keys() & found.keys()):
        if not _same(found[key], asked[key]):
            yield Finding(file=file, recorded=f"{key}={found[key]}", follows=f"the plan says {key}={asked[key]}")


def _same(said: str, asked: ConfigValue) -> bool:
    """`all` is -1 and 5 is 5.0; words are compared without case."""
    one, other = ("-1" if text == "all" else text for text in (said.lower(), str(asked).lower()))
    try:
        return float(one) == float(other)
    except ValueError:
        return one == other


def _command(round_: Raw, text: str | None, host: str, run: Run, scenario: Scenario) -> Iterator[Finding]:
    """Only real brokers have a command line."""
    if text is None:
        return
    file, spec = round_.file(f"config/{host}.command"), scenario.cluster
    words = text.splitlines()
    for option in (f"-Xms{spec.heap_bytes}", f"-Xmx{spec.heap_bytes}", *spec.jvm_options):
        if option not in words:
            yield Finding(file=file, recorded=f"a command without {option}", follows="the plan asks for it")
    jar = _KAFKA_JAR.search(text)
    if jar:
        yield from _version(file, "kafka", jar[1], run)


def _envoy(file: str, text: str, scenario: Scenario, *, expected: bool) -> Iterator[Finding]:
    if not expected:
        yield Finding(
            file=file, recorded="a sidecar's configuration", follows=f"{scenario.data_plane} has none on this host"
        )
        return
    try:
        contexts = list(_tls_contexts(json.loads(text)))
    except (ValueError, RecursionError) as error:
        yield Finding(file=file, recorded=f"no JSON: {error}", follows="Envoy was given a configuration")
        return
    if not scenario.data_plane.mtls:
        if contexts:
            yield Finding(
                file=file,
                recorded=f"{len(contexts)} TLS contexts",
                follows=f"{scenario.data_plane} forwards in the clear",
            )
        return
    kinds = {str(context["@type"]).rpartition(".")[2] for context in contexts}
    for kind in sorted({f"Upstream{_TLS}", f"Downstream{_TLS}"} - kinds):
        yield Finding(
            file=file, recorded=f"no {kind}", follows=f"{scenario.data_plane} encrypts between sidecars, both ways"
        )
    for context in contexts:
        if (
            str(context["@type"]).endswith(f"Downstream{_TLS}")
            and context.get("require_client_certificate") is not True
        ):
            yield Finding(
                file=file,
                recorded="a listener with TLS that asks for no certificate",
                follows=f"{scenario.data_plane} is mutual",
            )


def _gateway(file: str, text: str) -> Iterator[Finding]:
    try:
        contexts = list(_tls_contexts(json.loads(text)))
    except (ValueError, RecursionError) as error:
        yield Finding(file=file, recorded=f"no JSON: {error}", follows="Envoy was given a configuration")
        return
    if contexts:
        yield Finding(file=file, recorded=f"{len(contexts)} TLS contexts", follows="a gateway passes mTLS on as it is")


def _tls_contexts(value: object) -> Iterator[Mapping[str, object]]:
    if isinstance(value, dict):
        if str(value.get("@type", "")).endswith(_TLS):
            yield value
        for each in value.values():
            yield from _tls_contexts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _tls_contexts(each)


def _as_before(run: Run, round_: Raw, texts: Mapping[str, str]) -> Iterator[Finding]:
    """Against the scenario's first round."""
    first = next(data for data in run.rounds if data.started.scenario == round_.data.started.scenario)
    if first is round_.data:
        return
    before = first.configurations()
    for name in sorted(before.keys() & texts.keys()):
        if _NEW_EACH_TIME.sub("", before[name]) != _NEW_EACH_TIME.sub("", texts[name]):
            yield Finding(
                file=round_.file(f"config/{name}"),
                recorded="another configuration",
                follows=f"rounds/{first.directory.name} has the same scenario, but another "
                f"{_difference(before[name], texts[name])}",
            )


def _difference(one: str, other: str) -> str:
    pairs = zip(one.splitlines(), other.splitlines(), strict=False)
    return next((f"line {n}: {b[:120]!r}" for n, (a, b) in enumerate(pairs, start=1) if a != b), "length")
