"""Samples of perf as text, and what kind of work each is."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from meshmark.backends.lab import perf as lab
from meshmark.errors import LabError
from meshmark.probes import perf
from meshmark.probes.elf import Program
from meshmark.probes.perf import CodeMap, Sample
from meshmark.record import CpuProfile

TEXT = """\
     x 0/0         0.000000000: PERF_RECORD_MMAP2 77/77: [0x5000(0x2000) @ 0x1000 fd:01 12 0]: r-xp /opt/proxy
         swapper     0/0        10.000000001:  ffffffff8225fe6b pv_native_safe_halt ([kernel.kallsyms])
 C2 CompilerThre    40/43       10.010000000:      7f06f0567a34 PhaseIdealLoop::build_loop_early (/jdk/lib/libjvm.so)
 data-plane-kafk    40/51       10.020000000:      7f06f0100010 [unknown] (/run/perf-40.map)
 data-plane-kafk    40/51       10.030000000:  ffffffff81baf6b0 _copy_to_iter ([kernel.kallsyms])
 data-plane-kafk    40/51       10.040000000:  ffffffff8207c24e tcp_ack ([kernel.kallsyms])
 data-plane-kafk    40/51       10.050000000:  ffffffff8136a000 handle_softirqs ([kernel.kallsyms])
           wrk:0    77/78       10.060000000:              5800 [unknown] (/opt/proxy)
           wrk:0    77/78       10.070000000:      7f1503370a8d __memmove_avx_unaligned_erms (/usr/lib/libc.so.6)
          python    90/90       10.080000000:      7f14f98b7b19 Clazz::f(int, char*) (/opt/lib (deleted))
         swapper     0/0        11.000000000:  ffffffff8225fe6b pv_native_safe_halt ([kernel.kallsyms])
