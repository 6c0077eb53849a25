"""The relay's process: between two TUN devices, given as open file descriptors.

    python -m meshmark.relay SPEC_JSON

    {"ends": [FD, FD], "directions": [{"delay_s": 0.012, ...}, {...}], "seed": "1/plain/1/a-b", "counters": PATH}

The first direction is that of what comes out of the first end. Once it carries it prints one line, with the priority
that it was given, and on standard error its seed; it ends with a signal. `counters` is a file of 64-bit numbers that
it keeps up to date: for each direction segments carried, lost, dropped, and bytes carried.

Real-time priority where that is allowed: how far away something is does not depend on how busy a host is. One wait for
both ends, packets handed on as they are; nothing else is fast enough in Python.
"""

from __future__ import annotations

import gc
import json
import mmap
import os
import random
import select
import struct
import sys
from contextlib import suppress
from pathlib import Path
from time import monotonic

from meshmark.relay.direction import Direction, DirectionSpec

PACKET_BYTES = 66_000
BATCH = 64
"""So many packets of one end are read before anything else is done."""
NICE = -10
COUNTERS = struct.Struct("=8Q")


def raise_priority() -> str:
    """Of this process; in words for the record."""
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        return "SCHED_RR 1"
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
        return f"nice {NICE}"
    return "normal"


def carry(ends: tuple[int, int], directions: tuple[Direction, Direction], counters: mmap.mmap) -> None:
    """For ever."""
    ways = tuple(zip(ends, reversed(ends), directions, strict=True))
    while True:
        waits = [direction.under_way[0][0] for direction in directions if direction.under_way]
        timeout = max(0.0, min(waits) - monotonic()) if waits else None
        ready, _, _ = select.select(ends, (), (), timeout)
        for source, _, direction in ways:
            if source in ready:
                take(source, direction)
        for _, target, direction in ways:
            deliver(target, direction)
        first, second = directions
        COUNTERS.pack_into(counters, 0, *first.counts(), *second.counts())


def take(source: int, direction: Direction) -> None:
    """What has come out of an end."""
    for _ in range(BATCH):
        try:
            packet = os.read(source, PACKET_BYTES)
        except BlockingIOError:
            return
        direction.accept(packet, monotonic())


def deliver(target: int, direction: Direction) -> None:
    """What has arrived. A packet that the kernel does not take (a device that is down) is gone, as on a real link."""
    under_way = direction.under_way
    now = monotonic()
    if under_way and under_way[0][0] <= now:
        direction.noted(now - under_way[0][0])
    while under_way and under_way[0][0] <= now:
        _, packet, segments, length = under_way.popleft()
        try:
            os.write(target, packet)
        except OSError:
            direction.refused(segments)
        else:
            direction.taken(segments, length)


def main() -> None:
    spec = json.loads(sys.argv[1])
    path = Path(spec["counters"])
    path.write_bytes(bytes(COUNTERS.size))
    print(f"seed {spec['seed']}", file=sys.stderr, flush=True)
    source = random.Random(spec["seed"])
    first, second = (Direction(DirectionSpec(**each), source) for each in spec["directions"])
    ends = (int(spec["ends"][0]), int(spec["ends"][1]))
    for end in ends:
        os.set_blocking(end, False)
    gc.disable()  # nothing here makes cycles
    with path.open("r+b") as file, mmap.mmap(file.fileno(), COUNTERS.size) as counters:
        print(json.dumps({"ready": True, "priority": raise_priority()}), flush=True)
        carry(ends, (first, second), counters)


if __name__ == "__main__":
    main()
