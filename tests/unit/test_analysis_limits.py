"""What limited, as a table: counters of one window, and the resource and host to be named."""

from __future__ import annotations

import pytest

from meshmark.analysis.limits import UNKNOWN, evidence, limiting
from meshmark.data_plane import DataPlane
from meshmark.plan import ClusterSpec, Scenario
from meshmark.record import BatchFill, Counters, LoadTotals, Trial
from tests import trials

CPUS = 2
SECONDS = 4.0
SCENARIO = Scenario(name="plain", data_plane=DataPlane.PLAIN)
BROKERS = ("broker-1", "broker-2", "broker-3")
TOTALS = LoadTotals(offered=400_000, acknowledged=400_000, acknowledged_bytes=200_000_000)
LINK_BYTES_S, DISK_BYTES_S = 100e6, 50e6
GAUGES = {f"{host}/net/link_bytes_s": LINK_BYTES_S for host in BROKERS} | {
    f"{host}/volume/{limit}": most
    for host in BROKERS
    for limit, most in (("limit_bytes_s", DISK_BYTES_S), ("limit_ops_s", 1_000.0))
}
QUEUES = {f"{host}/kafka/request_queue_size": 50.0 for host in BROKERS}

OTHER_WORK = {"machine/others/cpu_user_s": 2.0, "machine/others/cpu_system_s": 0.5}


def growth() -> Counters:
    """Half of the machine is busy, and so is everything else that each broker has."""
    grown = {"machine/cpu/idle_s": 4.0, "machine/cpu/iowait_s": 0.0, "machine/cpu/steal_s": 0.0}
    grown |= {"machine/cpu/elapsed_s": SECONDS}
    for host in BROKERS:
        grown |= {f"{host}/kafka/request_handler_idle_s": 2.0, f"{host}/kafka/network_thread_idle_s": 6.0}
        grown |= {f"{host}/kafka/cpu_periods": 40.0, f"{host}/kafka/cpu_throttled_periods": 4.0}
        grown |= {f"{host}/kafka/cpu_stalled_s": 1.0, f"{host}/kafka/io_stalled_s": 0.1}
        grown |= {f"{host}/net/rx_bytes": 200e6, f"{host}/net/tx_bytes": 100e6, f"{host}/volume/write_bytes": 100e6}
        grown |= {f"{host}/kafka/log_bytes": 100e6, f"{host}/volume/write_ops": 2_000.0}
    return grown


