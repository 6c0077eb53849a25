"""Pictures of latency at equal load, from the smallest value to the last that enough records exceed."""

from __future__ import annotations

from collections.abc import Sequence

from meshmark.analysis.distributions import Distribution, distributions
from meshmark.report import charts, view
from meshmark.report.sections import Figure
from meshmark.report.view import Column, Grid, milliseconds, number_column, text_column
from meshmark.store import Run
from meshmark.units import percent, rate_msg_s

QUANTILES = ("0 %", "90 %", "99 %", "99.9 %", "99.99 %")
"""By their number of nines."""
_TITLES = {"acknowledgement": "Latency", "consumer": "Latency to the consumer"}


def figures(run: Run) -> list[Figure]:
    """One for each load that scenarios with one baseline share, and for where the latency ends."""
    groups: dict[tuple[str, float, str], list[Distribution]] = {}
    for each in distributions(run):
        if each.curve:
            groups.setdefault((each.ends, each.share, each.baseline), []).append(each)
    several = len({baseline for _, _, baseline in groups}) > 1
    return [_figure(groups[key], several) for key in sorted(groups)]


def _figure(found: Sequence[Distribution], several: bool) -> Figure:
    first = found[0]
    title = f"{_TITLES[first.ends]} at {percent(first.share)} load"
    if several:
        title += f", {first.baseline} and what is compared with it"
    return Figure(
        title=title,
        picture=charts.quantiles(
            {each.scenario: [(nines, 1e3 * seconds) for nines, seconds in each.curve] for each in found}, QUANTILES
        ),
        caption=f"From the intended send to the {first.ends}, at "
        f"{view.listing(sorted({rate_msg_s(each.offered_msg_s) for each in found}))} msg/s offered.",
        grid=_grid(title, found),
        unit="ms",
    )


def _grid(title: str, found: Sequence[Distribution]) -> Grid:
    return Grid(
        title=f"{title}, ms",
        columns=(
            text_column("scenario", (each.scenario for each in found)),
            Column(head="repeats", cells=tuple(str(each.repeats) for each in found)),
            Column(head="records", cells=tuple(f"{each.count:,}" for each in found)),
            *(
                number_column(head, (milliseconds(each.at(nines)) for each in found))
                for nines, head in enumerate(QUANTILES)
            ),
            number_column("largest", (milliseconds(each.max_s) for each in found)),
        ),
    )
