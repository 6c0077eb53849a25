"""What was encrypted between hosts, as the end of a round has it, and what showed that, against the data plane."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

from meshmark.analysis.ledger import broker_hosts
from meshmark.analysis.verify.meshes import own_proofs
from meshmark.analysis.verify.model import Finding
from meshmark.analysis.verify.raw import Raw
from meshmark.data_plane import (
    AT_CONTROLLERS,
    BROKER_BROKER,
    CLIENT_BROKER,
    CONTROLLER,
    CONTROLLERS_TLS,
    HOPS,
    NO_CERTIFICATE,
    NO_PLAINTEXT,
)
from meshmark.plan import Scenario
from meshmark.store import Run


def encryption_findings(run: Run, round_: Raw, scenario: Scenario) -> Iterator[Finding]:
    finished, asked = round_.data.finished, scenario.encrypted_hops
    if _at_controllers(round_, scenario):
        asked = (*asked, CONTROLLER)
    if finished is not None and not (
        finished.encrypted_hops == asked
        and set(HOPS) - set(asked) <= set(finished.plain_hops)
        and not set(asked) & set(finished.plain_hops)
    ):
        yield Finding(
            file=round_.file("finished.json"),
            recorded=f"encrypted: {_listing(finished.encrypted_hops)}; plain: {_listing(finished.plain_hops)}",
            follows=f"{_who(scenario)} encrypts {_listing(asked)} and no other hop",
        )
    if finished is not None and finished.encrypted_by and finished.encrypted_by != scenario.by(asked):
        yield Finding(
            file=round_.file("finished.json"),
            recorded=f"encrypted_by: {_by(finished.encrypted_by)}",
            follows=f"{_who(scenario)} has {_by(scenario.by(asked))}",
        )
    if round_.data.trials:
        yield from _proofs(run, round_, scenario)


def _at_controllers(round_: Raw, scenario: Scenario) -> bool:
    """Was it shown at each controller of a topology that who is outside the mesh is refused at its port, and at each
    broker that has another one that its sidecar's connections there are TLS?"""
    plane, voters = scenario.data_plane, {f"broker-{n}" for n in scenario.cluster.topology.controllers()}
    if not (voters and plane.mtls and plane.encrypts(BROKER_BROKER)) or plane.encrypts(CONTROLLER):
        return False
    told = {(proof.host, proof.name.partition(": ")[2] or proof.name) for proof in round_.data.proofs}
    wanted = {(voter, f"{words} {AT_CONTROLLERS}") for voter in voters for words in (NO_PLAINTEXT, NO_CERTIFICATE)}
    wanted |= {(host, CONTROLLERS_TLS) for host in broker_hosts(scenario) if voters - {host}}
    return wanted <= told


def _proofs(run: Run, round_: Raw, scenario: Scenario) -> Iterator[Finding]:
    """At each broker, where something is to be encrypted, and the same in every round of a scenario with trials."""
    file = round_.file("proofs.jsonl")
    told = {(proof.host, proof.name) for proof in round_.data.proofs}
    asked = {"": "the port of clients"} if CLIENT_BROKER in scenario.encrypted_hops else {}
    if scenario.own_replication:
        asked[BROKER_BROKER] = "the port of replication"
    if CONTROLLER in scenario.own_tls:
        asked[CONTROLLER] = "the port of controllers"
    for hop, port in asked.items():
        lacking = set(broker_hosts(scenario)) - {proof.host for proof in round_.data.proofs if proof.hop == hop}
        if lacking:
            yield Finding(
                file=file,
                recorded=f"no proof at {_listing(sorted(lacking))}, {port}",
                follows=f"{_who(scenario)} is shown at every broker before there is load",
            )
    for host, words in own_proofs(scenario):
        if not any(host == at and words in name for at, name in told):
            yield Finding(
                file=file,
                recorded=f"no proof at {host} with the words: {words}",
                follows=f"of {_who(scenario)} the proxies' own counters, and who asks controllers, show it",
            )
    like = [data for data in run.rounds if data.started.scenario == scenario.name and data.trials]
    every = {(proof.host, proof.name) for proof in chain.from_iterable(data.proofs for data in like)}
    for host, name in sorted(every - told):
        yield Finding(
            file=file, recorded=f"no proof at {host} that {name}", follows="another round of the scenario has one"
        )


def _who(scenario: Scenario) -> str:
    operator = scenario.cluster.operator
    return f"{scenario.data_plane} of {operator}" if operator else str(scenario.data_plane)


def _by(by: Mapping[str, str]) -> str:
    return _listing([f"{hop} by {who}" for hop, who in by.items()])


def _listing(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