def trial(changes: Counters) -> Trial:
    end = {**growth(), **changes}
    return trials.trial(
        window_end_s=5 + SECONDS,
        window=TOTALS,
        batch=BatchFill(records_per_batch=100, bytes_per_batch=51_200, requests=4_000, request_bytes=210_000_000),
        counters_start={**dict.fromkeys(end, 0.0), **GAUGES, **QUEUES},
        counters_end={**end, **GAUGES, **QUEUES},
    )


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        pytest.param({}, (UNKNOWN,), id="half of everything"),
        pytest.param({"machine/cpu/idle_s": 0.2}, ("machine CPU",), id="the machine, clients included"),
        pytest.param({"broker-2/kafka/cpu_throttled_periods": 39.0}, ("broker-2/kafka CPU quota",), id="a quota"),
        pytest.param({"broker-3/net/rx_bytes": 380e6}, ("broker-3 network",), id="a link, inwards"),
        pytest.param({"broker-1/net/tx_bytes": 380e6}, ("broker-1 network",), id="a link, outwards"),
        pytest.param(
            {"broker-2/volume/write_bytes": 196e6, "broker-2/kafka/log_bytes": 192e6}, ("broker-2 disk",), id="a disk"
        ),
        pytest.param(
            {"broker-2/volume/write_ops": 3_900.0},
            ("broker-2 operations of the disk",),
            id="a disk, by its operations",
        ),
        pytest.param(
            {"broker-1/kafka/request_handler_idle_s": 0.1}, ("broker-1 request handlers",), id="request handlers"
        ),
        pytest.param(
            {"broker-1/kafka/network_thread_idle_s": 0.3}, ("broker-1 network threads",), id="network threads"
        ),
        pytest.param(
            {
                "broker-1/kafka/request_handler_idle_s": 0.1,
                "broker-1/volume/write_bytes": 199e6,
                "broker-1/kafka/log_bytes": 199e6,
            },
            ("broker-1 disk",),
            id="handlers that wait for their disk",
        ),
        pytest.param(
            {"broker-1/kafka/request_handler_idle_s": 0.1, "broker-1/kafka/cpu_stalled_s": 3.0},
            (UNKNOWN,),
            id="handlers that wait for a CPU",
        ),
        pytest.param(
            {"broker-1/kafka/request_handler_idle_s": 0.1, "broker-1/kafka/io_stalled_s": 3.0},
            (UNKNOWN,),
            id="handlers that wait for I/O which nobody bounds",
        ),
        pytest.param(
            {"machine/cpu/idle_s": 0.2, "broker-2/kafka/cpu_throttled_periods": 38.0},
            ("machine CPU", "broker-2/kafka CPU quota"),
            id="a quota, and a machine busy with the system itself",
        ),
        pytest.param(
            {"machine/cpu/idle_s": 0.2, "broker-2/kafka/cpu_throttled_periods": 39.0, **OTHER_WORK},
            ("broker-2/kafka CPU quota",),
            id="a quota, and a machine busy with other work",
        ),
        pytest.param(
            {"machine/cpu/idle_s": 0.2, **OTHER_WORK}, ("machine CPU",), id="a machine busy with other work alone"
        ),
        pytest.param({"broker-1/kafka/cpu_stalled_s": 4.0}, (UNKNOWN,), id="waiting alone"),
    ],
)
def test_what_is_used_up_is_named_with_its_host(changes: Counters, named: tuple[str, ...]) -> None:
    assert limiting(evidence(trial(changes), SCENARIO, CPUS)) == named


def test_each_piece_of_evidence_says_whose_it_is_and_how_much() -> None:
    found = {item.resource: item for item in evidence(trial({}), SCENARIO, CPUS)}
    shares = {
        "machine CPU": 0.5,
        "broker-1 request handlers": 0.5,
        "broker-1 network threads": 0.5,
        "broker-1 request queue": 0.1,
        "broker-1/kafka CPU quota": 0.1,
        "broker-1/kafka CPU wait": 0.25,
        "broker-1 network": 0.5,
        "broker-1 disk": 0.5,
    }
    assert {name: found[name].share for name in shares} == pytest.approx(shares)
    assert found["machine CPU"].host == "machine"
    assert {item.host for name, item in found.items() if name.startswith("broker-2")} == {"broker-2"}


def test_brokers_with_more_threads_are_judged_by_theirs() -> None:
    more = SCENARIO.model_copy(update={"cluster": ClusterSpec(broker_config={"num.network.threads": 6})})
    found = {item.resource: item.share for item in evidence(trial({}), more, CPUS)}
    assert found["broker-1 network threads"] == pytest.approx(0.75)


def test_what_was_not_read_is_no_evidence() -> None:
    silent = trial({}).model_copy(update={"counters_start": {}, "counters_end": {}})
    assert evidence(silent, SCENARIO, CPUS) == ()
    assert limiting(()) == (UNKNOWN,)


@pytest.mark.parametrize(
    ("logged", "named"),
    [(192e6, ("broker-2 disk",)), (240e6, (UNKNOWN,)), (150e6, (UNKNOWN,))],
    ids=["flat", "memory fills", "the device catches up"],
)
def test_a_limited_disk_counts_only_while_dirty_bytes_stand_still(logged: float, named: tuple[str, ...]) -> None:
    changes = {"broker-2/volume/write_bytes": 196e6, "broker-2/kafka/log_bytes": logged}
    assert limiting(evidence(trial(changes), SCENARIO, CPUS)) == named


