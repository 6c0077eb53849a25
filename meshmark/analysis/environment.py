"""The environment benchmark: where it is made, and its probes -> ceilings: means over repeats, and what sidecars and
mTLS cost plain TCP."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from meshmark.analysis import stats
from meshmark.analysis.model import DiskCeiling, Environment, NetworkCeiling
from meshmark.analysis.wan_model import LinkSummary
from meshmark.data_plane import DataPlane, NetworkPath
from meshmark.plan import Plan, Scenario
from meshmark.record import DiskProbe, NetworkProbe


def probed_in(plan: Plan) -> dict[NetworkPath, Scenario]:
    """The scenario on whose hosts each path is probed: the first with it, and for the direct one, where the disk is
    probed too, the plan's first that has its logs on one, or its first, without its data plane."""
    first = next((each for each in plan.scenarios if each.cluster.storage != "ram"), plan.scenarios[0])
    found: dict[NetworkPath, Scenario] = {"direct": first.model_copy(update={"data_plane": DataPlane.PLAIN})}
    for scenario in plan.scenarios:
        found.setdefault(scenario.data_plane.path, scenario)
    return found


def ceilings(
    disk: Sequence[DiskProbe], network: Sequence[NetworkProbe], links: Sequence[LinkSummary] = ()
) -> Environment:
    """Grouped by what was probed and with which tool, in the order of their first probe; links as they are given."""
    return Environment(disk=_disk(disk), network=_network(network), links=tuple(links))


def _disk(probes: Sequence[DiskProbe]) -> tuple[DiskCeiling, ...]:
    groups: dict[tuple[str, str, int], list[DiskProbe]] = {}
    for probe in probes:
        groups.setdefault((probe.mode, probe.tool, probe.write_bytes), []).append(probe)
    return tuple(
        DiskCeiling(
            mode=group[0].mode,
            tool=group[0].tool,
            write_bytes=group[0].write_bytes,
            rate_bytes_s=fmean(probe.rate_bytes_s for probe in group),
            spread=stats.spread([probe.rate_bytes_s for probe in group]),
            repeats=len(group),
        )
        for group in groups.values()
    )


def _network(probes: Sequence[NetworkProbe]) -> tuple[NetworkCeiling, ...]:
    groups: dict[tuple[str, str, int], list[NetworkProbe]] = {}
    for probe in probes:
        groups.setdefault((probe.path, probe.tool, probe.flows), []).append(probe)
    rates = {key: fmean(probe.rate_bytes_s for probe in group) for key, group in groups.items()}

    def loss(path: str, against: str, tool: str, flows: int) -> float | None:
        rate, reference = rates[path, tool, flows], rates.get((against, tool, flows))
        return None if path == against or not reference else 1 - rate / reference

    return tuple(
        NetworkCeiling(
            path=group[0].path,
            tool=tool,
            flows=flows,
            rate_bytes_s=rates[path, tool, flows],
            spread=stats.spread([probe.rate_bytes_s for probe in group]),
            repeats=len(group),
            loss_vs_direct=loss(path, "direct", tool, flows),
            loss_vs_sidecars=loss(path, "sidecars", tool, flows) if path == "sidecars-mtls" else None,
        )
        for (path, tool, flows), group in groups.items()
    )
