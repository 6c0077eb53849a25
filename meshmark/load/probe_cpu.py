"""CPU time that a process gets when it wants all of it, for a probe of a quota.

    python -m meshmark.load.probe_cpu --threads N

Says `{"ready": true}`; a line of its standard input makes N threads spin, the next one ends that, and so on. Who reads
the counters of its component meanwhile knows what the component got. Each thread hashes a large buffer, which leaves
the interpreter's lock free.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import threading

BUFFER_BYTES = 1_000_000


def main() -> None:
    parser = argparse.ArgumentParser(prog="meshmark.load.probe_cpu")
    parser.add_argument("--threads", type=int, required=True)
    given = parser.parse_args()
    print(json.dumps({"ready": True}), flush=True)
    while sys.stdin.readline():
        spin_until_told(given.threads)


def spin_until_told(count: int) -> None:
    buffer, over = bytes(BUFFER_BYTES), threading.Event()

    def spin() -> None:
        while not over.is_set():
            hashlib.sha256(buffer).digest()

    threads = [threading.Thread(target=spin) for _ in range(count)]
    for thread in threads:
        thread.start()
    sys.stdin.readline()
    over.set()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
