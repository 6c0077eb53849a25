"""The links between clusters as asked for and as found: one table, for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from meshmark.analysis.model import DistanceLaw, DistancePoint, Interval, Summary
from meshmark.analysis.steadiness import LEAST_STEPS, VARIATION
from meshmark.analysis.steadiness_model import SteadyState
from meshmark.analysis.wan_model import LawsApart, LinkSummary
from meshmark.report.view import Column, Grid, listing, milliseconds, number_column, text_column
from meshmark.units import MB, UNKNOWN, number, percent, rate_msg_s

RATE = "messages/s"


def links(summary: Summary) -> Grid | None:
    """None where all hosts were in one place."""
    rows = summary.environment.links
    if not rows:
        return None
    lossy = any(row.asked_loss for row in rows)
    limited = any(row.asked_bandwidth_bytes_s for row in rows)
    counted = any(row.loaded_packets for row in rows)
    return Grid(
        title="Links between clusters, as asked for and as found",
        columns=(
            text_column("scenario", (row.scenario for row in rows)),
            text_column("from", (row.source for row in rows)),
            text_column("to", (row.target for row in rows)),
            number_column("asked", (milliseconds(row.asked_rtt_s) for row in rows), "RTT, ms"),
            number_column("found", (milliseconds(row.rtt_s) for row in rows), "RTT, ms"),
            *(_spread(rows) if any(row.kind == "found" for row in rows) else ()),
            Column(head="error", cells=tuple(_signed(row.rtt_error) for row in rows), group="RTT, ms"),
            number_column("under load", (milliseconds(row.loaded_rtt_s) for row in rows), "RTT, ms"),
            Column(head="its error", cells=tuple(_signed(row.loaded_rtt_error) for row in rows), group="RTT, ms"),
            *(_loss(rows, counted=counted) if lossy else ()),
            *(_bandwidth(rows) if limited else ()),
            *(_carried(rows, limited=limited) if counted else ()),
        ),
        note=_note(rows),
    )


def crossed(summary: Summary) -> Grid | None:
    """None where no relay counted anything."""
    rows = summary.wan
    if not rows:
        return None
    compared = any(row.saved is not None for row in rows)
    return Grid(
        title="Bytes between clusters",
        columns=(
            text_column("scenario", (row.scenario for row in rows)),
            text_column("from", (row.source for row in rows)),
            text_column("to", (row.target for row in rows)),
            number_column("bytes per byte acknowledged", (row.bytes_per_byte for row in rows)),
            *(
                [Column(head="less than its baseline", cells=tuple(_share(row.saved) for row in rows))]
                if compared
                else []
            ),
        ),
        note="IP packets as on a wire, by the links' own counters over whole trials.",
    )


def _share(value: float | None) -> str:
    return "" if value is None else percent(value).replace("-", "−")


def outages(summary: Summary) -> Grid | None:
    """None where no link went down."""
    rows = summary.outages
    if not rows:
        return None
    down, records = "down", "records"
    return Grid(
        title="Links that went down while load was offered",
        columns=(
            text_column("scenario", (row.scenario for row in rows)),
            Column(head="repeat", cells=tuple(str(row.repeat) for row in rows)),
            Column(head="trial", cells=tuple(str(row.trial) for row in rows)),
            text_column("link", (row.link for row in rows)),
            Column(head="times", cells=tuple(str(row.outages) for row in rows), group=down),
            number_column("longest, s", (row.longest_s for row in rows), down),
            number_column("still, s", (row.still_s for row in rows)),
            Column(head="acknowledged", cells=tuple(f"{row.acknowledged:,}" for row in rows), group=records),
            Column(head="read back", cells=tuple(_count(row.read_back) for row in rows), group=records),
            Column(head="missing", cells=tuple(_told(row.missing) for row in rows), group=records),
            Column(head="read twice", cells=tuple(_told(row.duplicated) for row in rows), group=records),
            Column(head="failed", cells=tuple(f"{row.failed:,}" for row in rows), group=records),
            Column(head="unknown", cells=tuple(f"{row.unknown:,}" for row in rows), group=records),
            number_column("out of sync", (row.isr_shrinks for row in rows)),
        ),
        note="Still: the longest time in which nothing was acknowledged. Read back: by consumers, to the end of every "
        "partition, after the load. Missing: acknowledged, and not read, by the records' own intended send times, so "
        "one that is there twice stands for no other. Read twice: stored twice, or delivered again. A trial with one "
        "of either is invalid. Out of sync: replicas that fell out of sync in the window.",
    )


def steadiness(summary: Summary) -> Grid | None:
    """Of every scenario, the steady ones too, where brokers are far apart; None where they are in one place."""
    apart = {row.scenario for row in summary.distance_terms}
    rows = [row for row in summary.steadiness if row.scenario in apart]
    if not rows:
        return None
    worst = "least even broker, MB/s from second to second"
    return Grid(
        title="Whether brokers took evenly what came evenly",
        columns=(
            text_column("scenario", (row.scenario for row in rows)),
            text_column("steady state", (row.verdict for row in rows)),
            Column(head="judged", cells=tuple(f"{row.judged} of {row.windows}" for row in rows), group="windows"),
            Column(
                head="uneven", cells=tuple(str(row.uneven) if row.judged else UNKNOWN for row in rows), group="windows"
            ),
            number_column("longest, s", (row.longest_s for row in rows), "windows"),
            text_column("broker", (row.host or UNKNOWN for row in rows), worst),
            number_column("least", (_mb(row.least_bytes_s) for row in rows), worst),
            number_column("most", (_mb(row.most_bytes_s) for row in rows), worst),
            Column(head="variation", cells=tuple(percent(row.variation) for row in rows), group=worst),
        ),
        note=_steady(rows),
    )


def _steady(rows: Sequence[SteadyState]) -> str:
    swung = [row.scenario for row in rows if row.verdict == "unstable"]
    unknown = [row.scenario for row in rows if row.verdict == "unknown"]
    judged = [row for row in rows if row.judged]
    said = f"A broker swung in {listing(swung)}." if swung else "No broker swung." if judged else ""
    of = "any" if len(unknown) == len(rows) else listing(unknown)
    left = f"Not known of {of}: windows are too short, or the load itself was uneven." if unknown else ""
    about = (
        "Variation: standard deviation of the growth of its log over steps of a second, as a share of the mean; "
        f"above {percent(VARIATION)} the broker swung. A window needs {LEAST_STEPS} such steps. Swings that come back "
        "within two seconds, or take longer than the longest window, may not show."
    )
    return " ".join(filter(None, (said, left, about)))


def _count(value: int | None) -> str:
    return "no consumers" if value is None else f"{value:,}"


def _told(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"


def laws(summary: Summary) -> Grid | None:
    """None where no data plane was measured at several distances."""
    rows = [(law, point) for law in summary.distance_laws for point in law.points]
    if not rows:
        return None
    held_out = any(point.held_out for _, point in rows)
    return Grid(
        title="Throughput against distance",
        columns=(
            text_column("scenario", (point.scenario for _, point in rows)),
            text_column("data plane", (law.data_plane.value for law, _ in rows)),
            number_column("RTT, ms", (milliseconds(point.rtt_s) for _, point in rows)),
            Column(head="measured", cells=tuple(rate_msg_s(point.rate_msg_s) for _, point in rows), group=RATE),
            Column(head="by the law", cells=tuple(rate_msg_s(point.fitted_msg_s) for _, point in rows), group=RATE),
            Column(head="predicted", cells=tuple(_predicted(point) for _, point in rows), group=RATE),
            Column(head="error", cells=tuple(_signed(point.error) for _, point in rows)),
            *([text_column("predicted when", (_when(point) for _, point in rows))] if held_out else []),
            Column(head="lives", cells=tuple(str(point.lives) for _, point in rows)),
        ),
        note=" ".join(
            [
                _about(held_out),
                *(_words(law) for law in summary.distance_laws),
                *(_apart(each) for each in (summary.mtls.laws if summary.mtls else ())),
            ]
        ),
    )


def _predicted(point: DistancePoint) -> str:
    return rate_msg_s(point.predicted_msg_s) + _interval(point.predicted_interval, rate_msg_s)


def _when(point: DistancePoint) -> str:
    if not point.held_out:
        return "by the others"
    return "not at all" if point.predicted_msg_s is None else "before it was measured"


def _about(held_out: bool) -> str:
    alone = "Predicted: from the other distances alone."
    if not held_out:
        return alone
    return (
        f"{alone} Those before they were measured are in no fit; their predictions, with 95 % intervals, were in the "
        "record before their first round."
    )


def _words(law: DistanceLaw) -> str:
    if law.bytes_per_rtt is None or law.rate_at_zero_msg_s is None:
        return f"{law.data_plane}: what is carried does not fall with distance as such a law has it."
    near = rate_msg_s(law.rate_at_zero_msg_s) + _interval(law.rate_at_zero_interval, rate_msg_s)
    held = _kb(law.bytes_per_rtt) + _interval(law.bytes_per_rtt_interval, _kb)
    return f"{law.data_plane}: {near} msg/s without distance, {held} kB under way in one round trip."


def _apart(laws: LawsApart) -> str:
    said = (
        f"{laws.data_plane} against {laws.against}: "
        f"{_times(laws.rate_at_zero_ratio, laws.rate_at_zero_low, laws.rate_at_zero_high)} times the rate without "
        f"distance, {_times(laws.bytes_per_rtt_ratio, laws.bytes_per_rtt_low, laws.bytes_per_rtt_high)} times the "
        "bytes under way"
    )
    if laws.added_s_per_gb is None:
        return f"{said}; they carried too different rates for their CPU per GB to be compared."
    added = _times(laws.added_s_per_gb, laws.added_low, laws.added_high)
    return f"{said}, {added} s of CPU per GB more (at {laws.distances} distances)."


def _times(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return UNKNOWN
    if low is None or high is None:
        return f"{number(value)} (no interval)"
    return f"{number(value)} ({number(low)} … {number(high)})"


def _interval(found: Interval | None, shown: Callable[[float], str]) -> str:
    return "" if found is None else f" ({shown(found.low)} … {shown(found.high)})"


def _kb(value: float) -> str:
    return number(value / 1e3)


def _loss(rows: tuple[LinkSummary, ...], *, counted: bool) -> tuple[Column, ...]:
    found = (
        Column(head="asked", cells=tuple(percent(row.asked_loss) for row in rows), group="loss"),
        Column(head="found", cells=tuple(percent(row.loss) for row in rows), group="loss"),
    )
    if not counted:
        return found
    return (
        *found,
        Column(head="under load", cells=tuple(percent(row.loaded_loss) for row in rows), group="loss"),
        Column(head="its error", cells=tuple(_signed(row.loaded_loss_error) for row in rows), group="loss"),
    )


def _carried(rows: tuple[LinkSummary, ...], *, limited: bool) -> tuple[Column, ...]:
    group = "carried under load, MB/s"
    found = (
        number_column("mean", (_mb(row.loaded_bytes_s) for row in rows), group),
        number_column("most", (_mb(row.loaded_bytes_s_most) for row in rows), group),
    )
    if not limited:
        return found
    return (
        *found,
        Column(head="of asked", cells=tuple(_signed(row.loaded_bandwidth_error) for row in rows), group=group),
        Column(head="dropped", cells=tuple(percent(row.loaded_dropped) for row in rows), group=group),
    )


def _bandwidth(rows: tuple[LinkSummary, ...]) -> tuple[Column, ...]:
    group = "bandwidth, MB/s"
    return (
        number_column("asked", (_mb(row.asked_bandwidth_bytes_s) for row in rows), group),
        number_column("found", (_mb(row.bandwidth_bytes_s) for row in rows), group),
        Column(head="error", cells=tuple(_signed(row.bandwidth_error) for row in rows), group=group),
    )


def _spread(rows: tuple[LinkSummary, ...]) -> tuple[Column, ...]:
    return (
        number_column("least", (milliseconds(row.rtt_min_s) for row in rows), "RTT, ms"),
        number_column("most", (milliseconds(row.rtt_max_s) for row in rows), "RTT, ms"),
    )


_FOUND = (
    "These ways were found, and not made: what the plan asks for is what it expects. Round trips are of TCP "
    "handshakes between a broker's pod of either cluster, past the sidecars, as the kernel times them: before load 25 "
    "at most, and under load 15 at the end of each trial, queues on the way included."
)


def _note(rows: tuple[LinkSummary, ...]) -> str:
    made = {row.kind for row in rows} - {"found"}
    controls = listing(sorted({row.congestion_control for row in rows if row.congestion_control}))
    control = f" TCP's congestion control was {controls}." if controls else ""
    if not made:
        return f"{_FOUND}{control}"
    return (
        f"Made by {listing(sorted(made))}; before load by ICMP, datagrams and TCP past the sidecars; under load by "
        f"ICMP at the end of each trial, queues on the way included.{_counted(rows)}{control}"
    )


def _counted(rows: tuple[LinkSummary, ...]) -> str:
    if not any(row.loaded_packets for row in rows):
        return ""
    both = (
        " They count packets of both directions together, so those losses are of both, and have an error only where "
        "both were asked for alike; bytes are of one direction."
    )
    return (
        " What was lost, dropped at a full queue and carried under load is from the links' own counters, over the "
        f"windows of valid trials.{both if any(row.loaded_together for row in rows) else ''} Most: in the trial that "
        "carried most; where that is well below what was asked for, the link was not full."
    )


def _mb(value: float | None) -> float | None:
    return None if value is None else value / MB


def _signed(error: float | None) -> str:
    return UNKNOWN if error is None else f"{error * 100:+.1f} %".replace("-", "−")
