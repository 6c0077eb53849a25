"""Several real clusters with a node each, in one flat network, and istiods that can be made one mesh.

A cluster's network is a switch of the lab's with nothing on it but pods, and what is between clusters is the lab's
too (`wan`): pods of all reach each other, as far apart as the topology says. So nothing of it outlives this process.
API servers are at their nodes' addresses; commands run in the first cluster's network, and reach the others' from
there.

The mesh is made by the script that `meshmark infra istio` prints, with real kubectl and openssl. What stands in for
istioctl keeps what it was told to install, which the istiods beside the clusters then are started with, and gives
remote secrets that were made before.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from ruamel.yaml import YAML

from meshmark.backends.lab import wan
from meshmark.backends.lab.instance import unlocked_instance
from meshmark.backends.lab.link import BRIDGE, LOOPBACK_INDEX, PREFIX_LENGTH, Network, network, subnet
from meshmark.topology import Topology
from tests.kubernetes import build, istio
from tests.kubernetes.controlplane import ControlPlane
from tests.kubernetes.credentials import merged
from tests.kubernetes.node import BRIDGE_MAC, one_node
from tests.kubernetes.place import Place

PLAN = Path(__file__).with_name("stretched.yaml")
SCRIPT_TIMEOUT_S = 180.0
READER = "istio-reader-service-account"
READS = {
    "": ("configmaps", "endpoints", "namespaces", "nodes", "pods", "secrets", "serviceaccounts", "services"),
    "discovery.k8s.io": ("endpointslices",),
    "apiextensions.k8s.io": ("customresourcedefinitions",),
    "networking.istio.io": ("*",),
    "security.istio.io": ("*",),
}
"""What an istiod looks at in another cluster: group -> plural names."""
ISTIOCTL = """#!/bin/sh
set -eu
case $1 in
install) cat > "$ASKED/$4.yaml" ;;
create-remote-secret) cat "$SECRETS/$5.json" ;;
*) exit 64 ;;
esac
"""


@dataclass(frozen=True, kw_only=True)
class Several:
    """Clusters by their names in the topology, in its order."""

    topology: Topology
    planes: Mapping[str, ControlPlane]
    net: Network
    links: Sequence[wan.WideLink]

    @property
    def first(self) -> ControlPlane:
        return next(iter(self.planes.values()))

    @property
    def contexts(self) -> tuple[str, ...]:
        """As options of meshmark's verbs; the kubeconfig calls a cluster as the topology does."""
        return tuple(word for name in self.planes for word in ("--context", f"{name}={name}"))

    def kubeconfig(self, name: str, users: Mapping[str, Path]) -> Path:
        """A new file, with a context for each."""
        return merged(self.first.directory / f"{name}.kubeconfig", users)

    def administrator(self) -> Path:
        return self.kubeconfig("administrators", {name: plane.kubeconfig for name, plane in self.planes.items()})

    def cut(self, link: str) -> AbstractContextManager[None]:
        """Nothing from or for pods passes the link, and nobody is told; nodes reach each other."""
        return wan.cut(self.net, self.topology, self.links, link)


@contextmanager
def several(topology: Topology) -> Iterator[Several]:
    """Their nodes are ready. Raises what `one_node` does."""
    wan.require_links()
    with ExitStack() as stack:
        instance = stack.enter_context(unlocked_instance("clusters"))
        net = stack.enter_context(network(instance, brokers=0, clients=0, topology=topology))
        links = stack.enter_context(wan.links(instance, net, topology, None))
        planes = {}
        for number, (name, switch) in enumerate(net.switches.items()):
            switch.call(partial(_prepare, wan.routes(topology, name, links)))
            place = Place(
                node=f"node-{name}",
                zone=f"zone-{name}",
                bridge=BRIDGE,
                address=f"{subnet(number)}.1",
                prefix_length=PREFIX_LENGTH,
                namespace=switch,
            )
            planes[name] = stack.enter_context(one_node(place))
        yield Several(topology=topology, planes=planes, net=net, links=links)


@contextmanager
def apart(there: Several) -> Iterator[None]:
    """An istiod in each that knows of no other, with a root of trust of its own."""
    with ExitStack() as stack:
        for plane in there.planes.values():
            stack.enter_context(istio.running_istiod(plane))
        yield


@contextmanager
def one_mesh(there: Several, plan: Path = PLAN) -> Iterator[None]:
    """Istiods of one mesh, as the script for the plan makes it. Istio is installed (`istio.install`) in all."""
    installed = _made(there, plan)
    with ExitStack() as stack:
        for name, plane in there.planes.items():
            stack.enter_context(istio.running_istiod(plane, installed[name]))
        yield


def _made(there: Several, plan: Path) -> dict[str, Any]:
    """Runs the script; what it told to install: cluster -> values of the chart (`global`)."""
    home = there.first.directory / "mesh"
    for name in ("asked", "secrets", "bin"):
        (home / name).mkdir(parents=True)
    for name, plane in there.planes.items():
        (home / "secrets" / f"{name}.json").write_text(json.dumps(_remote_secret(name, plane)), encoding="utf-8")
    stand_in = home / "bin" / "istioctl"
    stand_in.write_text(ISTIOCTL, encoding="utf-8")
    stand_in.chmod(0o755)
    argv = [sys.executable, "-m", "meshmark", "infra", "istio", "-f", str(plan), *there.contexts]
    script = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    path = f"{stand_in.parent}:{build.path(build.KUBECTL).parent}:/usr/bin:/bin"
    done = there.first.run(
        ["sh", "-c", script],
        timeout_s=SCRIPT_TIMEOUT_S,
        kubeconfig=there.administrator(),
        directory=home,
        more={"PATH": path, "ASKED": str(home / "asked"), "SECRETS": str(home / "secrets")},
    )
    assert done.returncode == 0, done.stderr
    read = YAML(typ="safe", pure=True)
    return {name: read.load(home / "asked" / f"{name}.yaml")["spec"]["values"]["global"] for name in there.planes}


def _remote_secret(name: str, plane: ControlPlane) -> dict[str, Any]:
    """As istioctl makes one: a kubeconfig of a cluster's reader, for the others' istiods."""
    rules = [
        {"apiGroups": [group], "resources": list(kinds), "verbs": ["get", "list", "watch"]}
        for group, kinds in READS.items()
    ]
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "istio-reader"},
        "rules": rules,
    }
    plane.kubectl("create", "--filename=-", stdin=role)
    kubeconfig = plane.account(READER, istio.NAMESPACE, everywhere=["istio-reader"])
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": f"istio-remote-secret-{name}",
            "namespace": istio.NAMESPACE,
            "labels": {"istio/multiCluster": "true"},
            "annotations": {"networking.istio.io/cluster": name},
        },
        "stringData": {name: kubeconfig.read_text(encoding="utf-8")},
    }


def _prepare(routes: Mapping[str, str]) -> None:
    """Of a switch a machine. A bridge takes another Ethernet address as ports come and go, unless it was given one;
    and nodes have routes of their own, so that API servers are reached also where pods are not."""
    with IPRoute() as netlink:
        netlink.link("set", index=LOOPBACK_INDEX, state="up")
        netlink.link("set", index=netlink.link_lookup(ifname=BRIDGE)[0], address=BRIDGE_MAC)
        for pods, interface in routes.items():
            [index] = netlink.link_lookup(ifname=interface)
            netlink.route("add", dst=str(next(ip_network(pods).hosts())), oif=index, scope="link")
