"""A connection of an open loop keeps its turn for a batch, or for `linger.ms`, while it has room."""

from __future__ import annotations

from collections.abc import Sequence

from meshmark.load.clients.turns import Turns

LINGER_NS = 5_000_000
TICK_NS = 2_000_000
PLENTY = 1_000


def dealt(counts: Sequence[int], *, batch: int = 100, linger_ns: int = LINGER_NS) -> list[int | None]:
    """Where so many records go, a tick apart, among three connections with room for all of them."""
    turns = Turns(3, batch=batch, linger_ns=linger_ns)
    return [turns.take(count, tick * TICK_NS, lambda _: PLENTY) for tick, count in enumerate(counts)]


def test_what_comes_due_within_linger_goes_to_one_connection() -> None:
    assert dealt([10] * 10) == [0, 0, 0, 1, 1, 1, 2, 2, 2, 0]


def test_a_full_batch_ends_a_turn() -> None:
    assert dealt([60, 60, 60, 60]) == [0, 0, 1, 1]


def test_without_linger_every_pass_goes_to_the_next() -> None:
    assert dealt([10] * 4, linger_ns=0) == [0, 1, 2, 0]


def test_a_connection_without_room_is_passed_over_even_in_its_turn() -> None:
    turns, room = Turns(3, batch=100, linger_ns=LINGER_NS), [50, 0, 50]
    assert turns.take(40, 0, room.__getitem__) == 0
    room[0] = 10
    assert turns.take(40, 1, room.__getitem__) == 2
    assert turns.take(60, 2, room.__getitem__) is None
    assert turns.take(40, 3, room.__getitem__) == 2
