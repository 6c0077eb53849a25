"""The limits that hosts were held to, as probed in each round, against the profile, its scale and the plan."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from meshmark.analysis.hardware import largest_scale, limits, of_load
from meshmark.analysis.ledger import client_hosts
from meshmark.analysis.limits import of_limit
from meshmark.analysis.verify.model import Finding
from meshmark.analysis.verify.raw import Raw
from meshmark.hardware import TOLERANCE, Hardware, LimitProbe
from meshmark.plan import Scenario
from meshmark.record import Limit
from meshmark.store import Run
from meshmark.units import percent

FILE = "hardware.json"


def scale_findings(run: Run) -> Iterator[Finding]:
    """The one factor of all limits: as asked for, or the largest that was allowed."""
    hardware = run.hardware
    if hardware is None:
        if run.plan.profile and run.rounds:
            yield Finding(file=FILE, recorded="no hardware", follows=f"the plan has the profile {run.plan.profile}")
        return
    if hardware.asked != run.plan.scale:
        yield Finding(
            file=FILE, recorded=f"scale {hardware.asked} was asked for", follows=f"the plan says {run.plan.scale}"
        )
    scale = largest_scale(hardware.bounds) if hardware.asked == "auto" else hardware.asked
    if not math.isclose(hardware.scale, scale):
        yield Finding(file=FILE, recorded=f"scale {hardware.scale:g}", follows=f"what was allowed gives {scale:g}")


def limit_findings(run: Run, round_: Raw, scenario: Scenario) -> Iterator[Finding]:
    """Each limit of the profile was probed, is what it should be, and held; nothing else was limited."""
    hardware, data = run.hardware, round_.data
    asked = () if hardware is None else _asked(hardware, scenario, data.limits)
    links = () if hardware is None else _client_links(hardware, scenario)
    should = {_whose(limit): limit.amount for limit in (*links, *asked)}
    probed = {_whose(probe.limit) for probe in data.limits}
    for line, probe in enumerate(data.limits, start=1):
        file, amount = round_.file("limits.jsonl", line), should.get(_whose(probe.limit))
        told = f"{of_limit(probe.limit)}: {probe.limit.amount:g}"
        if amount is None or not math.isclose(probe.limit.amount, amount):
            yield Finding(
                file=file,
                recorded=told,
                follows="it has no such limit" if amount is None else f"the profile times its scale is {amount:g}",
            )
        if data.trials and not probe.holds:
            yield Finding(
                file=file,
                recorded=f"{told}, of which a probe found {probe.measured:g}, and trials",
                follows=f"a limit that is off by more than {percent(TOLERANCE)} ends the run",
            )
    if data.trials and (lacking := [limit for limit in asked if _whose(limit) not in probed]):
        yield Finding(
            file=round_.file("limits.jsonl"),
            recorded=f"no probe of {', '.join(map(of_limit, lacking))}",
            follows="the profile limits it, and there are trials",
        )


def _asked(hardware: Hardware, scenario: Scenario, probes: Sequence[LimitProbe]) -> tuple[Limit, ...]:
    """Of the profile. Older records limit load workers' CPU on client hosts in turn, wherever the plan has them."""
    asked = limits(hardware.profile, hardware.scale, scenario)
    workers, held = of_load(asked), {each.host for each in of_load([probe.limit for probe in probes])}
    in_turn = client_hosts(scenario)[: 1 + scenario.workload.subscriptions_per_topic]
    if not workers or held <= {each.host for each in workers} or not held <= set(in_turn):
        return asked
    older = [workers[0].model_copy(update={"host": host}) for host in in_turn]
    return (*(each for each in asked if each not in workers), *older)


def _client_links(hardware: Hardware, scenario: Scenario) -> tuple[Limit, ...]:
    """What older records limit although brokers' links together are no wider."""
    link = hardware.profile.client.network
    if link is None or link.bytes_s is None:
        return ()
    amount = link.bytes_s.value * hardware.scale
    return tuple(Limit(host=host, resource="network", amount=amount) for host in client_hosts(scenario))


def _whose(limit: Limit) -> tuple[str, str, str]:
    return limit.host, limit.resource, limit.component
