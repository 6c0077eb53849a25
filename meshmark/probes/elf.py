"""Functions of a program without symbols, and whether a function is crypto: from the bytes of its ELF file alone.

A stripped program still has the table by which exceptions find their handlers (`.eh_frame_hdr`: where each function
starts, and `.eh_frame`: how long it is). What a function is called stays unknown, but some instructions are there for
one purpose: rounds of AES (AES-NI, or the same as VEX or EVEX), rounds of SHA-1 and SHA-256, and the two carry chains
of long multiplication, by which elliptic curves and RSA are computed. A function that has several of them is crypto,
whatever it is called. 64-bit little-endian files with the table as GNU and LLVM linkers write it; in others no
function is found.

Sources: System V ABI for x86-64, chapter 4; Linux Standard Base 5.0, 10.6 (`.eh_frame`, `.eh_frame_hdr`); Intel's
manual, volume 2, sections 2.3 and 2.7 (VEX, EVEX), AESENC to AESDECLAST (0F 38 DC to DF), SHA1NEXTE to SHA256MSG2
(0F 38 C8 to CD), ADCX and ADOX (0F 38 F6).
"""

from __future__ import annotations

import mmap
import re
import struct
from bisect import bisect_right
from typing import NamedTuple

INSTRUCTIONS_MIN = 4
"""Fewer may be other bytes that look like them: a pattern of three bytes is not rare enough."""

_LOAD, _EH_FRAME = 1, 0x6474E550
_ENCODINGS = b"\x01\x1b\x03\x3b"
"""Version 1; where the entries are, as four bytes from here; how many, in four; pairs of four from the table on."""


def _class(bytes_: list[int]) -> bytes:
    return b"[" + b"".join(b"\\x%02x" % byte for byte in bytes_) + b"]"


_MAP_0F38_VEX = _class([byte for byte in range(256) if byte & 0x1F == 2])
_PREFIX_66_VEX = _class([byte for byte in range(256) if byte & 3 == 1])
_MAP_0F38_EVEX = _class([byte for byte in range(256) if byte & 0xF == 2])
_PREFIX_66_EVEX = _class([byte for byte in range(256) if byte & 7 == 5])
_CRYPTO = re.compile(
    rb"\x66[\x40-\x4f]?\x0f\x38[\xdc-\xdf]"
    rb"|(?:\xc4"
    + _MAP_0F38_VEX
    + _PREFIX_66_VEX
    # Of EVEX the last byte of the prefix may be anything.
    + rb"|\x62"
    + _MAP_0F38_EVEX
    + _PREFIX_66_EVEX
    + rb"[\x00-\xff])[\xdc-\xdf]"
    rb"|\x0f\x38[\xc8-\xcd]"
    rb"|[\x66\xf3][\x40-\x4f]?\x0f\x38\xf6",
    re.DOTALL,
)


class _Segment(NamedTuple):
    kind: int
    offset: int
    address: int
    size: int


class Program:
    """An ELF file, mapped or read; ValueError if it is none of the kind above."""

    def __init__(self, content: bytes | mmap.mmap) -> None:
        self._content = content
        if content[:6] != b"\x7fELF\x02\x01":
            raise ValueError("not an ELF file of 64 bits, little-endian")
        try:
            self._segments = self._read_segments()
            self._table, self._count = self._find_table()
        except struct.error as error:
            raise ValueError(f"the ELF file is cut: {error}") from None

    def function(self, offset: int) -> tuple[int, int] | None:
        """The function at an offset in the file, as offsets of its first byte and of the one after its last; None
        where the table has none."""
        segment = next((s for s in self._loaded() if s.offset <= offset < s.offset + s.size), None)
        if segment is None or not self._count:
            return None
        shift = segment.address - segment.offset
        at = bisect_right(range(self._count), offset + shift, key=self._start) - 1
        if at < 0:
            return None
        start, length = self._start(at), self._length(at)
        return (start - shift, start - shift + length) if offset + shift < start + length else None

    def is_crypto(self, function: tuple[int, int]) -> bool:
        """Whether there are such instructions between two offsets in the file."""
        return len(_CRYPTO.findall(self._content[slice(*function)])) >= INSTRUCTIONS_MIN

    def _read_segments(self) -> tuple[_Segment, ...]:
        [table] = struct.unpack_from("<Q", self._content, 32)
        size, count = struct.unpack_from("<HH", self._content, 54)
        found = []
        for at in range(table, table + size * count, size):
            kind, _, offset, address, _, length = struct.unpack_from("<IIQQQQ", self._content, at)
            found.append(_Segment(kind, offset, address, length))
        return tuple(found)

    def _loaded(self) -> list[_Segment]:
        return [segment for segment in self._segments if segment.kind == _LOAD]

    def _find_table(self) -> tuple[_Segment, int]:
        """The table of functions, and how many it has; none if it is not there or is written otherwise."""
        for segment in self._segments:
            if segment.kind == _EH_FRAME and self._content[segment.offset : segment.offset + 4] == _ENCODINGS:
                [count] = struct.unpack_from("<I", self._content, segment.offset + 8)
                return segment, count
        return _Segment(0, 0, 0, 0), 0

    def _start(self, number: int) -> int:
        """Address of a function."""
        [start] = struct.unpack_from("<i", self._content, self._table.offset + 12 + 8 * number)
        return int(self._table.address + start)

    def _length(self, number: int) -> int:
        """Bytes of a function, from its entry in `.eh_frame`: length, pointer, start, size, four bytes each."""
        [entry] = struct.unpack_from("<i", self._content, self._table.offset + 16 + 8 * number)
        address = self._table.address + entry
        segment = next((s for s in self._loaded() if s.address <= address < s.address + s.size), None)
        if segment is None:
            return 0
        [size] = struct.unpack_from("<I", self._content, address - segment.address + segment.offset + 12)
        return int(size)
