"""Probes of the simulated system's hosts: what disks and links carry under its limits, and who spins inside a quota.

A limit holds exactly, times `enforced`; a link's frames have the headers that real ones have. Flows share a host's
link evenly.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from meshmark.clock import Clock
from meshmark.record import Counters, Limit

SECONDS = 2.0
PAYLOAD_SHARE = 1_448 / 1_514
READY = json.dumps({"ready": True})


class Bench:
    """The limits and the probes of one cluster."""

    def __init__(self, clock: Clock, enforced: float) -> None:
        self.limits: list[Limit] = []
        self.clock = clock
        self.enforced = enforced
        self.pairs: list[tuple[str, str]] = []
        """Source and target of every sender that is there."""
        self._threads: dict[tuple[str, str], int] = {}
        self._spun_s: dict[tuple[str, str], float] = {}
        self._since_s: dict[tuple[str, str], float] = {}

    def rate(self, host: str, resource: str, there_is: float) -> float:
        given = [each.amount for each in self.limits if (each.host, each.resource) == (host, resource)]
        return min([there_is, *(amount * self.enforced for amount in given)])

    def link(self, target: str, there_is: float) -> float:
        """Payload bytes a second into a host."""
        into = [source for source, to in self.pairs if to == target]
        limited = any(each.resource == "network" for each in self.limits)
        if not into or not limited:
            return there_is
        out = (self.rate(source, "network", there_is) / self._targets(source) for source in into)
        return min(self.rate(target, "network", there_is), sum(out)) * PAYLOAD_SHARE

    def _targets(self, source: str) -> int:
        return sum(each == source for each, _ in self.pairs)

    def spin(self, host: str, component: str, threads: int) -> None:
        """Begins, or ends."""
        self._threads[host, component] = threads
        began_s = self._since_s.pop((host, component), None)
        if began_s is None:
            self._since_s[host, component] = self.clock.now()
        else:
            self._spun_s[host, component] = self._total_s(host, component, began_s)

    def _total_s(self, host: str, component: str, began_s: float) -> float:
        return self._spun_s.get((host, component), 0.0) + self.clock.now() - began_s

    def used(self) -> Counters:
        """CPU seconds of those that spin, by `HOST/COMPONENT/cpu_user_s`."""
        now = {who: self._total_s(*who, began_s) for who, began_s in self._since_s.items()}
        found: Counters = {}
        for (host, component), seconds in {**self._spun_s, **now}.items():
            given = [
                each.amount
                for each in self.limits
                if (each.host, each.component, each.resource) == (host, component, "cpu")
            ]
            found[f"{host}/{component}/cpu_user_s"] = (
                seconds * self.enforced * min([self._threads[host, component], *given])
            )
        return found


class Probing:
    """A probe's process. Implements `meshmark.cluster.Process`."""

    def __init__(
        self, name: str, host: str, component: str, argv: Sequence[str], bench: Bench, there_is: float
    ) -> None:
        self.name = name
        self.host = host
        self._there_is = there_is
        self._component = component
        self._argv = argv
        self._bench = bench
        self._said = 0

    def send_line(self, line: str) -> None:
        self._bench.spin(self.host, self._component, int(self._argv[self._argv.index("--threads") + 1]))

    def read_line(self, timeout_s: float) -> str | None:
        self._said += 1
        if "meshmark.load.probe_disk" in self._argv:
            return _answer(self._bench.rate(self.host, self._written, self._there_is))
        return READY if self._said == 1 else _answer(self._bench.link(self.host, self._there_is))

    def signal(self, number: int) -> None:
        pass

    def wait(self, timeout_s: float) -> int:
        return 0

    def __enter__(self) -> Probing:
        if "send" in self._argv:
            self._bench.pairs.append((self.host, self._target))
        return self

    def __exit__(self, *error: object) -> None:
        if "send" in self._argv:
            self._bench.pairs.remove((self.host, self._target))

    @property
    def _written(self) -> str:
        return "operations" if "direct" in self._argv else "disk"

    @property
    def _target(self) -> str:
        return self._argv[self._argv.index("--to") + 1].rpartition(":")[0]


def _answer(rate: float) -> str:
    return json.dumps({"bytes": rate * SECONDS, "writes": rate * SECONDS, "seconds": SECONDS})
