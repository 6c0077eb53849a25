"""Text of `perf script` -> where the CPU was found, and what kind of work that is. Pure.

A sample is an instruction's address at a moment, with the thread that ran it. What kind of work it is follows from the
thread's name (compilers and collectors of a JVM), the function's name (kernel, libraries with symbols, methods and
stubs of a JVM by the map that `jcmd Compiler.perfmap` writes), the library's name, or, where the caller can tell, from
the code itself. What none of them tells is `unknown`. The rules are the tables below; docs/explanation/ledger.md says
what they miss.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from meshmark.record import WorkKind

OPTIONS = ("--ns", "--no-inline", "--show-mmap-events", "-F", "comm,pid,tid,time,ip,sym,dso")
"""What to ask `perf script` for."""
IDLE_PID = 0
UNNAMED = "[unknown]"

_LINE = re.compile(
    r"\s*(?P<thread>.*\S)\s+(?P<pid>-?\d+)/(?P<tid>-?\d+)\s+(?P<time>\d+\.\d+):\s+(?P<ip>[0-9a-f]+)\s+"
    r"(?P<function>.*?)(?:\+0x[0-9a-f]+)?\s+\((?P<file>[^()]*(?: \(deleted\))?)\)"
)
_MAPPED = re.compile(
    r".* PERF_RECORD_MMAP2? (?P<pid>-?\d+)/-?\d+: \[(?P<start>0x[0-9a-f]+)\((?P<size>0x[0-9a-f]+)\) @ "
    r"(?P<offset>0x[0-9a-f]+|0)[^]]*\]: \S+ (?P<path>.*)"
)
_KERNEL_FROM = 1 << 63
_JVM_THREADS = ("C1 Compiler", "C2 Compiler", "GC Thread", "G1 ", "VM Thread", "VM Periodic", "ZWorker", "ZDriver")

_CIPHER_KERNEL = re.compile(
    r"_*(aead|aes|aesni|chacha|crypto|gcm|gcmaes|ghash|poly1305|sha\d+|skcipher|vaes)(?=_|\d|$)"
)
_CIPHER = re.compile(
    r"_*(aes|aesni|bn|chacha|dtls1?|ec|ecp|ecdsa|evp|gcm|ghash|hkdf|hmac|md5|ossl|poly1305|rsa|sha|ssl|tls(?!_get_addr)|vaes"
    r"|x25519|AES|ASN1|BIO|BN|CRYPTO|EC|EVP|HMAC|OPENSSL|RAND|RSA|SHA|SSL|WPACKET|X509)(?=_|\d|$)"
)
"""By the names that OpenSSL and BoringSSL give their functions."""
_CIPHER_FILES = re.compile(r"lib(crypto|ssl|gcrypt|gnutls|nettle)[-.]")
_COPY_KERNEL = re.compile(
    r"_*(copy_(folio|from|mc|page|to|user)|copyin|copyout|csum_(and_copy|partial_copy)|memcpy|memmove|rep_movs|skb_copy)"
)
_COPY_USER = re.compile(r"_*(w?mem(p?cpy|move)|Copy)(?=_|$|@)")
_NETWORK = re.compile(
    r"_*(alloc_skb|arp|br|bridge|consume_skb|dev_(forward|gro|hard|queue|xmit)|dst|eth|fib|gro|gso|icmp|inet6?|ip6?|ipv[46]"
    r"|kfree_skb|kmalloc_reserve|lock_sock|loopback|napi|neigh|net|netdev|netif|nf|nft|pfifo|process_backlog|qdisc"
    r"|release_sock|sch_direct|simple_copy_to_iter|sk|skb|sock|sys_(recv|send)\w*|tcp|tun|udp|validate_xmit|veth)(?=_|\d|$)"
)
_JAVA_CIPHER = re.compile(
    r"\b(com\.sun\.crypto\.|sun\.security\.(ssl|provider|util|ec|rsa|x509|jca)\b|javax?\.(crypto|net\.ssl|security)\b)"
)
_JAVA_STUBS: tuple[tuple[re.Pattern[str], WorkKind], ...] = (
    (re.compile(r"StubRoutines \(compiler ?stubs"), "crypto"),
    (re.compile(r"StubRoutines \(final ?stubs"), "copy"),
)
"""Of HotSpot (JDK 21 and newer): AES, GCM, ChaCha20, hashes and big integers, beside Base64 and Adler-32; copying and
filling of arrays, beside comparing them. Read off `-XX:+PrintStubCode` of Java 25."""


class Sample(NamedTuple):
    """`function` is UNNAMED where perf knows no name; `file` is the program or library, `[kernel.kallsyms]`, or what
    stands for none."""

    thread: str
    pid: int
    time_s: float
    address: int
    function: str
    file: str

    @property
    def in_kernel(self) -> bool:
        return self.address >= _KERNEL_FROM

    @property
    def named(self) -> bool:
        return self.function != UNNAMED


class Mapping(NamedTuple):
    """A part of a file in the memory of a process."""

    start: int
    end: int
    offset: int
    path: str


class Recorded(NamedTuple):
    """What a text of perf holds; mappings by process."""

    samples: list[Sample]
    mappings: dict[int, list[Mapping]]

    def place(self, sample: Sample) -> tuple[str, int] | None:
        """File that its code is of, and the offset in it; None where no file was mapped there."""
        # The latest is the valid one: a process that starts another program maps anew.
        for each in reversed(self.mappings.get(sample.pid, ())):
            if each.start <= sample.address < each.end:
                return each.path, sample.address - each.start + each.offset
        return None


def recorded(text: str) -> Recorded:
    """ValueError for a line that is neither a sample nor another event; comments and empty lines are left out."""
    found = Recorded([], {})
    for line in text.splitlines():
        if match := _MAPPED.fullmatch(line):
            start = int(match["start"], 16)
            end, offset = start + int(match["size"], 16), int(match["offset"], 16)
            found.mappings.setdefault(int(match["pid"]), []).append(Mapping(start, end, offset, match["path"]))
        elif line.strip() and not line.startswith("#") and " PERF_RECORD_" not in line:
            found.samples.append(_sample(line))
    return found


def _sample(line: str) -> Sample:
    match = _LINE.fullmatch(line.rstrip())
    if match is None:
        raise ValueError(f"not a sample of perf script: {line!r}")
    return Sample(
        thread=match["thread"],
        pid=int(match["pid"]),
        time_s=float(match["time"]),
        address=int(match["ip"], 16),
        function=match["function"] or UNNAMED,
        file=match["file"],
    )


class CodeMap:
    """What a JVM had compiled, by address: lines of `START SIZE NAME`, hexadecimal, as perf's maps are. Others are
    left out."""

    def __init__(self, text: str) -> None:
        entries = []
        for line in text.splitlines():
            start, size, name = [*line.split(" ", 2), "", "", ""][:3]
            try:
                entries.append((int(start, 16), int(size, 16), name))
            except ValueError:
                continue
        self._entries: Sequence[tuple[int, int, str]] = sorted(entries)

    def name(self, address: int) -> str | None:
        at = bisect_right(self._entries, address, key=lambda entry: entry[0]) - 1
        if at < 0:
            return None
        start, size, name = self._entries[at]
        return name if address < start + size else None


def is_jvm_thread(thread: str) -> bool:
    """Of the JVM's own: compilers, garbage collectors, and what stops all others."""
    return thread.startswith(_JVM_THREADS)


def kernel_kind(function: str) -> WorkKind:
    if function == UNNAMED:
        return "kernel"
    if _COPY_KERNEL.match(function):
        return "copy"
    if _CIPHER_KERNEL.match(function):
        return "crypto"
    return "network" if _NETWORK.match(function) else "kernel"


def named_kind(function: str, file: str) -> WorkKind:
    """Of code outside the kernel with a name, or in a library whose name tells."""
    if _CIPHER_FILES.search(file.rsplit("/", 1)[-1]):
        return "crypto"
    if function == UNNAMED:
        return "unknown"
    if _COPY_USER.match(function):
        return "copy"
    return "crypto" if _CIPHER.match(function) else "user"


def java_kind(name: str) -> WorkKind:
    """Of a method or a stub as a JVM's map names it."""
    for stubs, kind in _JAVA_STUBS:
        if stubs.match(name):
            return kind
    return "crypto" if _JAVA_CIPHER.search(name) else "user"
