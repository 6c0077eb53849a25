"""A plan whose connections need more open files than a process may have is refused, with what to do."""

from __future__ import annotations

import resource

import pytest

from meshmark.backends.lab.backend import _check_open_files
from meshmark.data_plane import DataPlane
from meshmark.errors import MissingRequirement
from meshmark.plan import ClientKind, Scenario, Workload


@pytest.mark.parametrize(
    ("workers", "client", "allowed", "refused"),
    [
        (20, "librdkafka", 1_024, False),
        (1_000, "raw", 6_500, False),
        (1_000, "raw", 6_499, True),
        (1_000, "librdkafka", 12_500, False),
        (1_000, "librdkafka", 12_499, True),
        (1_000, "librdkafka", resource.RLIM_INFINITY, False),
    ],
)
def test_as_many_files_as_its_connections_need(
    workers: int, client: ClientKind, allowed: int, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (allowed, allowed))
    scenario = Scenario(name="it", data_plane=DataPlane.PLAIN, workload=Workload(workers=workers, client=client))
    if not refused:
        _check_open_files(scenario)
        return
    with pytest.raises(MissingRequirement, match="1,000 producers with 3 brokers") as error:
        _check_open_files(scenario)
    assert "ulimit" in (error.value.hint or "")
