"""One window's figures, ledger and limits, by arithmetic; and what stays unknown when a counter is missing."""

from __future__ import annotations

import pytest

from meshmark.analysis.figures import figures, mean_figures
from meshmark.analysis.ledger import ledger, lines, mean_lines
from meshmark.analysis.limits import UNKNOWN, average, evidence, limiting, mostly
from meshmark.analysis.model import Evidence, Figures, LedgerLine
from meshmark.data_plane import DataPlane
from meshmark.plan import ClusterSpec, Scenario, Workload
from meshmark.record import BatchFill, Counters, LoadTotals, Trial
from tests import trials

CPUS = 4
SECONDS = 10.0
PAYLOAD = 2_000_000_000  # 2 GB in the window
BROKERS = ("broker-1", "broker-2", "broker-3")
OTHERS = {"cron": 0.01, "sshd": 0.05, "bash": 0.04, "backup": 0.1, "idle": 0.0}
USED = ("user", "system")


def scenario(data_plane: DataPlane = DataPlane.ISTIO, *, concurrency: int = 2, groups: int = 0) -> Scenario:
    return Scenario(
        name="mesh",
        data_plane=data_plane,
        cluster=ClusterSpec(sidecar_concurrency=concurrency),
        workload=Workload(subscriptions_per_topic=groups),
    )


def growth() -> Counters:
    """Of every counter over ten seconds: brokers 6 + 9 CPU seconds, sidecars 4, client 3, meshmark 0.5, kernel threads
    0.6, other processes 0.4, nobody's 0.5."""
    grown: Counters = {}
    for host in BROKERS:
        grown |= {f"{host}/kafka/cpu_user_s": 2.0, f"{host}/kafka/cpu_system_s": 3.0}
        grown |= {f"{host}/sidecar/cpu_user_s": 0.25, f"{host}/sidecar/cpu_system_s": 0.75}
        grown |= {f"{host}/kafka/log_bytes": 2.1e9, f"{host}/net/tx_bytes": 3e9}
        grown |= {f"{host}/net/tx_packets": 30_000, f"{host}/net/tcp_out_segments": 500_000}
        grown[f"{host}/net/tcp_wire_out_segments"] = 200_000
    grown |= {"client-1/sidecar/cpu_user_s": 0.5, "client-1/sidecar/cpu_system_s": 0.5}
    grown |= {"client-1/client/cpu_user_s": 2.0, "client-1/client/cpu_system_s": 1.0}
    grown |= {
        "client-1/net/tx_packets": 10_000,
        "client-1/net/tcp_out_segments": 500_000,
        "client-1/net/tcp_wire_out_segments": 100_000,
        "client-1/net/tx_bytes": 1e9,
    }
    grown |= {"machine/meshmark/cpu_user_s": 0.3, "client-1/meshmark/cpu_user_s": 0.1}
    grown |= {"machine/meshmark/cpu_system_s": 0.1, "client-1/meshmark/cpu_system_s": 0.0}
    grown |= {"machine/kernel/cpu_user_s": 0.0, "machine/kernel/cpu_system_s": 0.6}
    grown |= {"machine/others/cpu_user_s": 0.3, "machine/others/cpu_system_s": 0.1}
    grown |= {f"machine/others:{name}/cpu_{kind}_s": used for name, used in OTHERS.items() for kind in USED}
    grown |= {"machine/cpu/user_s": 9.9, "machine/cpu/system_s": 12.0, "machine/cpu/softirq_s": 2.0}
    grown |= {"machine/cpu/irq_s": 0.1, "machine/cpu/idle_s": 14.0, "machine/cpu/iowait_s": 1.0}
    grown |= {"machine/cpu/steal_s": 1.0, "machine/cpu/elapsed_s": SECONDS}
    grown |= {"machine/disk/write_bytes": 3e9, "machine/disk/busy_s": 5.0}
    return grown


