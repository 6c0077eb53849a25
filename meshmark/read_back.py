"""Which of the records that were acknowledged consumers read afterwards. Pure.

A count alone cannot tell: one record lost and one read twice are as many as there should be. So records are known by
their intended send times, which travel with them, and are counted by how often each was acknowledged and read.

Limits: two records of one nanosecond are known as one that was acknowledged twice; of Poisson arrivals these are the
rate times 1e-9 of all, one in 10,000 at 100,000 a second. Where one of two such records was acknowledged, and the
other timed out and was stored all the same, one is told as read twice. Whether a record was stored twice, or stored
once and delivered again, is not told apart.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from meshmark.values import Model


class ReadBack(Model):
    """Records of one trial that were acknowledged so often, and read so often by one consumer group."""

    group: int = Field(description="of consumers, from 1")
    acknowledged: int = Field(description="times; mostly 1")
    read: int = Field(description="times; 1, where nothing was lost and nothing is there twice")
    records: int = Field(description="distinct intended send times that it happened to")


def missing(found: Sequence[ReadBack]) -> int:
    """Acknowledged, and not read; all groups together."""
    return sum(max(0, each.acknowledged - each.read) * each.records for each in found)


def duplicated(found: Sequence[ReadBack]) -> int:
    """Read once more than they should have been, as they were stored twice or delivered again; all groups together."""
    return sum(max(0, each.read - max(1, each.acknowledged)) * each.records for each in found)


def unacknowledged(found: Sequence[ReadBack], group: int) -> int:
    """Read by a group, and never acknowledged: allowed for records that timed out."""
    return sum(each.records for each in found if each.group == group and each.read and not each.acknowledged)


def contradictions(found: Sequence[ReadBack], unknown: int) -> tuple[str, ...]:
    """What must not be; `unknown` records may have been stored or not."""
    lost, again = missing(found), duplicated(found)
    strangers = max((unacknowledged(found, group) for group in {each.group for each in found}), default=0)
    told = [f"consumers did not read {lost} records that were acknowledged"] if lost else []
    told += [f"consumers read {again} records more than once"] if again else []
    if strangers > unknown:
        told.append(f"consumers read {strangers} records that were not acknowledged; {unknown} may have been stored")
    return tuple(told)
