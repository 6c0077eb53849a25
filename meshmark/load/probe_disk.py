"""What a directory's disk takes: sequential writes in Kafka's write size, one file per broker at once.

    python -m meshmark.load.probe_disk --directory DIR --mode buffered|synced --writers N
                                       --write-bytes B --seconds S --bytes-max M [--first]

`buffered`: plain writes for S seconds (or M bytes), then one fdatasync inside the measured time: what the device
takes in the end, as dd with conv=fdatasync. `synced`: every write waits for the device (O_DSYNC), as a broker that
flushes every batch would. Prints one JSON object: bytes, seconds. The content is incompressible. `--first`: before
all other work, so that what is found is the disk's limit and not the writers' wait for a CPU.
Limit: on a shared device other writers' load is in the figure.
"""

from __future__ import annotations

import argparse
import json
import os
import threading
import time
from pathlib import Path

from meshmark.load.priority import raise_process


def write(
    directory: Path, mode: str, writers: int, write_bytes: int, seconds: float, bytes_max: int
) -> dict[str, float]:
    """Total bytes written by all writers and the seconds until all of them were on the device."""
    payload = os.urandom(write_bytes)
    files = [directory / f"probe-{os.getpid()}-{number}" for number in range(writers)]
    written = [0] * writers
    failures: list[OSError] = []
    deadline = time.monotonic() + seconds

    def writer(number: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | (os.O_DSYNC if mode == "synced" else 0)
        try:
            descriptor = os.open(files[number], flags, 0o600)
            try:
                while time.monotonic() < deadline and written[number] < bytes_max // writers:
                    written[number] += os.write(descriptor, payload)
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            failures.append(error)

    started = time.monotonic()
    threads = [threading.Thread(target=writer, args=(number,)) for number in range(writers)]
    try:
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
    return {"bytes": float(sum(written)), "seconds": elapsed}


def main() -> None:
    parser = argparse.ArgumentParser(prog="meshmark.load.probe_disk")
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--mode", choices=("buffered", "synced"), required=True)
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
