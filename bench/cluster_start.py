"""Seconds until three brokers serve: started plainly against started from the ahead-of-time archive.

From an empty machine to a client's view of all brokers, hosts and storage included, as every round of a run starts.
"""

from __future__ import annotations

import argparse
from contextlib import suppress

from bench.pairs import interleaved, ratios
from meshmark.backends.lab.backend import LabBackend, lab
from meshmark.clock import SystemClock
from meshmark.data_plane import DataPlane
from meshmark.plan import ClusterSpec, Plan, Scenario

# An option without effect: no archive was made for it, so brokers that have it start plainly.
NO_ARCHIVE = "-Dmeshmark.archive=none"


def scenario(data_plane: DataPlane, *, archive: bool) -> Scenario:
    cluster = ClusterSpec()
    if not archive:
        cluster = cluster.model_copy(update={"jvm_options": (*cluster.jvm_options, NO_ARCHIVE)})
    return Scenario(name=data_plane.value, data_plane=data_plane, cluster=cluster)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument(
        "--data-plane",
        type=DataPlane,
        default=DataPlane.PLAIN,
        choices=[plane for plane in DataPlane if "lab" in plane.backends],
    )
    given = parser.parse_args()

    with lab("bench") as backend:
        compare(backend, given.data_plane, given.pairs)


def compare(backend: LabBackend, data_plane: DataPlane, pairs: int) -> None:
    fast = scenario(data_plane, archive=True)
    plain = scenario(data_plane, archive=False)
    backend.prepare(Plan(name="cluster-start", scenarios=(fast,), baseline=fast.name))
    if not backend.facts().features["startup_archive"]:
        raise SystemExit("this Java could not make the archive")
    clock = SystemClock()

    def start_s(asked: Scenario) -> float:
        begun = clock.now()
        with backend.cluster(asked):
            return clock.now() - begun

    for asked in (plain, fast):
        start_s(asked)  # the files of both are in the page cache from here on
    done = []
    for pair in interleaved(lambda: start_s(plain), lambda: start_s(fast), pairs=pairs, seed=1):
        done.append(pair)
        print(f"seconds to serving: plainly {pair[0]:.2f}, from the archive {pair[1]:.2f}", flush=True)
    print(f"plainly / from the archive: {ratios(done)}")


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