"""
CODE = CodeMap("0x00007f06f0100000 0x40 StubRoutines (compilerstubs)\nno line\n7f06f0200000 20 int kafka.A.b(int)\n")
OWNERS = {40: "broker-1/kafka", 77: "broker-1/sidecar", 90: "client-1/client"}


def counted(
    monkeypatch: pytest.MonkeyPatch, text: str = TEXT, window: tuple[float, float] = (10.0, 10.1), hz: int = 100
) -> CpuProfile:
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    return lab.counted(text, window, lab.Components(OWNERS, {40: CODE}), trial=3, hz=hz)


def test_samples_of_a_window_are_counted_by_component_and_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    found = counted(monkeypatch)
    assert {(each.component, each.kind): each.samples for each in found.samples} == {
        ("broker-1/kafka", "jvm"): 1,
        ("broker-1/kafka", "crypto"): 1,
        ("broker-1/kafka", "copy"): 1,
        ("broker-1/kafka", "network"): 1,
        ("broker-1/kafka", "kernel"): 1,
        ("broker-1/sidecar", "copy"): 1,
        ("broker-1/sidecar", "unknown"): 1,
        ("client-1/client", "user"): 1,
    }
    assert (found.trial, found.hz, found.expected, found.idle) == (3, 100, 10, 1)


def test_what_has_no_name_is_told_by_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert counted(monkeypatch).unknown_in == {"proxy": 1}


def test_a_window_that_perf_did_not_see_whole_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LabError, match="9 samples of a window that should have 20"):
        counted(monkeypatch, hz=200)


def test_a_text_that_perf_does_not_write_is_refused() -> None:
    with pytest.raises(ValueError, match="not a sample"):
        perf.recorded("something else\n")


def test_comments_and_other_events_are_left_out() -> None:
    assert perf.recorded("# header\n\n x 1/1 1.0: PERF_RECORD_LOST lost 5\n").samples == []


def test_code_is_placed_in_the_file_that_was_mapped_last_at_its_address() -> None:
    mapped = "p 0/0 0.0: PERF_RECORD_MMAP2 7/7: [0x{}(0x100) @ {} fd:01 1 0]: r-xp {}"
    found = perf.recorded("\n".join([mapped.format("1000", "0", "/old"), mapped.format("1000", "0x40", "/new")]))
    assert found.place(Sample("t", 7, 0.0, 0x1010, "[unknown]", "x")) == ("/new", 0x50)
    assert found.place(Sample("t", 7, 0.0, 0x2010, "[unknown]", "x")) is None
    assert found.place(Sample("t", 8, 0.0, 0x1010, "[unknown]", "x")) is None


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        ("_copy_from_iter", "copy"),
        ("rep_movs_alternative", "copy"),
        ("skb_copy_datagram_iter", "copy"),
        ("copy_user_generic_unrolled", "copy"),
        ("tcp_sendmsg_locked", "network"),
        ("__alloc_skb", "network"),
        ("nf_nat_ipv4_local_in", "network"),
        ("veth_xmit", "network"),
        ("__dev_queue_xmit", "network"),
        ("gcmaes_crypt_by_sg", "crypto"),
        ("aesni_gcm_enc", "crypto"),
        ("handle_softirqs", "kernel"),
        ("__schedule", "kernel"),
        ("rt_mutex_slowlock", "kernel"),
        ("__local_bh_enable_ip", "kernel"),
        ("do_syscall_64", "kernel"),
        ("[unknown]", "kernel"),
    ],
)
def test_functions_of_the_kernel(function: str, kind: str) -> None:
    assert perf.kernel_kind(function) == kind


@pytest.mark.parametrize(
    ("function", "file", "kind"),
    [
        ("_aesni_ctr32_ghash_6x", "/x/librdkafka.so.1", "crypto"),
        ("EVP_EncryptUpdate", "/x/librdkafka.so.1", "crypto"),
        ("ssl3_write_bytes", "/x/librdkafka.so.1", "crypto"),
        ("[unknown]", "/usr/lib/libcrypto.so.3", "crypto"),
        ("__memmove_avx_unaligned_erms", "/usr/lib/libc.so.6", "copy"),
        ("memcpy@plt", "/usr/bin/x", "copy"),
        ("rd_kafka_recv", "/x/librdkafka.so.1", "user"),
        ("_PyEval_EvalFrameDefault", "/x/libpython3.so", "user"),
        ("random_thing", "/x/y", "user"),
        ("[unknown]", "/x/envoy", "unknown"),
    ],
)
def test_functions_outside_the_kernel(function: str, file: str, kind: str) -> None:
    assert perf.named_kind(function, file) == kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("StubRoutines (compilerstubs)", "crypto"),
        ("StubRoutines (compiler stubs)", "crypto"),
        ("StubRoutines (finalstubs)", "copy"),
        ("StubRoutines (initialstubs)", "user"),
        ("int com.sun.crypto.provider.GaloisCounterMode.implGCMCrypt(byte[], int)", "crypto"),
        ("void sun.security.ssl.SSLEngineImpl.writeRecord(java.nio.ByteBuffer[])", "crypto"),
        ("int org.apache.kafka.common.network.SslTransportLayer.write(java.nio.ByteBuffer)", "user"),
        ("Interpreter", "user"),
    ],
)
def test_code_of_a_jvm(name: str, kind: str) -> None:
    assert perf.java_kind(name) == kind


def test_threads_of_the_jvm_itself() -> None:
    assert all(map(perf.is_jvm_thread, ["C1 CompilerThre", "GC Thread#0", "G1 Conc#0", "VM Thread"]))
    assert not perf.is_jvm_thread("data-plane-kafk")


# A program of two functions, as small as one with a table of functions is: at 0x200 four AES rounds, at 0x300 none.
AESENC = b"\x66\x0f\x38\xdc\xc1"
VAESENC = b"\xc4\xe2\x75\xdc\xc1"


def program(first: bytes, encodings: bytes = b"\x01\x1b\x03\x3b") -> bytes:
    base = 0x10000  # addresses are offsets and this
    table = encodings + struct.pack("<iI", 0, 2)
    table += struct.pack("<4i", 0x200 - 0x100, 0x140 - 0x100, 0x300 - 0x100, 0x150 - 0x100)
    entry = struct.Struct("<IiiI")
    frames = entry.pack(12, 0, 0, len(first)) + entry.pack(12, 0, 0, 8)
    headers = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, 0x400, 0x400, 0)
    headers += struct.pack("<IIQQQQQQ", 0x6474E550, 4, 0x100, base + 0x100, base + 0x100, 0x1C, 0x1C, 0)
    identity = b"\x7fELF\x02\x01" + bytes(26) + struct.pack("<Q", 64) + bytes(14) + struct.pack("<HH", 56, 2)
    whole = bytearray(0x400)
    for offset, part in ((0, identity), (64, headers), (0x100, table), (0x140, frames), (0x200, first)):
        whole[offset : offset + len(part)] = part
    return bytes(whole)


@pytest.mark.parametrize(
    ("code", "crypto"),
    [
        (AESENC * 4, True),
        (VAESENC * 4, True),
        (b"\x62\xf2\x75\x48\xdc\xc1" * 4, True),
        (b"\x0f\x38\xcb\xc1" * 4, True),
        (b"\x66\x48\x0f\x38\xf6\xc1" * 2 + b"\xf3\x0f\x38\xf6\xc1" * 2, True),
        (AESENC * 3, False),
        (b"\x66\x0f\x38\x00\xc1" * 9, False),
    ],
    ids=["AES-NI", "VEX", "EVEX", "SHA", "long multiplication", "too few", "another instruction"],
)
def test_a_function_without_a_name_is_crypto_if_its_code_is(code: bytes, crypto: bool) -> None:
    found = Program(program(code))
    function = found.function(0x200 + len(code) - 1)
    assert function == (0x200, 0x200 + len(code))
    assert found.is_crypto(function) is crypto


def test_no_function_is_where_the_table_has_none() -> None:
    found = Program(program(AESENC * 4))
    assert [found.function(offset) for offset in (0x1FF, 0x200 + 20, 0x308, 0x5000)] == [None] * 4
    assert found.function(0x300) == (0x300, 0x308)


def test_a_table_of_another_kind_has_no_functions() -> None:
    assert Program(program(AESENC * 4, b"\x01\x1b\x03\x1b")).function(0x200) is None


@pytest.mark.parametrize("content", [b"#!/bin/sh\n", b"\x7fELF\x02\x01", program(b"")[:70]])
def test_what_is_no_program_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="ELF"):
        Program(content)


def test_what_copies_in_the_c_library_is_found() -> None:
    assert all(Path(file).is_absolute() and offset > 0 for file, offset in lab._copies())
    assert lab._copies()