def trial(grown: Counters, *, seconds: float = SECONDS) -> Trial:
    window = LoadTotals(offered=4_000_000, acknowledged=4_000_000, acknowledged_bytes=PAYLOAD, consumed=8_000_000)
    return trials.trial(
        offered_msg_s=400_000,
        window_end_s=5 + seconds,
        window=window,
        batch=BatchFill(records_per_batch=100, bytes_per_batch=51_200, requests=40_000, request_bytes=2_100_000_000),
        counters_start=dict.fromkeys(grown, 100.0),
        counters_end={key: value + 100.0 for key, value in grown.items()},
    )


def without(*parts: str) -> Counters:
    return {key: value for key, value in growth().items() if not any(part in key for part in parts)}


def test_rates_are_per_second_and_per_broker() -> None:
    found = figures(trial(growth()), scenario(), CPUS)
    assert found.measured_msg_s == 400_000
    assert found.payload_bytes_s == 200_000_000
    assert found.disk_bytes_s_per_broker == pytest.approx(210_000_000)
    assert found.device_bytes_s_per_broker == pytest.approx(100_000_000)
    assert found.consumed_msg_s is None
    assert figures(trial(growth()), scenario(groups=2), CPUS).consumed_msg_s == 800_000


def test_packets_are_those_of_all_hosts_per_mb_of_payload() -> None:
    found = figures(trial(growth()), scenario(), CPUS)
    assert found.packets_s == pytest.approx(10_000)
    assert found.packets_per_mb == pytest.approx(100_000 / 2_000)
    assert found.packet_bytes == pytest.approx(10e9 / 100_000)
    assert found.tcp_segments_per_mb == pytest.approx(2_000_000 / 2_000)
    assert found.wire_segments_per_mb == pytest.approx(700_000 / 2_000)


def test_the_ledger_is_per_gb_and_adds_up_to_the_machine() -> None:
    found = figures(trial(growth()), scenario(), CPUS)
    book = found.cpu_s_per_gb
    assert (book.brokers, book.sidecars, book.clients, book.meshmark) == pytest.approx((7.5, 2.0, 1.5, 0.25))
    assert book.machine == pytest.approx((SECONDS * CPUS - 14 - 1 - 1) / 2)
    assert (book.kernel, book.others) == pytest.approx((0.3, 0.2))
    assert book.unattributed == pytest.approx(12 - 7.5 - 2.0 - 1.5 - 0.25 - 0.3 - 0.2)
    assert found.unattributed_share == pytest.approx(0.5 / 24)
    assert found.machine_cpu_share == pytest.approx(24 / 40)
    assert found.steal_share == pytest.approx(1 / 40)


def test_compilers_of_brokers_are_apart_from_what_their_load_costs() -> None:
    compiled = {f"{host}/kafka/compilers_cpu_user_s": 1.0 for host in BROKERS}
    compiled |= {f"{host}/kafka/compilers_cpu_system_s": 0.2 for host in BROKERS}
    whole, apart = (figures(trial(grown), scenario(), CPUS) for grown in (growth(), growth() | compiled))
    assert whole.cpu_s_per_gb.compilers is None
    assert (apart.cpu_s_per_gb.brokers, apart.cpu_s_per_gb.compilers) == pytest.approx((7.5 - 1.8, 1.8))
    assert apart.cpu_system_s_per_gb.brokers == pytest.approx(4.5 - 0.3)
    assert apart.cpu_s_per_gb.unattributed == pytest.approx(whole.cpu_s_per_gb.unattributed)
    del compiled["broker-2/kafka/compilers_cpu_user_s"]
    holed = figures(trial(growth() | compiled), scenario(), CPUS).cpu_s_per_gb
    assert (holed.brokers, holed.compilers) == (whole.cpu_s_per_gb.brokers, None)


