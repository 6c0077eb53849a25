"""Which hops of a scenario are encrypted: as its data plane is made, and told only where it was shown. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from meshmark.data_plane import CLIENT_BROKER
from meshmark.store import RoundData


class Hops(NamedTuple):
    """Encrypted ones, and plain ones; and of the first who encrypts them, where the record tells."""

    encrypted: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()
    by: tuple[tuple[str, str], ...] = ()


def proven_hops(rounds: Sequence[RoundData]) -> Hops:
    """Of a scenario's rounds: the same in each that ended, and every proof of every round holds; what is to be
    encrypted takes one, in each, at the port that clients reach, or where that is plain at each hop's own. All empty:
    not known."""
    ended = [(data, data.finished) for data in rounds if data.finished]
    hops = {(each.encrypted_hops, each.plain_hops) for _, each in ended}
    by = {tuple(each.encrypted_by.items()) for _, each in ended if each.encrypted_by}
    if len(hops) != 1 or len(by) > 1 or not all(proof.holds for data in rounds for proof in data.proofs):
        return Hops()
    ((encrypted, plain),) = hops
    asked = {""} if CLIENT_BROKER in encrypted else set(encrypted)
    if not all(asked <= {proof.hop for proof in data.proofs} for data, _ in ended):
        return Hops()
    return Hops(encrypted, plain, *by)
