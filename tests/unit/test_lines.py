"""What processes write: lines, however they come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from meshmark.cluster import Lines


def read(pieces: Sequence[bytes]) -> Iterator[str]:
    lines = Lines()
    for piece in pieces:
        lines.add(piece)
        while (line := lines.next()) is not None:
            yield line


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_lines_are_whole_whatever_pieces_they_come_in(size: int) -> None:
    whole = "one\n\nzwölf Läufe\nfour\nnot ended".encode()
    pieces = [whole[first : first + size] for first in range(0, len(whole), size)]
    assert list(read(pieces)) == ["one", "", "zwölf Läufe", "four"]


class Piece(bytes):
    searched = 0

    def partition(self, sep: bytes) -> tuple[bytes, bytes, bytes]:  # type: ignore[override]
        self.searched += 1
        return super().partition(sep)


def test_a_long_line_is_not_searched_again_with_each_piece_of_it() -> None:
    pieces = [Piece(b"x" * 10) for _ in range(1_000)]
    assert list(read([*pieces, b"!\n"])) == ["x" * 10_000 + "!"]
    assert {piece.searched for piece in pieces} == {1}