def test_user_and_kernel_time_are_split_and_softirq_is_an_of_which() -> None:
    found = figures(trial(growth()), scenario(), CPUS)
    assert found.cpu_user_s_per_gb.brokers == pytest.approx(3.0)
    assert found.cpu_system_s_per_gb.brokers == pytest.approx(4.5)
    assert found.cpu_user_s_per_gb.machine == pytest.approx(9.9 / 2)
    assert found.cpu_system_s_per_gb.machine == pytest.approx((12.0 + 2.0 + 0.1) / 2)
    assert found.softirq_s_per_gb == pytest.approx(1.0)


def test_counters_read_beside_the_marks_do_not_distort_costs() -> None:
    """The counters' span is 12 s of a load whose marks are 10 s apart."""
    wide = {key: value * 1.2 for key, value in growth().items()}
    narrow, found = (figures(trial(grown), scenario(), CPUS) for grown in (growth(), wide))
    assert found.cpu_s_per_gb.brokers == pytest.approx(narrow.cpu_s_per_gb.brokers)
    assert found.packets_per_mb == pytest.approx(narrow.packets_per_mb)
    assert found.machine_cpu_share == pytest.approx(narrow.machine_cpu_share)


@pytest.mark.parametrize(
    ("missing", "name"),
    [
        ("broker-2/kafka/cpu_user_s", "brokers"),
        ("broker-2/sidecar/cpu_system_s", "sidecars"),
        ("client-1/sidecar/", "sidecars"),
        ("client-1/client/cpu_user_s", "clients"),
        ("/meshmark/", "meshmark"),
        ("/kernel/", "kernel"),
        ("/others/", "others"),
    ],
)
def test_a_component_with_a_hole_is_unknown_and_unattributed(missing: str, name: str) -> None:
    whole = figures(trial(growth()), scenario(), CPUS).cpu_s_per_gb
    book = figures(trial(without(missing)), scenario(), CPUS).cpu_s_per_gb
    assert getattr(book, name) is None
    assert book.machine == whole.machine
    assert book.unattributed == pytest.approx(whole.unattributed + getattr(whole, name))


@pytest.mark.parametrize(
    ("missing", "figure"),
    [
        ("broker-3/kafka/log_bytes", "disk_bytes_s_per_broker"),
        ("machine/disk/write_bytes", "device_bytes_s_per_broker"),
        ("client-1/net/tx_packets", "packets_per_mb"),
        ("broker-1/net/tcp_out_segments", "tcp_segments_per_mb"),
        ("broker-1/net/tcp_wire_out_segments", "wire_segments_per_mb"),
        ("machine/cpu/idle_s", "unattributed_share"),
        ("machine/cpu/steal_s", "machine_cpu_share"),
        ("machine/cpu/softirq_s", "softirq_s_per_gb"),
    ],
)
def test_what_was_not_counted_is_unknown_and_never_zero(missing: str, figure: str) -> None:
    assert getattr(figures(trial(without(missing)), scenario(), CPUS), figure) is None


def test_a_data_plane_without_sidecars_has_no_sidecar_cost() -> None:
    book = ledger(trial(without("/sidecar/")), scenario(DataPlane.PLAIN), CPUS)
    assert book.sidecars is None
    assert book.unattributed_s == pytest.approx(0.5 + 4.0)


def test_every_component_of_every_host_has_a_line_and_the_largest_others_too() -> None:
    counted = trial(growth())
    found = {f"{line.host} {line.component}": line for line in lines(counted, ledger(counted, scenario(), CPUS))}
    assert (found["broker-2 kafka"].user_s_per_gb, found["broker-2 kafka"].system_s_per_gb) == pytest.approx((1, 1.5))
    assert found["machine kernel"].system_s_per_gb == pytest.approx(0.3)
    assert [name for name in found if ":" in name] == [f"machine others:{name}" for name in ("backup", "sshd", "bash")]
    whole = sum(line.user_s_per_gb + line.system_s_per_gb for name, line in found.items() if ":" not in name)
    assert whole == pytest.approx((24 - 0.5) / 2)


