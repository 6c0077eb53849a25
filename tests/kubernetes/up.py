"""Keeps a real cluster up, for work by hand, until Ctrl-C or SIGTERM.

    python -m tests.kubernetes.up --kubeconfig FILE [--node | --istio | --strimzi]

The file, which only its owner can read, is written when the cluster is ready, and removed with it. Without a node it
is a control plane on this machine's loopback; with one it has a network of its own, which commands have to enter.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

from meshmark.errors import MeshmarkError
from tests.kubernetes import build
from tests.kubernetes.controlplane import ControlPlane, control_plane
from tests.kubernetes.istio import istiod
from tests.kubernetes.node import one_node
from tests.kubernetes.strimzi import strimzi
from tests.own_network import enter_own_network


def started(stack: ExitStack, *, node: bool, istio: bool, operator: bool) -> ControlPlane:
    if not node:
        return stack.enter_context(control_plane())
    enter_own_network()
    plane = stack.enter_context(one_node())
    if istio:
        stack.enter_context(istiod(plane))
    if operator:
        stack.enter_context(strimzi(plane))
    return plane


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.kubernetes.up", description="Keeps a cluster up.")
    parser.add_argument("--kubeconfig", type=Path, required=True, help="the administrator's, written when it is ready")
    parser.add_argument("--node", action="store_true", help="with a node that runs pods; needs root")
    parser.add_argument("--istio", action="store_true", help="with a node and istiod")
    parser.add_argument("--strimzi", action="store_true", help="with a node, istiod and Strimzi's operator")
    asked = parser.parse_args()
    asked.istio = asked.istio or asked.strimzi
    path: Path = asked.kubeconfig
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with ExitStack() as stack:
            plane = started(stack, node=asked.node or asked.istio, istio=asked.istio, operator=asked.strimzi)
            path.touch(mode=0o600)
            path.write_text(plane.kubeconfig.read_text(encoding="utf-8"), encoding="utf-8")
            try:
                print(f"Kubernetes {build.version()} at {plane.server}, logs in {plane.directory}\n", flush=True)
                if asked.node or asked.istio:
                    print(f"nsenter --net=/proc/{os.getpid()}/ns/net bash   # then, in there:", flush=True)
                print(f"export KUBECONFIG={path}\nexport PATH={build.path(build.KUBECTL).parent}:$PATH", flush=True)
                signal.pause()
            finally:
                path.unlink(missing_ok=True)
    except KeyboardInterrupt:
        sys.exit(130)
    except MeshmarkError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
