"""Shows what a data plane promises."""

from __future__ import annotations

from collections.abc import Sequence

from meshmark.backends.lab.link import Network
from meshmark.dataplane.identity import Authority
from meshmark.plan import DataPlane
from meshmark.record import Proof


def prove(data_plane: DataPlane, network: Network, authority: Authority | None) -> Sequence[Proof]:
    return ()
