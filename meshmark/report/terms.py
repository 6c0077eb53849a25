"""What binds over a distance, in tables: each term beside the measured rate, how each was computed, settings tried."""

from __future__ import annotations

from typing import get_args

from meshmark.analysis.model import Summary
from meshmark.analysis.terms import NEAR
from meshmark.analysis.wan_model import Binding, Bound, MtlsCost, MtlsPrice, SettingTried, Term
from meshmark.report.view import Column, Grid, milliseconds, number_column, text_column
from meshmark.units import UNKNOWN, number, percent, rate_msg_s

SMALL = 0.01
SHARES = "rate as a share of what each term allows"
RATE = "messages/s"
MTLS = "mTLS"


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
            *_mtls_columns(summary),
        ),
        note=" ".join(filter(None, (_about(rows), _mtls_said(summary.mtls)))),
    )


def _mtls_columns(summary: Summary) -> tuple[Column, ...]:
    """Of rows that have a like one without mTLS."""
    if summary.mtls is None:
        return ()
    prices = {each.scenario: each for each in summary.mtls.prices}
    found = [prices.get(row.scenario) for row in summary.distance_terms]
    return (
        Column(head="of CPU", cells=tuple(map(_part, found)), group=MTLS),
        Column(head="binds", cells=tuple(map(_ruled, found)), group=MTLS, numeric=False),
    )


def _part(price: MtlsPrice | None) -> str:
    if price is None:
        return ""
    return percent(price.cpu_share).replace("-", "−") + ("" if price.alone or price.cpu_share is None else " †")


def _ruled(price: MtlsPrice | None) -> str:
    if price is None:
        return ""
    return {True: f"yes, {price.through}", False: "no", None: "unknown"}[price.binds]


def _mtls_said(cost: MtlsCost | None) -> str:
    if cost is None:
        return ""
    together = "" if all(each.alone for each in cost.prices) else " †: of sidecars and mTLS together."
    each_said = " ".join(f"{each.scenario} against {each.against}: {each.explained}." for each in cost.prices)
    return f"Does mTLS bind? By CPU, or by what it adds to each round trip.{together} {each_said}"


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
            Column(head="rate", cells=tuple(_ratio(row) for row in rows)),
            text_column("seen", (row.seen or UNKNOWN for row in rows)),
            text_column("as predicted", (_agrees(row) for row in rows)),
        ),
        note=f"{_moved(rows)} Rate: the ceiling, as a multiple of the baseline's. What binds the baseline, and what "
        "terms allow with the setting, predict whether the rate goes up, down, or stays.",
    )


def _ratio(row: SettingTried) -> str:
    if row.ratio is None:
        return UNKNOWN
    interval = ""
    if row.ratio_low is not None and row.ratio_high is not None:
        interval = f" ({number(row.ratio_low)} … {number(row.ratio_high)})"
    return number(row.ratio) + interval


def _agrees(row: SettingTried) -> str:
    return {True: "yes", False: "no", None: UNKNOWN}[row.agrees]


def _moved(rows: tuple[SettingTried, ...]) -> str:
    """Which settings moved the rate, in a sentence."""
    moved = [f"{row.scenario} ({row.seen}, {_told(row)})" for row in rows if row.seen in ("up", "down")]
    return f"Moved: {', '.join(moved)}." if moved else "No setting is known to have moved the rate."


def _told(row: SettingTried) -> str:
    return {True: "as predicted", False: "against the prediction", None: "nothing predicted"}[row.agrees]
