"""Run as root: freezes some threads of brokers most of the time, for moments of random length, until its
standard input ends, so at the latest when whoever started it dies.

python freezing.py handlers|network PID...

Threads are known by what they wait for, since the kernel's names of both kinds are cut to the same: network threads
for sockets, request handlers for a lock and never for sockets. Each is looked at often, since at any moment some of
them run. A line says how many were found.
"""

import itertools
import os
import random
import select
import sys
import time
from pathlib import Path

NAME = "data-plane-kafk"
LOOKS, POLL_S = 40, 0.02
FREEZER = Path("/sys/fs/cgroup/freezer")


def threads(pid: str, what: str) -> list[str]:
    tasks = [task for task in Path(f"/proc/{pid}/task").iterdir() if (task / "comm").read_text().strip() == NAME]
    network = set()
    for _ in range(LOOKS):
        network |= {task.name for task in tasks if (task / "wchan").read_text().startswith(("ep_", "do_epoll"))}
        time.sleep(POLL_S)
    return [task.name for task in tasks if (task.name in network) == (what == "network")]


def main(what: str, pids: list[str]) -> None:
    group, source = FREEZER / f"meshmark-test-frozen-{os.getpid()}", random.Random(1)
    group.mkdir()
    found = [thread for pid in pids for thread in threads(pid, what)]
    try:
        for thread in found:
            (group / "tasks").write_text(thread)
        print(len(found), flush=True)
        for state, shortest_s in itertools.cycle((("FROZEN", 0.1), ("THAWED", 0.05))):
            (group / "freezer.state").write_text(state)
            if select.select([sys.stdin], [], [], source.uniform(shortest_s, 3 * shortest_s))[0]:
                break
    finally:
        (group / "freezer.state").write_text("THAWED")
        for thread in found:
            (FREEZER / "tasks").write_text(thread)
        group.rmdir()


main(sys.argv[1], sys.argv[2:])
