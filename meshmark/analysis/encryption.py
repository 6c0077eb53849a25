"""Which hops of a scenario are encrypted: as its data plane is made, and told only where it was shown. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from meshmark.store import RoundData


def proven_hops(rounds: Sequence[RoundData]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Encrypted ones and plain ones, of a scenario's rounds: the same in each that ended, and every proof of every
    round holds; what is to be encrypted takes one. Both empty: not known."""
    told = {(data.finished.encrypted_hops, data.finished.plain_hops) for data in rounds if data.finished}
    proofs = [proof for data in rounds for proof in data.proofs]
    if len(told) != 1 or not all(proof.holds for proof in proofs):
        return (), ()
    ((encrypted, plain),) = told
    return ((), ()) if encrypted and not proofs else (encrypted, plain)
