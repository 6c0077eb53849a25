"""Services that have an address of their own lead to their pods, in user space, as kube-proxy once did it.

    with services(plane): ...

The address of each is put on the node's bridge, where pods' packets to it come by, and a process listens there and
copies bytes to one of the service's pods, or, of the API server, to that. It stands for kube-proxy, which the tests'
node has not: what it costs is not what that costs, so nothing that is measured may go through it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from pyroute2 import IPRoute

from meshmark.backends.lab.process import running
from tests.kubernetes import build
from tests.kubernetes.controlplane import ControlPlane
from tests.kubernetes.credentials import SERVICE_NETWORK
from tests.kubernetes.place import HERE

POLL_S = 0.5
COPY_BYTES = 65_536
Place = tuple[str, int]
API = (str(ipaddress.ip_network(SERVICE_NETWORK)[1]), 443)
"""Of the service `kubernetes`, which the API server makes for itself."""
API_ENDPOINT = {
    "apiVersion": "discovery.k8s.io/v1",
    "kind": "EndpointSlice",
    "metadata": {
        "name": "kubernetes",
        "namespace": "default",
        "labels": {"kubernetes.io/service-name": "kubernetes"},
    },
    "addressType": "IPv4",
    "endpoints": [{"addresses": [API[0]], "conditions": {"ready": True}}],
    "ports": [{"name": "https", "port": API[1], "protocol": "TCP"}],
}
"""The API server is at this machine's loopback alone, so it names none; a sidecar connects to what is named here."""


@contextmanager
def services(plane: ControlPlane) -> Iterator[None]:
    argv = [sys.executable, "-m", "tests.kubernetes.services", plane.server]
    log = plane.directory / "services.log"
    environment = plane.environment()
    plane.kubectl("create", "--filename=-", stdin=API_ENDPOINT)
    with running(plane.host, argv, name="services", component="kubernetes", log=log, env=environment, grace_s=0):
        yield


class Proxy:
    """`ways`: to which pods each port of a service leads now."""

    def __init__(self, api: Place) -> None:
        self._api = api
        self._ways: Mapping[Place, Sequence[Place]] = {}
        self._turns = itertools.count()
        self._listening: dict[Place, asyncio.Server] = {}
        self._addresses: set[str] = set()

    async def run(self) -> None:
        while True:
            await self._follow({**await asyncio.to_thread(_ways), API: [self._api]})
            await asyncio.sleep(POLL_S)

    async def _follow(self, ways: Mapping[Place, Sequence[Place]]) -> None:
        self._ways = ways
        for gone in self._listening.keys() - ways.keys():
            self._listening.pop(gone).close()
        for place in ways.keys() - self._listening.keys():
            address, port = place
            if address not in self._addresses:
                await asyncio.to_thread(_put_on_bridge, address)
                self._addresses.add(address)
            self._listening[place] = await asyncio.start_server(partial(self._copied, place), address, port)

    async def _copied(self, place: Place, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if pods := self._ways.get(place):
                there = await asyncio.open_connection(*pods[next(self._turns) % len(pods)])
                await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer))
        except OSError:  # as the one end breaks, so does the other
            pass
        finally:
            writer.close()


def _put_on_bridge(address: str) -> None:
    with IPRoute() as netlink:
        [bridge] = netlink.link_lookup(ifname=HERE.bridge)
        netlink.addr("add", index=bridge, address=address, prefixlen=32)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(COPY_BYTES):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


def _ways() -> dict[Place, list[Place]]:
    """Of all services with an address and pods that are ready."""
    asked = ("get", "services,endpointslices", "--all-namespaces", "--output=json")
    done = subprocess.run([str(build.path(build.KUBECTL)), *asked], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.stderr)
    items = json.loads(done.stdout)["items"]
    slices = [each for each in items if each["kind"] == "EndpointSlice"]
    found: dict[Place, list[Place]] = {}
    for service in (each for each in items if each["kind"] == "Service"):
        address = service["spec"].get("clusterIP", "None")
        for port in service["spec"].get("ports", []) if address != "None" else []:
            ready = list(_ready(slices, service["metadata"], port.get("name", "")))
            if ready:
                found[address, port["port"]] = ready
    return found


def _ready(slices: Iterable[Mapping[str, Any]], service: Mapping[str, Any], port: str) -> Iterator[Place]:
    for each in slices:
        metadata = each["metadata"]
        of = (metadata["namespace"], metadata["labels"].get("kubernetes.io/service-name"))
        numbers = [found["port"] for found in each.get("ports") or () if found.get("name", "") == port]
        if of == (service["namespace"], service["name"]):
            for endpoint in each.get("endpoints") or ():
                if endpoint["conditions"].get("ready"):
                    yield from ((address, number) for address in endpoint["addresses"] for number in numbers)


def main() -> None:
    parts = urlsplit(sys.argv[1])
    assert parts.hostname is not None, sys.argv
    assert parts.port is not None, sys.argv
    asyncio.run(Proxy((parts.hostname, parts.port)).run())


if __name__ == "__main__":
    main()
