"""What a component's CPU time goes into: the ledger's seconds, shared out as the samples of the same windows are.

How much a component used is counted, by the kernel; samples only tell the kinds of work apart. With n samples of a
component a share p of them is known to about +-2 sqrt(p (1 - p) / n): of 400 samples one of 20 % to +-4 points. All
repeats' samples are taken together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import get_args

from meshmark.analysis.model import CpuPerGb, CpuSplit, WorkSplit
from meshmark.record import CpuProfile, WorkKind

KINDS: tuple[WorkKind, ...] = get_args(WorkKind)
_COLUMN = {
    "kafka": "brokers",
    "sidecar": "sidecars",
    "gateway": "gateways",
    "client": "clients",
    "meshmark": "meshmark",
    "kernel": "kernel",
    "others": "others",
    "relay": "relays",
}
"""Of the ledger, by the name that a component has on its host."""


def split(profiles: Sequence[CpuProfile], used: CpuPerGb) -> CpuSplit | None:
    """Of the windows that the mean CPU per GB, `used`, is of. None without samples."""
    if not profiles:
        return None
    found: Counter[tuple[str, WorkKind]] = Counter()
    unknown: Counter[str] = Counter()
    for profile in profiles:
        unknown.update(profile.unknown_in)
        for each in profile.samples:
            found[_COLUMN[each.component.rpartition("/")[2]], each.kind] += each.samples
    expected = sum(profile.expected for profile in profiles)
    return CpuSplit(
        windows=len(profiles),
        hz=profiles[0].hz,
        busy_share=found.total() / expected if expected else None,
        components=tuple(
            made
            for column in dict.fromkeys(_COLUMN.values())
            if (made := _component(column, {kind: found[column, kind] for kind in KINDS}, _used(used, column)))
        ),
        unknown_in=dict(unknown.most_common()),
    )


def _used(used: CpuPerGb, column: str) -> float | None:
    """Samples are of whole processes, so those of brokers hold their compilers."""
    value: float | None = getattr(used, column)
    if column == "brokers" and value is not None:
        return value + (used.compilers or 0.0)
    return value


def _component(column: str, samples: dict[WorkKind, int], used: float | None) -> WorkSplit | None:
    total = sum(samples.values())
    if not total:
        return None
    shares = {kind: count / total for kind, count in samples.items()}
    return WorkSplit(
        component=column,
        samples=total,
        s_per_gb=None if used is None else {kind: used * share for kind, share in shares.items()},
    )
