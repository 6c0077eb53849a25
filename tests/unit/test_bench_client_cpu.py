"""What a record takes of a client's CPU, its start left out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from bench.client_cpu import START, Asked, Cpu, Used, program_cpu, scenario
from meshmark.cluster import Cluster, TopicLayout

START_S, RECORD_US = 2.5, 3.0


class Programs:
    """A cluster on whose client host a program takes START_S, and RECORD_US for each record."""

    client_hosts = ("client-1",)

    def __init__(self) -> None:
        self.records: list[int] = []

    @contextmanager
    def spawn(self, host: str, argv: Sequence[str], *, name: str) -> Iterator[Programs]:
        self.records.append(int(argv[-1]))
        yield self

    def read_line(self, timeout_s: float) -> str:
        count = self.records[-1]
        user_s = START_S + count * RECORD_US / 1e6
        return json.dumps({"last_line": f"{count} records sent", "user_s": user_s, "system_s": 0.1 + count * 1e-6})


class Layout:
    leaders = {("t", 0): "broker-1"}  # noqa: RUF012


def test_a_programs_start_is_left_out_by_two_runs_of_it() -> None:
    programs = Programs()
    asked = Asked(
        cluster=cast(Cluster, programs),
        workload=scenario(16_384, 1).workload,
        records=600_000,
        payloads=Path("none"),
        c_program=Path("none"),
    )
    measured = partial(program_cpu, lambda _asked, topic, count: ["program", topic, str(count)], r"(\d+) records sent")
    found = measured(asked, cast(TopicLayout, Layout()))
    assert programs.records == [START, START + 600_000]
    assert found.user_s == pytest.approx(RECORD_US)
    assert found.system_s == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("records", "user_s"),
    [pytest.param(1_000, 2.0, id="no more records"), pytest.param(2_000, 0.9, id="no more CPU")],
)
def test_too_few_records_to_show_beside_the_start_are_refused(records: int, user_s: float) -> None:
    first = Used(user_s=1.0, system_s=0.5, records=1_000)
    with pytest.raises(SystemExit, match="--records"):
        Cpu.between(first, Used(user_s=user_s, system_s=0.5, records=records))