def test_a_name_that_appears_within_the_window_counts_from_nothing() -> None:
    counted = trial(growth())
    fresh = {key: value for key, value in counted.counters_start.items() if "others:backup" not in key}
    later = {**counted.counters_end, **{f"machine/others:backup/cpu_{kind}_s": 0.2 for kind in USED}}
    counted = counted.model_copy(update={"counters_start": fresh, "counters_end": later})
    found = {line.component: line for line in lines(counted, ledger(counted, scenario(), CPUS))}
    assert found["others:backup"].user_s_per_gb == pytest.approx(0.1)


def test_lines_are_averaged_over_the_repeats_that_have_them() -> None:
    one = LedgerLine(host="machine", component="kernel", user_s_per_gb=0, system_s_per_gb=1)
    two = one.model_copy(update={"system_s_per_gb": 3})
    only = LedgerLine(host="machine", component="others:cron", user_s_per_gb=5, system_s_per_gb=6)
    assert mean_lines([[one, only], [two]]) == (one.model_copy(update={"system_s_per_gb": 2}), only)


def test_a_window_that_acknowledged_nothing_has_no_cost_per_gb() -> None:
    empty = trial(growth()).model_copy(update={"window": LoadTotals()})
    found = figures(empty, scenario(), CPUS)
    assert (found.measured_msg_s, found.packets_per_mb, found.cpu_s_per_gb.brokers) == (0, None, None)


def test_a_mean_is_over_the_repeats_that_know() -> None:
    first, second = figures(trial(growth()), scenario(), CPUS), figures(trial(without("/net/")), scenario(), CPUS)
    found = mean_figures([first, second])
    assert found.packets_per_mb == first.packets_per_mb
    assert found.cpu_s_per_gb == first.cpu_s_per_gb
    assert mean_figures([]) == Figures()


@pytest.mark.parametrize(
    ("changes", "limited_by"),
    [
        pytest.param({}, (UNKNOWN,), id="nothing is near its limit"),
        pytest.param({"machine/cpu/idle_s": 1.0}, ("machine CPU",), id="CPU"),
        pytest.param({"machine/disk/busy_s": 9.9}, ("disk",), id="disk"),
        pytest.param({"machine/cpu/steal_s": 5.0}, ("steal",), id="neighbours"),
        pytest.param({"machine/psi/io_full_s": 4.0}, ("I/O stall",), id="writeback"),
        pytest.param({"machine/psi/memory_some_s": 2.0}, ("memory",), id="memory"),
        pytest.param({"machine/psi/cpu_some_s": 9.9, "machine/psi/io_some_s": 9.9}, (UNKNOWN,), id="waiting alone"),
        pytest.param({"broker-2/sidecar/cpu_user_s": 18.5}, ("broker-2/sidecar threads",), id="a sidecar's threads"),
        pytest.param({"machine/cpu/idle_s": 0.5, "machine/disk/busy_s": 9.5}, ("disk", "machine CPU"), id="two"),
    ],
)
def test_resources_at_their_limit_are_named(changes: Counters, limited_by: tuple[str, ...]) -> None:
    found = evidence(trial({**growth(), **changes}), scenario(), CPUS)
    assert limiting(found) == limited_by


def test_a_sidecar_with_as_many_threads_as_the_machine_is_not_bounded_by_them() -> None:
    grown = {**growth(), "broker-2/sidecar/cpu_user_s": 38.0}
    assert limiting(evidence(trial(grown), scenario(concurrency=CPUS), CPUS)) == (UNKNOWN,)


def test_evidence_of_repeats_is_averaged_and_only_what_most_name_limits() -> None:
    low, high = (Evidence(resource="disk", share=share, limit=0.9, text="busy") for share in (0.85, 0.99))
    (both,) = average([[low], [high], []])
    assert both.share == pytest.approx(0.92)
    assert mostly([("disk",), ("disk", "steal"), (UNKNOWN,)]) == ("disk",)
    assert mostly([("disk",), ("steal",)]) == (UNKNOWN,)
    assert mostly([]) == ()
