"""Which hops of a scenario are encrypted: as its data plane is made, and told only where it was shown. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from meshmark.store import RoundData


class Hops(NamedTuple):
    """Encrypted ones, and plain ones; and of the first who encrypts them, where the record tells."""

    encrypted: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()
    by: tuple[tuple[str, str], ...] = ()


def proven_hops(rounds: Sequence[RoundData]) -> Hops:
    """Of a scenario's rounds: the same in each that ended, and every proof of every round holds; what is to be
    encrypted takes one. All empty: not known."""
    told = {
        Hops(each.encrypted_hops, each.plain_hops, tuple(each.encrypted_by.items()))
        for each in (data.finished for data in rounds)
        if each
    }
    proofs = [proof for data in rounds for proof in data.proofs]
    if len(told) != 1 or not all(proof.holds for proof in proofs):
        return Hops()
    (found,) = told
    return Hops() if found.encrypted and not proofs else found
