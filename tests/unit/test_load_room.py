"""Whether a machine can hold a load's clients, and that topics are made in requests that a controller takes."""

from __future__ import annotations

import resource
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from meshmark.errors import MissingRequirement
from meshmark.load import room
from meshmark.load.alone import LoadRequest
from meshmark.load.topics import Administrator, new_topics


def kernel(directory: Path, *, threads: int = 100_000, identifiers: int = 100_000, mappings: int = 65_530) -> Path:
    values = {"kernel/threads-max": threads, "kernel/pid_max": identifiers, "vm/max_map_count": mappings}
    for name, value in values.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{value}\n")
    return directory


def request(**changes: Any) -> LoadRequest:
    return LoadRequest(**({"bootstrap_servers": "k:9092", "topics": ("t",), "duration_s": 1} | changes))


@pytest.mark.parametrize(
    ("asked", "machine"),
    [
        ({"workers": 10_000}, {"threads": 30_000}),
        ({"workers": 2_000, "groups": ("g",), "consumers": 2_000}, {"identifiers": 14_000}),
        ({"workers": 10_000}, {"mappings": 60_000}),
        ({"workers": 50_000, "client": "raw"}, {"threads": 100}),
    ],
)
def test_a_load_that_has_room_is_not_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any], machine: dict[str, int]
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    room.check(request(**asked), kernel(tmp_path, **machine))


@pytest.mark.parametrize(
    ("asked", "machine", "said"),
    [
        ({"workers": 10_000}, {"threads": 29_999}, "at least 30,000 of kernel.threads-max, which is 29,999"),
        (
            {"workers": 2_000, "groups": ("g",), "consumers": 2_000},
            {"identifiers": 13_999},
            "2,000 producers and 2,000 consumers need at least 14,000 of kernel.pid_max, which is 13,999",
        ),
        (
            {"workers": 10_000, "clients": 2},
            {"mappings": 59_999},
            "at least 60,000 of vm.max_map_count of one process, which is 59,999",
        ),
        (
            {"workers": 40_000},
            {},
            "threads-max, which is 100,000; 120,000 of kernel.pid_max, which is 100,000; 240,000 of vm.max_map_count",
        ),
    ],
)
def test_one_that_has_none_is_told_what_of_the_kernel_is_too_low(
    tmp_path: Path, asked: dict[str, Any], machine: dict[str, int], said: str
) -> None:
    with pytest.raises(MissingRequirement) as caught:
        room.check(request(**asked), kernel(tmp_path, **machine))
    assert said in caught.value.message


@pytest.mark.parametrize("client", ["raw", "librdkafka"])
def test_connections_are_no_more_than_files_that_a_process_may_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: str
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_024, 4_096))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    room.check(request(workers=4_096, client=client, clients=2), kernel(tmp_path))
    with pytest.raises(
        MissingRequirement, match=r"4,097 of open files of one process \(ulimit -Hn\), which is 4,096\n"
    ):
        room.check(request(workers=4_097, client=client), tmp_path)


def test_what_a_kernel_does_not_show_is_no_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    (kernel(tmp_path) / "vm/max_map_count").unlink()
    room.check(request(workers=33_000), tmp_path)
    (tmp_path / "kernel/pid_max").write_text("?", encoding="ascii")
    with pytest.raises(MissingRequirement, match=r"at least 120,000 of kernel\.threads-max, which is 100,000\n"):
        room.check(request(workers=40_000), tmp_path)


class Cluster:
    """Of an administrator: takes requests, and knows the topics at once."""

    def __init__(self) -> None:
        self.created: list[int] = []
        self.topics: dict[str, int] = {}

    def create_topics(self, wanted: list[Any], **_: Any) -> dict[str, Future[None]]:
        self.created.append(sum(topic.num_partitions for topic in wanted))
        self.topics |= {topic.topic: topic.num_partitions for topic in wanted}
        return {topic.topic: _done() for topic in wanted}

    def create_partitions(self, wanted: list[Any], **_: Any) -> dict[str, Future[None]]:
        self.created += [each.new_total_count - self.topics[each.topic] for each in wanted]
        self.topics |= {each.topic: each.new_total_count for each in wanted}
        return {each.topic: _done() for each in wanted}

    def delete_topics(self, names: list[str], **_: Any) -> dict[str, Future[None]]:
        return {name: _done() for name in names if self.topics.pop(name)}

    def list_topics(self, **_: Any) -> Any:
        leader = SimpleNamespace(leader=1)
        known = {
            name: SimpleNamespace(partitions=dict.fromkeys(range(count), leader))
            for name, count in self.topics.items()
        }
        return SimpleNamespace(topics=known)


def _done() -> Future[None]:
    future: Future[None] = Future()
    future.set_result(None)
    return future


@pytest.mark.parametrize(
    ("count", "partitions", "requests"),
    [
        (3, 4, [12]),
        (4, 2_000, [4_000, 4_000]),
        (2, 5_000, [5_000, 5_000]),
        (1, 10_000, [5_000, 5_000]),
        (2, 5_001, [5_000, 5_000, 1, 1]),
        (11_000, 1, [5_000, 5_000, 1_000]),
    ],
)
def test_topics_are_made_in_requests_that_a_controller_takes_and_are_all_removed(
    count: int, partitions: int, requests: list[int]
) -> None:
    administrator, cluster = Administrator("127.0.0.1:1", {}, print), Cluster()
    administrator.client = cluster  # type: ignore[assignment]
    asked = {"count": count, "partitions": partitions, "replication_factor": 1}
    with new_topics(administrator, **asked, config={}) as names:
        assert len(set(names)) == count
        assert set(cluster.topics.values()) == {partitions}
    assert cluster.created == requests
    assert cluster.topics == {}