@pytest.mark.parametrize(
    ("logged", "named"),
    [(105e6, ("broker-2 operations of the disk",)), (115e6, (UNKNOWN,)), (85e6, (UNKNOWN,))],
    ids=["flat", "memory fills", "the device catches up"],
)
def test_operations_count_only_while_dirty_bytes_stand_still(logged: float, named: tuple[str, ...]) -> None:
    """Half of the bytes that the disk may take: what waits in memory is a part of what was written."""
    changes = {"broker-2/volume/write_ops": 3_900.0, "broker-2/kafka/log_bytes": logged}
    assert limiting(evidence(trial(changes), SCENARIO, CPUS)) == named


@pytest.mark.parametrize("metric", ["write_bytes", "write_ops"])
def test_a_disk_whose_log_was_not_read_is_not_named(metric: str) -> None:
    full = trial({f"broker-2/volume/{metric}": {"write_bytes": 196e6, "write_ops": 3_900.0}[metric]})
    unread = {key: value for key, value in full.counters_end.items() if key != "broker-2/kafka/log_bytes"}
    assert limiting(evidence(full.model_copy(update={"counters_end": unread}), SCENARIO, CPUS)) == (UNKNOWN,)


@pytest.mark.parametrize(
    ("dirty", "named"),
    [(0.0, ("broker-2 disk",)), (-50e6, (UNKNOWN,))],
    ids=["the file system's own", "the device catches up"],
)
def test_what_a_device_takes_on_top_of_the_log_is_no_dirt_unless_memory_held_it(
    dirty: float, named: tuple[str, ...]
) -> None:
    changes = {"broker-2/volume/write_bytes": 196e6, "broker-2/kafka/log_bytes": 150e6}
    memory = {"machine/memory/dirty_bytes": 0.0, "machine/memory/writeback_bytes": 0.0}
    seen = trial(changes)
    seen = seen.model_copy(
        update={
            "counters_start": seen.counters_start | memory,
            "counters_end": seen.counters_end | memory | {"machine/memory/dirty_bytes": dirty},
        }
    )
    assert limiting(evidence(seen, SCENARIO, CPUS)) == named


def test_a_disk_without_a_limit_is_judged_by_its_busy_time() -> None:
    busy = trial({"broker-1/volume/busy_s": 3.9})
    unlimited = {key: value for key, value in busy.counters_end.items() if not key.endswith("limit_bytes_s")}
    assert limiting(evidence(busy.model_copy(update={"counters_end": unlimited}), SCENARIO, CPUS)) == (
        "broker-1 disk",
    )


def test_with_cpus_of_their_own_cluster_and_load_workers_are_told_apart() -> None:
    apart = SCENARIO.model_copy(update={"cluster": ClusterSpec(client_cpus=1)})
    used = {f"{host}/kafka/cpu_user_s": 1.2 for host in BROKERS} | {
        f"{host}/kafka/cpu_system_s": 0.1 for host in BROKERS
    }
    used |= {"client-1/client/cpu_user_s": 0.9, "client-1/client/cpu_system_s": 0.1}
    shares = {item.resource: item.share for item in evidence(trial(used), apart, CPUS)}
    assert (shares["cluster CPU"], shares["load generator"]) == pytest.approx((3.9 / 4, 1 / 4))
    assert limiting(evidence(trial(used), apart, CPUS)) == ("cluster CPU",)
    busy_client = used | {"client-1/client/cpu_user_s": 3.8, "broker-1/kafka/cpu_user_s": 0.2}
    assert limiting(evidence(trial(busy_client), apart, CPUS)) == ("load generator",)
    assert not {"cluster CPU", "load generator"} & {item.resource for item in evidence(trial(used), SCENARIO, CPUS)}
