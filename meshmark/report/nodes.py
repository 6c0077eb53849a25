"""The tables of a run on nodes of a cluster: what these spent outside the run's pods, and how far apart pods were
read."""

from __future__ import annotations

from meshmark.analysis.model import Summary
from meshmark.analysis.node_model import Cpus
from meshmark.report.view import Column, Grid, number_column, text_column
from meshmark.units import UNKNOWN, number

AT_LIMIT = "at its CPU limit"
SOURCES = {"kubelet": "the kubelets", "prometheus": "Prometheus"}


def cpu(summary: Summary) -> Grid | None:
    """None where nobody else was asked, or nobody gave two readings in a round."""
    rows = summary.nodes
    if not rows:
        return None
    pods = "in pods"
    by = " and ".join(sorted({SOURCES[row.source] for row in rows}))
    ztunnel = any(row.ztunnel for row in rows)
    unverified = "" if all(row.verified for row in rows) else " Their certificates were not verified."
    return Grid(
        title="CPUs that nodes used, in pods and outside",
        columns=(
            text_column("scenario", (row.scenario for row in rows)),
            text_column("node", (row.node for row in rows)),
            number_column("seconds", (row.seconds for row in rows)),
            number_column("node", (row.cpus for row in rows)),
            _bounds("of the run", [row.own for row in rows], pods),
            _bounds("others", [row.others for row in rows], pods),
            _bounds("outside pods", [row.outside for row in rows]),
            _bounds("kubelet", [row.kubelet for row in rows], "of these"),
            _bounds("runtime", [row.runtime for row in rows], "of these"),
            *([_bounds("ztunnel", [row.ztunnel for row in rows], "of the others")] if ztunnel else []),
        ),
        note=f"CPUs on the average of whole rounds, pauses included, as {by} counted them.{unverified} Those readings "
        "are 10 s and more apart and each at a time of its own, so no trial's window is told; what lies between two "
        "of the node's is no less and no more than this. A kubelet tells its times in whole seconds, which is in the "
        "bounds, and not in `node` and `seconds`.",
    )


def containers(summary: Summary) -> Grid | None:
    """Of the run's own pods, by the same source; None as above."""
    rows = [(row, each) for row in summary.nodes for each in row.containers]
    if not rows:
        return None
    return Grid(
        title="CPUs that containers used",
        columns=(
            text_column("scenario", (row.scenario for row, _ in rows)),
            text_column("node", (row.node for row, _ in rows)),
            text_column("pod", (each.pod for _, each in rows)),
            text_column("container", (each.container for _, each in rows)),
            _bounds("CPUs", [each.cpus for _, each in rows]),
            number_column("periods, %", (_percent(each.limited) for _, each in rows), group=AT_LIMIT),
            number_column("waited, s", (each.limited_s for _, each in rows), group=AT_LIMIT),
        ),
        note="On the average of whole rounds, pauses included. What load costs is in the CPU ledger above, by "
        "processes and at the edges of windows. At its CPU limit: in how many of the limit's periods (100 ms as a "
        "rule) a container had used it up, and how long its threads had to wait for that, together, from the first to "
        "the last reading of each round.",
    )


def spreads(summary: Summary) -> Grid | None:
    """None where nothing was read in pods."""
    rows = summary.reading_spreads
    if not rows:
        return None
    return Grid(
        title="How far apart pods were read",
        columns=(
            text_column("scenario", (row.scenario for row in rows)),
            Column(head="readings", cells=tuple(f"{row.readings:,}" for row in rows)),
            number_column("median, ms", (_ms(row.p50_s) for row in rows)),
            number_column("longest, ms", (_ms(row.max_s) for row in rows)),
        ),
        note="From a reading's first question to its last answer: all pods are asked at once, each reads its counters "
        "when the question comes.",
    )


def _bounds(head: str, values: list[Cpus | None], group: str = "") -> Column:
    cells = (UNKNOWN if each is None else f"{number(each.low, 2)} … {number(each.high, 2)}" for each in values)
    return Column(head=head, cells=tuple(cells), group=group)


def _percent(share: float | None) -> float | None:
    return None if share is None else share * 100


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000
