"""Keeps a real control plane up, for work by hand, until Ctrl-C or SIGTERM.

    python -m tests.kubernetes.up --kubeconfig FILE

The file, which only its owner can read, is written when the cluster is ready, and removed with it.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from meshmark.errors import MeshmarkError
from tests.kubernetes import build
from tests.kubernetes.controlplane import control_plane


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.kubernetes.up", description="Keeps a control plane up.")
    parser.add_argument("--kubeconfig", type=Path, required=True, help="the administrator's, written when it is ready")
    path: Path = parser.parse_args().kubeconfig
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with control_plane() as plane:
            path.touch(mode=0o600)
            path.write_text(plane.kubeconfig.read_text(encoding="utf-8"), encoding="utf-8")
            try:
                print(f"Kubernetes {build.version()} at {plane.server}, logs in {plane.directory}\n", flush=True)
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
