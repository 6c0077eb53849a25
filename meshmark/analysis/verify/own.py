"""Figures of one line of a record that follow from each other: an account, quantiles, the generator's lateness."""

from __future__ import annotations

from collections.abc import Iterator

from meshmark.analysis.verify.model import Finding
from meshmark.histogram import Histogram, latency, lateness
from meshmark.plan import Workload
from meshmark.record import Latency, Lateness, LoadTotals


def decoded(text: str) -> Histogram | None:
    """None where it cannot be decoded."""
    try:
        return Histogram.decode(text)
    except ValueError:
        return None


def account_findings(file: str, name: str, totals: LoadTotals, workload: Workload) -> Iterator[Finding]:
    """Offered is the sum of what became of it; bytes are records times their size."""
    if not totals.closed:
        parts = (totals.acknowledged, totals.failed, totals.unknown, totals.outstanding)
        yield Finding(
            file=file,
            recorded=f"{name}: offered {totals.offered}",
            follows="acknowledged {} + failed {} + unknown {} + outstanding {}".format(*parts) + f" = {sum(parts)}",
        )
    for kind in ("acknowledged", "consumed"):
        records, size = getattr(totals, kind), getattr(totals, f"{kind}_bytes")
        if size != records * workload.message_size:
            yield Finding(
                file=file,
                recorded=f"{name}: {size} bytes {kind}",
                follows=f"{records} records of {workload.message_size} bytes, by the plan, are "
                f"{records * workload.message_size}",
            )


def latency_findings(file: str, what: str, told: Latency) -> Iterator[Finding]:
    """Quantiles are those of the histogram."""
    histogram = decoded(told.histogram)
    if histogram is None:
        yield Finding(file=file, recorded=f"a histogram in {what}", follows="it cannot be decoded")
        return
    again = latency(histogram)
    for name in ("count", "p50_s", "p90_s", "p99_s", "p99_9_s", "max_s"):
        if getattr(again, name) != getattr(told, name):
            yield Finding(
                file=file,
                recorded=f"{what}: {name} = {getattr(told, name)}",
                follows=f"its histogram gives {getattr(again, name)}",
            )


def lateness_findings(file: str, told: Lateness) -> Iterator[Finding]:
    histogram = decoded(told.histogram)
    if histogram is None:
        yield Finding(file=file, recorded="a histogram in lateness", follows="it cannot be decoded")
        return
    again = lateness(histogram)
    if again.model_dump(exclude={"histogram"}) != told.model_dump(exclude={"histogram"}):
        yield Finding(
            file=file,
            recorded=f"{told.late_10ms} of {told.records} records more than 10 ms late",
            follows=f"its histogram has {again.late_10ms} of {again.records}",
        )
