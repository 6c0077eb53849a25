"""What TCP carries from one host to another: bulk payload in one or several flows, counted by the receiver.

    python -m meshmark.load.probe_network receive --port P --flows N --seconds S [--first]
    python -m meshmark.load.probe_network send --to ADDRESS:PORT --flows N --seconds S [--first]

The receiver prints `{"ready": true}` once it listens, and at the end bytes and seconds: what arrived between the
moment all flows had begun and S seconds later. The sender stops by itself. The content is random. `--first`: before
all other work.
Limit: sender, receiver and proxies share the machine's cores; the figure is a ceiling of this machine, not of a NIC.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import threading
import time

from meshmark.load.priority import raise_process

CHUNK_BYTES = 262_144
START_TIMEOUT_S = 15.0
GRACE_S = 2.0
"""The sender goes on this much longer than the window, so that the window is full."""


def receive(port: int, flows: int, seconds: float) -> dict[str, float]:
    counts = [0] * flows
    begun = threading.Barrier(flows + 1)
    over = threading.Event()

    def reader(number: int, connection: socket.socket) -> None:
        buffer = bytearray(CHUNK_BYTES)
        with connection:
            connection.settimeout(START_TIMEOUT_S)
            first = connection.recv_into(buffer)
            if first:
                begun.wait(START_TIMEOUT_S)
            while not over.is_set():
                got = connection.recv_into(buffer)
                if got == 0:
                    break
                counts[number] += got

    with socket.create_server(("0.0.0.0", port), backlog=flows) as server:
        server.settimeout(START_TIMEOUT_S)
        print(json.dumps({"ready": True}), flush=True)
        threads = []
        for number in range(flows):
            connection, _ = server.accept()
            threads.append(threading.Thread(target=reader, args=(number, connection), daemon=True))
            threads[-1].start()
        begun.wait(START_TIMEOUT_S)
        before, started = sum(counts), time.monotonic()
        time.sleep(seconds)
        after, ended = sum(counts), time.monotonic()
        over.set()
        for thread in threads:
            thread.join(START_TIMEOUT_S)
    return {"bytes": float(after - before), "seconds": ended - started}


def send(address: str, port: int, flows: int, seconds: float) -> dict[str, float]:
    payload = os.urandom(CHUNK_BYTES)
    sent = [0] * flows

    def writer(number: int) -> None:
        with socket.create_connection((address, port), timeout=START_TIMEOUT_S) as connection:
            deadline = time.monotonic() + seconds + GRACE_S
            try:
                while time.monotonic() < deadline:
                    connection.sendall(payload)
                    sent[number] += CHUNK_BYTES
            except OSError:
                return  # the receiver closes first, once its window is over

    threads = [threading.Thread(target=writer, args=(number,)) for number in range(flows)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"bytes": float(sum(sent))}


def main() -> None:
    parser = argparse.ArgumentParser(prog="meshmark.load.probe_network")
    parser.add_argument("role", choices=("receive", "send"))
    parser.add_argument("--port", type=int)
    parser.add_argument("--to")
    parser.add_argument("--flows", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--first", action="store_true")
    given = parser.parse_args()
    if given.first:
        raise_process()
    try:
        if given.role == "receive":
            result: dict[str, object] = dict(receive(given.port, given.flows, given.seconds))
        else:
            address, _, port = given.to.rpartition(":")
            result = dict(send(address, int(port), given.flows, given.seconds))
    except (OSError, threading.BrokenBarrierError) as error:
        result = {"error": str(error) or type(error).__name__}
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
