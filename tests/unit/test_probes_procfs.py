"""Texts of a real kernel (6.18) and texts that no kernel prints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from meshmark.metrics import METRICS
from meshmark.probes import procfs

TEXTS = Path(__file__).parent / "texts"


def text(name: str) -> str:
    return (TEXTS / f"{name}.txt").read_text(encoding="utf-8")


def test_niced_time_is_user_time_and_guest_time_is_not_counted_twice() -> None:
    cpu = procfs.machine_cpu("cpu 100 50 30 400 5 1 2 3 60 10\nctxt 7\n", 100)
    assert cpu["user_s"] == 1.5
    assert cpu["context_switches"] == 7
    told = procfs.machine_cpu("cpu 1\nintr 90 5 6\nprocesses 8\nprocs_running 2\nprocs_blocked 1\n", 100)
    assert (told["interrupts"], told["forks"], told["runnable_tasks"], told["blocked_tasks"]) == (90, 8, 2, 1)
    parts = ("user", "system", "idle", "iowait", "irq", "softirq", "steal")
    assert sum(cpu[f"{part}_s"] for part in parts) == pytest.approx(5.91)


def test_the_machines_line_is_the_sum_of_its_cpus() -> None:
    whole = procfs.machine_cpu(text("proc-stat"), 100)
    lines = text("proc-stat").splitlines()
    single = [procfs.machine_cpu(line.replace(f"cpu{n}", "cpu"), 100) for n, line in enumerate(lines[1:3])]
    for part in ("user_s", "system_s", "idle_s", "steal_s"):
        assert sum(cpu[part] for cpu in single) == pytest.approx(whole[part], abs=0.05)


def test_each_cpu_has_what_it_used_and_how_much_of_that_was_softirq() -> None:
    whole, each = procfs.machine_cpu(text("proc-stat"), 100), procfs.cores(text("proc-stat"), 100)
    assert each["0"] == {"used_s": pytest.approx(1242.11), "softirq_s": 18.1}
    assert list(each) == ["0", "1"]
    parts = ("user_s", "system_s", "irq_s", "softirq_s")
    assert sum(used["used_s"] for used in each.values()) == pytest.approx(sum(whole[part] for part in parts), abs=0.05)
    assert procfs.cores("cpu 1 2 3 4\ncpu3 1 2 4 9\n", 100) == {"3": {"used_s": 0.07, "softirq_s": 0}}


def test_what_an_old_kernel_does_not_print_is_absent() -> None:
    assert "steal_s" not in procfs.machine_cpu("cpu 1 2 3 4\n", 100)
    assert "context_switches" not in procfs.machine_cpu("cpu 1 2 3 4\n", 100)
    assert procfs.pressure("some avg10=0.00 avg60=0.00 avg300=0.00 total=2500000\n") == {"some": 2.5}


def test_a_process_name_may_hold_blanks_and_parentheses() -> None:
    stat = procfs.process_stat(text("proc-pid-stat"), 100, 4096)
    assert (stat.pid, stat.name, stat.state) == (1, "a (very) odd name", "S")
    assert (stat.user_s, stat.system_s) == (2.48, 13.96)
    assert (stat.threads, stat.start_ticks, stat.rss_bytes) == (13, 25, 4980 * 4096)
    assert (stat.parent, stat.kernel) == (0, False)
    assert (stat.children_user_s, stat.children_system_s) == (155.68, 37.73)


def test_a_kernel_thread_is_known_by_its_flags() -> None:
    line = "15 (ksoftirqd/0) S 2 0 0 0 -1 69238848 0 0 0 0 0 12 0 0 20 0 1 0 7 0 0 18446744073709551615 0 0 0 0 0 0 0"
    stat = procfs.process_stat(line, 100, 4096)
    assert (stat.kernel, stat.parent, stat.user_s, stat.system_s) == (True, 2, 0, 0.12)


def test_a_control_groups_times_are_seconds() -> None:
    text = "usage_usec 3500000\nuser_usec 1500000\nsystem_usec 2000000\nnice_usec 0\n"
    assert procfs.group_cpu(text) == {"cpu_user_s": 1.5, "cpu_system_s": 2.0}
    with pytest.raises(ValueError, match="cut"):
        procfs.group_cpu("usage_usec 3500000\n")


@pytest.mark.parametrize("name", [") S 9 9 9 (", "1 (x", "a\nb", "", "((((", "cpu 1 2 3"])
def test_a_process_may_choose_any_name(name: str) -> None:
    rest = text("proc-pid-stat").rpartition(")")[2]
    stat = procfs.process_stat(f"77 ({name}){rest}", 100, 4096)
    assert (stat.pid, stat.name, stat.user_s) == (77, name, 2.48)


def test_storage_bytes_of_a_process() -> None:
    assert procfs.process_io(text("proc-pid-io")) == {"read_bytes": 192512, "write_bytes": 4096}


def test_memory_is_given_in_bytes() -> None:
    assert procfs.memory(text("proc-meminfo")) == {
        "total_bytes": 24684084 * 1024,
        "unused_bytes": 20012356 * 1024,
        "buffers_bytes": 32660 * 1024,
        "available_bytes": 23053236 * 1024,
        "cached_bytes": 3047848 * 1024,
        "dirty_bytes": 920 * 1024,
        "writeback_bytes": 0,
    }
    swap = "AnonPages: 40 kB\nSlab: 30 kB\nSwapTotal: 20 kB\nSwapFree: 10 kB\n"
    assert procfs.memory(swap) == {
        "anonymous_bytes": 40_960,
        "slab_bytes": 30_720,
        "swap_total_bytes": 20_480,
        "swap_free_bytes": 10_240,
    }


def test_paging_is_counted_in_faults_and_pages() -> None:
    raw = "nr_free_pages 5\npgfault 700\npgmajfault 3\npswpin 1\npswpout 2\npgfree 9\n"
    assert procfs.paging(raw) == {
        "page_faults": 700,
        "major_page_faults": 3,
        "swapped_in_pages": 1,
        "swapped_out_pages": 2,
    }


def test_load_averages_are_those_of_1_5_and_15_minutes() -> None:
    told = procfs.load_average("0.94 1.50 2.11 3/712 9901\n")
    assert told == {"load_1m": 0.94, "load_5m": 1.5, "load_15m": 2.11}


def test_tcp_sockets_are_found_by_their_names() -> None:
    raw = "sockets: used 90\nTCP: inuse 41 orphan 0 tw 7 alloc 60 mem 12\nUDP: inuse 1 mem 0\n"
    assert procfs.tcp_sockets(raw) == {"tcp_sockets": 41, "tcp_time_wait_sockets": 7}
    assert procfs.tcp_sockets("TCP6: inuse 40\nUDP6: inuse 0\n") == {"tcp_sockets": 40}


def test_a_device_is_found_by_its_numbers() -> None:
    assert procfs.device(text("proc-diskstats"), 254, 0) == {
        "read_ops": 234443,
        "read_bytes": 12331818 * 512,
        "write_ops": 385534,
        "write_bytes": 67063472 * 512,
        "busy_s": 78.38,
        "read_wait_s": 172.172,
        "write_wait_s": 428.979,
        "operations": 0,
    }
    assert procfs.device(text("proc-diskstats"), 254, 1) == {}


def test_pressure_totals_are_seconds() -> None:
    assert procfs.pressure(text("proc-pressure-io")) == {"some": 48.714508, "full": 13.594941}


def test_each_interface_has_its_own_counters() -> None:
    found = procfs.interfaces(text("proc-net-dev"))
    assert list(found) == ["lo", "ifb0", "ifb1", "eth0"]
    assert found["eth0"] == {
        "rx_bytes": 2411081208,
        "rx_packets": 72195,
        "rx_errors": 0,
        "rx_drops": 0,
        "tx_bytes": 5318208,
        "tx_packets": 48844,
        "tx_errors": 0,
        "tx_drops": 0,
    }


def test_tcp_segments_are_found_by_the_names_in_the_heading() -> None:
    assert procfs.tcp(text("proc-net-snmp")) == {
        "tcp_in_segments": 773803,
        "tcp_out_segments": 745617,
        "tcp_retransmits": 4922,
        "tcp_in_errors": 0,
        "tcp_out_resets": 2422,
        "tcp_reset_connections": 9,
        "tcp_established": 4,
    }
    assert procfs.tcp("Tcp: OutSegs MaxConn\nTcp: 5 -1\n") == {"tcp_out_segments": 5}


def test_mount_points_may_hold_blanks_and_optional_fields() -> None:
    line = r"36 35 98:0 /mnt1 /my\040disk\134x rw,noatime master:1 shared:2 - ext3 /dev/ro\011ot rw"
    assert procfs.mounts(line) == [procfs.Mount(98, 0, "/mnt1", "/my disk\\x", "ext3", "/dev/ro\tot")]
    assert [mount.file_system for mount in procfs.mounts(text("proc-mountinfo"))] == [
        "sysfs",
        "tmpfs",
        "ext4",
        "tmpfs",
    ]


Parser = Callable[[str], object]
PARSERS: dict[str, Parser] = {
    "proc-stat": lambda raw: procfs.machine_cpu(raw, 100),
    "proc-stat cores": lambda raw: procfs.cores(raw, 100),
    "proc-pid-stat": lambda raw: procfs.process_stat(raw, 100, 4096),
    "proc-diskstats": lambda raw: procfs.device(raw, 254, 0),
    "proc-net-snmp": procfs.tcp,
    "proc-net-dev": procfs.interfaces,
    "proc-mountinfo": procfs.mounts,
    "proc-meminfo": procfs.memory,
    "proc-pid-io": procfs.process_io,
    "proc-pressure-io": procfs.pressure,
    "proc-vmstat": procfs.paging,
    "proc-loadavg": procfs.load_average,
    "proc-net-sockstat": procfs.tcp_sockets,
}


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("proc-stat", ""),
        ("proc-stat", "intr 5 6\n"),
        ("proc-stat", "cpu 1 2 three 4\n"),
        ("proc-stat cores", "cpu0 1 2 three 4\n"),
        ("proc-pid-stat", ""),
        ("proc-pid-stat", "12 (java"),
        ("proc-pid-stat", "12 (java) S 1 2 3"),
        ("proc-diskstats", " 254 0 vda 1 2 3\n"),
        ("proc-diskstats", " 254 0 vda 1 2 3 4 5 6 x 8 9 10 11\n"),
        ("proc-net-snmp", "Tcp: OutSegs\n"),
        ("proc-net-snmp", "Tcp: OutSegs InSegs\nTcp: 1\n"),
        ("proc-net-dev", "eth0: 1 2 3\n"),
        ("proc-mountinfo", "36 35 98:0 /mnt1 /mnt2 rw\n"),
        ("proc-meminfo", "Dirty: much kB\n"),
        ("proc-pid-io", "read_bytes: -\n"),
        ("proc-pressure-io", "some avg10=0.00 total=\n"),
        ("proc-vmstat", "pgfault many\n"),
        ("proc-loadavg", ""),
        ("proc-loadavg", "high\n"),
        ("proc-net-sockstat", "UDP: inuse 1 mem 0\n"),
    ],
)
def test_what_no_kernel_prints_is_refused(name: str, raw: str) -> None:
    with pytest.raises(ValueError, match=r"/proc|mountinfo"):
        PARSERS[name](raw)


@pytest.mark.parametrize("name", PARSERS)
def test_a_text_cut_anywhere_gives_values_or_is_refused(name: str) -> None:
    """No other exception: a file that changes while it is read must not end a run."""
    whole = text(name.partition(" ")[0])
    for end in range(0, len(whole), 7):
        try:
            PARSERS[name](whole[:end])
        except ValueError:
            continue


def test_every_value_has_the_name_of_a_metric() -> None:
    names = {
        *procfs.machine_cpu(text("proc-stat"), 100),
        *procfs.process_io(text("proc-pid-io")),
        *procfs.memory(text("proc-meminfo")),
        *procfs.device(text("proc-diskstats"), 254, 0),
        *procfs.interfaces(text("proc-net-dev"))["eth0"],
        *procfs.tcp(text("proc-net-snmp")),
        *procfs.paging(text("proc-vmstat")),
        *procfs.load_average(text("proc-loadavg")),
        *procfs.tcp_sockets(text("proc-net-sockstat")),
        *procfs.cores(text("proc-stat"), 100)["0"],
    }
    assert names <= METRICS.keys()
