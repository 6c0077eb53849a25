"""Keeps a real cluster up, or two, for work by hand, until Ctrl-C or SIGTERM.

    python -m tests.kubernetes.up --kubeconfig FILE [--node | --istio | --strimzi] [--clusters 2]

The file, which only its owner can read, is written when the cluster is ready, and removed with it. Without a node it
is a control plane on this machine's loopback; with one it has a network of its own, which commands have to enter. Two
have a node each and are those of `stretched.yaml`, whose names their contexts have; with istiods, one mesh spans them.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from meshmark import planfile
from meshmark.errors import MeshmarkError
from tests.kubernetes import build
from tests.kubernetes.controlplane import ControlPlane, control_plane
from tests.kubernetes.istio import install, istiod
from tests.kubernetes.node import one_node
from tests.kubernetes.several import PLAN, Several, one_mesh, several
from tests.kubernetes.strimzi import strimzi
from tests.own_network import enter_own_network


def one(stack: ExitStack, *, node: bool, istio: bool, operator: bool) -> ControlPlane:
    if not node:
        return stack.enter_context(control_plane())
    enter_own_network()
    plane = stack.enter_context(one_node())
    if istio:
        stack.enter_context(istiod(plane))
    if operator:
        stack.enter_context(strimzi(plane))
    return plane


def two(stack: ExitStack, *, istio: bool) -> Several:
    [scenario] = planfile.load(PLAN).scenarios
    there = stack.enter_context(several(scenario.cluster.topology))
    if istio:
        for plane in there.planes.values():
            install(plane)
        stack.enter_context(one_mesh(there))
    return there


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.kubernetes.up", description="Keeps a cluster up.")
    parser.add_argument("--kubeconfig", type=Path, required=True, help="the administrator's, written when it is ready")
    parser.add_argument("--node", action="store_true", help="with a node that runs pods; needs root")
    parser.add_argument("--istio", action="store_true", help="with a node and istiod")
    parser.add_argument("--strimzi", action="store_true", help="with a node, istiod and Strimzi's operator")
    parser.add_argument("--clusters", type=int, choices=(1, 2), default=1, help="how many; two have nodes")
    asked = parser.parse_args()
    if asked.strimzi and asked.clusters > 1:
        parser.error("Strimzi's operator runs in one cluster alone")
    asked.istio = asked.istio or asked.strimzi
    path: Path = asked.kubeconfig
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with ExitStack() as stack:
            if asked.clusters > 1:
                there = two(stack, istio=asked.istio)
                planes, kubeconfig = list(there.planes.values()), there.administrator()
            else:
                node = asked.node or asked.istio
                planes = [one(stack, node=node, istio=asked.istio, operator=asked.strimzi)]
                kubeconfig = planes[0].kubeconfig
            path.touch(mode=0o600)
            path.write_text(kubeconfig.read_text(encoding="utf-8"), encoding="utf-8")
            try:
                _tell(planes, path, within=asked.node or asked.istio or asked.clusters > 1)
                signal.pause()
            finally:
                path.unlink(missing_ok=True)
    except KeyboardInterrupt:
        sys.exit(130)
    except MeshmarkError as error:
        sys.exit(str(error))


def _tell(planes: Sequence[ControlPlane], kubeconfig: Path, *, within: bool) -> None:
    for plane in planes:
        print(f"Kubernetes {build.version()} at {plane.server}, logs in {plane.directory}", flush=True)
    if within:
        print(f"nsenter --net=/proc/{os.getpid()}/fd/{planes[0].host.namespace.fd} bash   # then, in there:")
    print(f"export KUBECONFIG={kubeconfig}\nexport PATH={build.path(build.KUBECTL).parent}:$PATH", flush=True)


if __name__ == "__main__":
    main()
