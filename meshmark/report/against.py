"""Results against what the environment gave without Kafka, as a table."""

from __future__ import annotations

from meshmark.analysis.environment_model import AgainstEnvironment
from meshmark.analysis.model import Summary
from meshmark.report.view import Column, Grid, number_column, text_column
from meshmark.units import MB, percent, rate_msg_s


def grid(summary: Summary) -> Grid | None:
    """None where nothing was probed, or nothing carried."""
    rows = summary.against_environment
    if not rows:
        return None
    return Grid(
        title="Results against what the environment gives",
        columns=(
            text_column("scenario", (row.scenario for row in rows)),
            text_column("of", (row.resource for row in rows)),
            text_column("where", (row.where for row in rows)),
            text_column("without Kafka", (row.probe for row in rows)),
            number_column("used", (row.used_bytes_s / MB for row in rows), "MB/s"),
            number_column("given", (row.given_bytes_s / MB for row in rows), "MB/s"),
            Column(head="spread", cells=tuple(percent(row.spread) for row in rows), group="MB/s"),
            Column(head="carried", cells=tuple(rate_msg_s(row.rate_msg_s) for row in rows), group="messages/s"),
            Column(head="ceiling", cells=tuple(rate_msg_s(row.ceiling_msg_s) for row in rows), group="messages/s"),
            text_column("result", (_result(row) for row in rows)),
        ),
        note="Used: bytes to the device of all brokers; bytes of batches on the busiest path between two hosts, as "
        "measured in the trial of each repeat that came nearest to its ceiling, which carried so much. "
        "Ceiling: messages/s at which all that was given would be used, of the disk by every byte of the logs; in "
        "memory: above that, though not on the device yet. ABOVE: a result above what the environment gave without "
        "Kafka, by more than its spread; one of the two is wrong.",
    )


def _result(row: AgainstEnvironment) -> str:
    if row.above:
        return "ABOVE"
    return "in memory" if row.ceiling_msg_s is not None and row.rate_msg_s > row.ceiling_msg_s else "within"
