"""What a directory's disk takes: sequential writes in Kafka's write size, one file per broker at once.

    python -m meshmark.load.probe_disk --directory DIR --mode buffered|synced|direct --writers N
                                       --write-bytes B --seconds S --bytes-max M [--first]

`buffered`: plain writes for S seconds (or M bytes), then one fdatasync inside the measured time: what the device
takes in the end, as dd with conv=fdatasync. `synced`: every write waits for the device (O_DSYNC), as a broker that
flushes every batch would. `direct`: every write is one operation of the device (O_DIRECT) over what is there already,
so that the file system adds none of its own. Prints one JSON object: bytes, writes, seconds. The content is
incompressible. `--first`: before all other work, so that what is found is the disk's limit and not the writers' wait
for a CPU.
Limit: on a shared device other writers' load is in the figure.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import threading
import time
from pathlib import Path

from meshmark.load.priority import raise_process

FLAGS = {"buffered": os.O_CREAT, "synced": os.O_CREAT | os.O_DSYNC, "direct": os.O_DIRECT}
REGION_WRITES = 64
"""Of a file that is written over and over."""


def write(
    directory: Path, mode: str, writers: int, write_bytes: int, seconds: float, bytes_max: int
) -> dict[str, float]:
    """Total bytes and writes of all writers, and the seconds until all of them were on the device."""
    payload = mmap.mmap(-1, write_bytes)  # aligned to pages, as O_DIRECT needs it
    payload.write(os.urandom(write_bytes))
    files = [directory / f"probe-{os.getpid()}-{number}" for number in range(writers)]
    counts = [0] * writers
    failures: list[OSError] = []

    def writer(number: int) -> None:
        region = REGION_WRITES if mode == "direct" else bytes_max
        try:
            descriptor = os.open(files[number], os.O_WRONLY | FLAGS[mode], 0o600)
            try:
                while time.monotonic() < deadline and counts[number] * write_bytes < bytes_max // writers:
                    os.pwrite(descriptor, payload, counts[number] % region * write_bytes)
                    counts[number] += 1
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=writer, args=(number,)) for number in range(writers)]
    try:
        if mode == "direct":
            for file in files:
                _fill(file, REGION_WRITES * write_bytes)
        started = time.monotonic()
        deadline = started + seconds
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        elapsed = time.monotonic() - started
    finally:
        for file in files:
            file.unlink(missing_ok=True)
    if failures:
        raise failures[0]
    return {"bytes": float(sum(counts) * write_bytes), "writes": float(sum(counts)), "seconds": elapsed}


def _fill(file: Path, size: int) -> None:
    with file.open("xb") as filled:
        filled.write(os.urandom(size))
        os.fsync(filled.fileno())


def main() -> None:
    parser = argparse.ArgumentParser(prog="meshmark.load.probe_disk")
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--mode", choices=tuple(FLAGS), required=True)
    parser.add_argument("--writers", type=int, required=True)
    parser.add_argument("--write-bytes", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--bytes-max", type=int, required=True)
    parser.add_argument("--first", action="store_true")
    given = parser.parse_args()
    if given.first:
        raise_process()
    try:
        result: dict[str, object] = dict(
            write(given.directory, given.mode, given.writers, given.write_bytes, given.seconds, given.bytes_max)
        )
    except OSError as error:
        result = {"error": str(error)}
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
