"""What a testbed stands on: its hosts' network, directories and disks, made anew for each and gone after it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from meshmark.backends.lab.cgroups import remove_groups
from meshmark.backends.lab.cpusets import cpusets
from meshmark.backends.lab.disk import Disk, image_disk, require_images
from meshmark.backends.lab.instance import Instance
from meshmark.backends.lab.link import Host, Network, network
from meshmark.backends.lab.wan import WideLink, links
from meshmark.kafka.launch import Runtime
from meshmark.plan import Scenario
from meshmark.planfile.hardware import image_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """What testbeds and clusters are made of, found or fetched before."""

    instance: Instance
    groups: Path | None = None
    """Where the hosts' control groups are made."""
    runtime: Runtime
    envoy: Path
    archive: Path | None
    training: Path | None = None
    """Where the first broker writes an archive at its end, in a training run."""
    log_budget_bytes: int
    chance: str = ""
    """Where the seeds of what links lose are from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ground:
    """What a testbed's hosts have: network, directories and, with storage `image`, a disk by host name. And what lies
    between them, where they are not all in one place."""

    instance: Path
    network: Network
    data: Path
    disks: Mapping[str, Disk]
    links: Sequence[WideLink] = ()

    def place(self, name: str) -> Host:
        """A host or a gateway by its name, or the place of a link's relay by the link's."""
        relays = {link.name: link.place for link in self.links if link.place}
        return relays[name] if name in relays else next(host for host in self.network.places if host.name == name)


def lay_ground(parts: Parts, scenario: Scenario, stack: ExitStack) -> Ground:
    """Leaving the stack removes what hosts wrote, so that one round's bytes are not on the next one's disk."""
    spec = scenario.cluster
    root = parts.instance.memory_directory() if spec.storage == "ram" else parts.instance.path
    data = root / "data"
    data.mkdir()
    stack.callback(shutil.rmtree, data)
    if parts.groups:
        stack.callback(remove_groups, parts.groups)
    held = cpusets(parts.instance.path) if spec.client_cpus else None
    if held:
        stack.callback(remove_groups, held)
    hosts = network(
        parts.instance,
        brokers=spec.brokers,
        clients=spec.clients,
        groups=parts.groups,
        topology=spec.topology,
        gateways=scenario.gateways,
        client_cpus=spec.client_cpus,
        cpusets=held,
    )
    net = stack.enter_context(hosts)
    wide = stack.enter_context(links(parts.instance, net, spec.topology, parts.groups, parts.chance))
    for host in net.places:
        stack.callback(shutil.rmtree, host.directory)
    disks: dict[str, Disk] = {}
    if spec.storage == "image":
        require_images()
        each = image_bytes(parts.log_budget_bytes, spec.brokers)
        for host in net.broker_hosts:
            image = image_disk(data / host.name, parts.instance.path / f"{host.name}.img", each)
            disks[host.name] = stack.enter_context(image)
    return Ground(instance=parts.instance.path, network=net, data=data, disks=disks, links=wide)
