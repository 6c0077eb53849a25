"""What binds over a distance, in tables: each term beside the measured rate, how each was computed, settings tried."""

from __future__ import annotations

from typing import get_args

from meshmark.analysis.model import Summary
from meshmark.analysis.terms import NEAR
from meshmark.analysis.wan_model import Binding, Bound, MtlsPrice, SettingTried, Term
from meshmark.report.view import Column, Grid, milliseconds, number_column, text_column
from meshmark.units import UNKNOWN, number, percent, rate_msg_s

SMALL = 0.01
SHARES = "rate as a share of what each term allows"
RATE = "messages/s"
ADDED = "CPU added"


def terms(summary: Summary) -> Grid | None:
    """A row for each scenario over a distance; None where there is none."""
    rows = summary.distance_terms
    if not rows:
        return None
    present = [term for term in get_args(Term) if any(_bound(row, term) for row in rows)]
    return Grid(
        title="What binds over the distance",
        columns=(
            text_column("scenario", (row.scenario for row in rows)),
            number_column("RTT, ms", (milliseconds(row.rtt_s) for row in rows)),
            Column(head=RATE, cells=tuple(_rate(row) for row in rows)),
            *(
                Column(head=term, cells=tuple(_share(_bound(row, term)) for row in rows), group=SHARES)
                for term in present
            ),
            number_column("answer, ms", (milliseconds(row.answer_s) for row in rows)),
            text_column("binds", (_named(row) for row in rows)),
        ),
        note=_about(rows),
    )


def mtls(summary: Summary) -> Grid | None:
    """None where no scenario with mTLS has a like one without it at its distance."""
    rows = summary.mtls.prices if summary.mtls else ()
    if not rows:
        return None
    return Grid(
        title="Does mTLS bind?",
        columns=(
            text_column("scenario", (row.scenario for row in rows)),
            text_column("against", (row.against + ("" if row.alone else " *") for row in rows)),
            number_column("RTT, ms", (milliseconds(row.rtt_s) for row in rows)),
            Column(head="s per GB", cells=tuple(_between(_added(row)) for row in rows), group=ADDED),
            Column(head="of all", cells=tuple(_part(row) for row in rows), group=ADDED),
            Column(head="rate", cells=tuple(_between(_times(row)) for row in rows)),
            text_column("mTLS binds", (_ruled(row) for row in rows)),
        ),
        note=_mtls_said(rows),
    )


def _added(row: MtlsPrice) -> tuple[float | None, float | None, float | None]:
    return row.added_s_per_gb, row.added_low, row.added_high


def _times(row: MtlsPrice) -> tuple[float | None, float | None, float | None]:
    return row.ratio, row.ratio_low, row.ratio_high


def _part(row: MtlsPrice) -> str:
    return UNKNOWN if row.cpu_share is None else percent(round(row.cpu_share, 2) + 0.0).replace("-", "−")


def _ruled(row: MtlsPrice) -> str:
    through = f", {row.through}" if row.through else ""
    return {True: f"yes{through}", False: "no", None: "unknown"}[row.binds]


def _mtls_said(rows: tuple[MtlsPrice, ...]) -> str:
    together = "" if all(row.alone for row in rows) else " *: without sidecars, so all this is of both together."
    return (
        "CPU of brokers, sidecars, gateways and load workers, and the ceiling as a multiple of that without mTLS, "
        f"both with 95 % intervals. It binds by CPU, or by what it adds to each round trip.{together} "
        + " ".join(f"{row.scenario}: {row.explained}." for row in rows)
    )


def _bound(row: Binding, term: Term) -> Bound | None:
    return next((bound for bound in row.bounds if bound.term == term), None)


def _share(bound: Bound | None) -> str:
    if bound is None:
        return ""
    return "< 1 %" if bound.share is not None and bound.share < SMALL else percent(bound.share)


def _rate(row: Binding) -> str:
    return rate_msg_s(row.rate_msg_s) + ("" if row.ceiling or row.rate_msg_s is None else " *")


def _named(row: Binding) -> str:
    return ", ".join(row.binds) or "unknown"


def _about(rows: tuple[Binding, ...]) -> str:
    said = (
        "Binds: the least of what terms allow, by configuration and measured RTT, that the rate comes near (from "
        f"{percent(NEAR)} of it on). Of TCP buffers the kernel may give up to twice as much as asked for, so up to "
        "200 % is near. Answer: time to send one answer to a follower, where that takes longest; far above one RTT, "
        "it is cut by what TCP holds, or waits for a CPU."
    )
    return said if all(row.ceiling for row in rows) else f"{said} *: no ceiling, what trials acknowledged."


def bounds(summary: Summary) -> Grid | None:
    """Each bound of each scenario, and how it was computed; None where there is none."""
    rows = [(row, bound) for row in summary.distance_terms for bound in row.bounds]
    if not rows:
        return None
    return Grid(
        title="How what each term allows was computed",
        columns=(
            text_column("scenario", (row.scenario for row, _ in rows)),
            text_column("term", (bound.term for _, bound in rows)),
            Column(head="allows", cells=tuple(rate_msg_s(bound.bound_msg_s) for _, bound in rows), group=RATE),
            Column(head="measured", cells=tuple(_rate(row) for row, _ in rows), group=RATE),
            Column(head="share", cells=tuple(_share(bound) for _, bound in rows)),
            text_column("near", ("near" if bound.near else "" for _, bound in rows)),
            text_column("how", (bound.how for _, bound in rows)),
        ),
        note=" ".join(f"{row.scenario}: {row.explained}." for row in summary.distance_terms),
    )


def settings(summary: Summary) -> Grid | None:
    """None where no setting was tried at a distance."""
    rows = summary.settings_tried
    if not rows:
        return None
    return Grid(
        title="Settings tried at a distance",
        columns=(
            text_column("scenario", (row.scenario for row in rows)),
            text_column("changed", (row.changed for row in rows)),
            text_column("what binds", (row.binds or "unknown" for row in rows)),
            text_column("predicted", (row.predicted or UNKNOWN for row in rows)),
            Column(head="rate", cells=tuple(_between((row.ratio, row.ratio_low, row.ratio_high)) for row in rows)),
            text_column("seen", (row.seen or UNKNOWN for row in rows)),
            text_column("as predicted", (_agrees(row) for row in rows)),
        ),
        note=f"{_moved(rows)} Rate: the ceiling, as a multiple of the baseline's. What binds the baseline, and what "
        "all terms together allow with the setting, predict whether the rate goes up, down, or stays.",
    )


def _between(found: tuple[float | None, float | None, float | None]) -> str:
    """A value with its interval, as far as they are known."""
    value, low, high = found
    if value is None or low is None or high is None:
        return number(value)
    return f"{number(value)} ({number(low)} … {number(high)})"


def _agrees(row: SettingTried) -> str:
    return {True: "yes", False: "no", None: UNKNOWN}[row.agrees]


def _moved(rows: tuple[SettingTried, ...]) -> str:
    """Which settings moved the rate, in a sentence."""
    moved = [f"{row.scenario} ({row.seen}, {_told(row)})" for row in rows if row.seen in ("up", "down")]
    return f"Moved: {', '.join(moved)}." if moved else "No setting is known to have moved the rate."


def _told(row: SettingTried) -> str:
    return {True: "as predicted", False: "against the prediction", None: "nothing predicted"}[row.agrees]
