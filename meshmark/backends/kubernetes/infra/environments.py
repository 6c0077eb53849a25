"""The document's two environments and what a provider has in their place today: machines, counts, disks. Data.

Each figure is the document's (Banzai Cloud, 2019-07-28), or has its source beside it, as it was known on
LOOKED_UP.
What neither says is a choice, and says so. Limits: prices, quotas and what a region has are not known here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from meshmark.backends.kubernetes.pools import Pool
from meshmark.errors import UsageError

Provider = Literal["eks", "gke"]
LOOKED_UP = "2026-11-26"
KUBERNETES = "1.35"
"""The first whose pods know their node's zone, which is `broker.rack`."""
ZONES = 3
REGIONS: Mapping[Provider, str] = {"eks": "eu-west-1", "gke": "europe-west4"}
"""Two that the document names, of its clusters that are far apart; it names none of its single ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Nodes:
    """Of one pool: so many machines of a type, spread evenly over so many zones."""

    machine: str
    count: int
    zones: int = ZONES

    @property
    def each_zone(self) -> int:
        return self.count // self.zones


@dataclass(frozen=True, kw_only=True, slots=True)
class Disks:
    """Of the brokers' logs: a StorageClass, and the size of a volume that reaches what the environment is to have."""

    name: str
    provisioner: str
    parameters: Mapping[str, str]
    volume_size: str
    boot_disk: str = ""
    """Of the nodes, where their machines take no disk of the provider's default type."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """`remarks` tell where its figures are from, and what a person has to know before making it."""

    provider: Provider
    today: bool
    what: str
    pools: Mapping[Pool, Nodes]
    disks: Disks
    remarks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """Whose names hold for the provider: checked by `asked`."""

    environment: Environment
    name: str
    region: str
    zones: tuple[str, ...]


EBS, PD = "ebs.csi.aws.com", "pd.csi.storage.gke.io"
DOCUMENT = "machines and their counts are those of Running Apache Kafka over Istio - benchmark (2019-07-28)"
TWO_ZONES = "four clients go two each to two zones: a node pool has as many nodes in each of its zones"
VOLUMES = "https://docs.aws.amazon.com/ebs/latest/userguide/ebs-volume-types.html"
GOOGLE = "https://cloud.google.com/compute/docs"

ENVIRONMENTS = (
    Environment(
        provider="eks",
        today=False,
        what="the document's Amazon EKS",
        pools={
            Pool.BROKER: Nodes(machine="r5.4xlarge", count=3),
            Pool.CONTROLLER: Nodes(machine="c5.xlarge", count=3),
            Pool.CLIENT: Nodes(machine="c5.2xlarge", count=3),
        },
        disks=Disks(
            name="meshmark-io1",
            provisioner=EBS,
            parameters={"type": "io1", "iops": "18750"},
            volume_size="500Gi",
        ),
        remarks=(
            DOCUMENT,
            f"disks: io1 as in the document, which names neither size nor operations ({VOLUMES})",
            "18,750 operations a second are what the instance takes (profile eks-r5.4xlarge-io1); 500 GiB allow them",
            "since 2019-12-03 an r5.4xlarge takes 4,750 Mbit/s: a run of today can be above the document's 437 MB/s",
        ),
    ),
    Environment(
        provider="eks",
        today=True,
        what="Amazon EKS with machines of today in place of the document's",
        pools={
            Pool.BROKER: Nodes(machine="r7i.4xlarge", count=3),
            Pool.CONTROLLER: Nodes(machine="c7i.xlarge", count=3),
            Pool.CLIENT: Nodes(machine="c7i.2xlarge", count=3),
        },
        disks=Disks(
            name="meshmark-gp3",
            provisioner=EBS,
            parameters={"type": "gp3", "iops": "16000", "throughput": "596"},
            volume_size="500Gi",
        ),
        remarks=(
            "machines: two generations later, with as many CPUs and as much memory; eksctl 0.230 knows them",
            f"disks: gp3 with the 625 MB/s of the profile eks-m6i.4xlarge-gp3; the size is chosen ({VOLUMES})",
        ),
    ),
    Environment(
        provider="gke",
        today=False,
        what="the document's Google GKE",
        pools={
            Pool.BROKER: Nodes(machine="n1-standard-16", count=3),
            Pool.CONTROLLER: Nodes(machine="n1-standard-2", count=3),
            Pool.CLIENT: Nodes(machine="n1-standard-8", count=4, zones=2),
        },
        disks=Disks(
            name="meshmark-pd-ssd",
            provisioner=PD,
            parameters={"type": "pd-ssd"},
            volume_size="800Gi",
        ),
        remarks=(
            DOCUMENT,
            f"disks: pd-ssd as in the document, which names no size ({GOOGLE}/disks/performance)",
            "0.48 MiB/s for each of 800 GiB are 403 MB/s, where the document's dd found 400",
            "what an instance gets today whatever the size of its disks comes on top",
            TWO_ZONES,
        ),
    ),
    Environment(
        provider="gke",
        today=True,
        what="Google GKE with machines of today in place of the document's",
        pools={
            Pool.BROKER: Nodes(machine="n4-standard-16", count=3),
            Pool.CONTROLLER: Nodes(machine="n4-standard-2", count=3),
            Pool.CLIENT: Nodes(machine="n4-standard-8", count=4, zones=2),
        },
        disks=Disks(
            name="meshmark-hyperdisk",
            provisioner=PD,
            parameters={
                "type": "hyperdisk-balanced",
                "provisioned-throughput-on-create": "382Mi",
                "provisioned-iops-on-create": "16000",
            },
            volume_size="500Gi",
            boot_disk="hyperdisk-balanced",
        ),
        remarks=(
            f"machines: the same shapes of the series N4 ({GOOGLE}/general-purpose-machines)",
            "disks: N4 takes Hyperdisk and no persistent disk; Hyperdisk Balanced is provisioned to 382 MiB/s,",
            f"the document's 400 MB/s; the size is chosen ({GOOGLE}/disks/hyperdisks)",
            TWO_ZONES,
        ),
    ),
)


def environment(provider: Provider, *, today: bool) -> Environment:
    """The document's, or today's in its place."""
    [found] = [each for each in ENVIRONMENTS if (each.provider, each.today) == (provider, today)]
    return found


def asked(
    provider: Provider, *, today: bool = False, name: str | None = None, region: str | None = None, zones: str = "abc"
) -> Asked:
    """With a default for all that is None; `zones` are the letters of three. Raises UsageError with all that cannot
    be meant."""
    of = environment(provider, today=today)
    name = ("meshmark-today" if today else "meshmark-2019") if name is None else name
    region = REGIONS[provider] if region is None else region
    if wrong := list(_wrong(name, region, zones)):
        raise UsageError("; ".join(wrong), hint=f"`meshmark infra {provider} --help` shows what it takes")
    between = "-" if provider == "gke" else ""
    return Asked(
        environment=of, name=name, region=region, zones=tuple(f"{region}{between}{letter}" for letter in zones)
    )


def _wrong(name: str, region: str, zones: str) -> Iterator[str]:
    if not re.fullmatch(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", name):
        yield f"--name {name!r} is no name of a cluster: small letters, digits and dashes, 40 at most"
    if not re.fullmatch(r"[a-z]+(-[a-z0-9]+)+", region):
        yield f"--region {region!r} is no name of a region"
    if not re.fullmatch(r"[a-z]{3}", zones) or len(set(zones)) < ZONES:
        yield f"--zones {zones!r} are no letters of three zones, as abc"
