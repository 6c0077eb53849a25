"""One real Envoy on a host, a sidecar or a gateway, from a validated configuration, awaited until it serves."""

from __future__ import annotations

import http.client
import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from meshmark.backends.lab.link import Host
from meshmark.backends.lab.process import LabProcess, running
from meshmark.backends.lab.unix import connected
from meshmark.dataplane.envoy import Config
from meshmark.errors import ComponentFailed

READY_TIMEOUT_S = 30.0
POLL_S = 0.02
# Istio's levels; hot restart is off because several Envoys on one machine would take each other for predecessors.
OPTIONS = ("--disable-hot-restart", "--log-level", "warning", "--component-log-level", "misc:error")


@dataclass(frozen=True, kw_only=True, slots=True)
class SidecarPlan:
    """A proxy to start: where, and with which configuration."""

    host: Host
    config: Config
    concurrency: int
    kind: Literal["sidecar", "gateway"] = "sidecar"

    @property
    def file(self) -> Path:
        return self.host.directory / "envoy.json"

    @property
    def log(self) -> Path:
        return self.host.directory / f"{self.kind}.log"

    @property
    def admin_socket(self) -> Path:
        return admin_socket(self.host)


def admin_socket(host: Host) -> Path:
    return host.directory / "envoy.sock"


def validate(envoy: Path, plan: SidecarPlan) -> None:
    """Writes the configuration and lets Envoy judge it; raises ComponentFailed with Envoy's own words."""
    plan.file.write_text(json.dumps(plan.config, indent=1), encoding="utf-8")
    command = [str(envoy), "--mode", "validate", "-c", str(plan.file), *OPTIONS]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise ComponentFailed(
            f"Envoy refuses the configuration of the {plan.kind} on {plan.host.name}",
            component=plan.kind,
            log_tail=tuple((done.stdout + done.stderr).strip().splitlines()[-12:]),
            hint=f"The command was: {' '.join(command)}",
        )


@contextmanager
def sidecars(envoy: Path, plans: Sequence[SidecarPlan]) -> Iterator[dict[str, LabProcess]]:
    """Host name -> its proxy, all of them ready."""
    with ThreadPoolExecutor(max_workers=len(plans), thread_name_prefix="validate") as pool:
        list(pool.map(lambda plan: validate(envoy, plan), plans))
    with ExitStack() as stack:
        started = {
            plan.host.name: stack.enter_context(
                running(
                    plan.host,
                    [str(envoy), "-c", str(plan.file), "--concurrency", str(plan.concurrency), *OPTIONS],
                    name=plan.kind,
                    component=plan.kind,
                    log=plan.log,
                    grace_s=0,
                )
            )
            for plan in plans
        }
        for plan in plans:
            _wait(lambda plan=plan: _ready(plan.admin_socket), started[plan.host.name])  # type: ignore[misc]
        yield started


def _wait(state: Callable[[], str], process: LabProcess) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while (last := state()) != "LIVE":
        process.check()
        if time.monotonic() > deadline:
            raise process.failure(f"was not ready within {READY_TIMEOUT_S:.0f} s; its state: {last}")
        time.sleep(POLL_S)


def _ready(admin: Path) -> str:
    """Envoy's own answer: LIVE, PRE_INITIALIZING and so on."""
    try:
        return _answer(admin, "/ready")
    except (OSError, http.client.HTTPException) as error:
        return f"no answer ({error})"


def version(host: Host) -> str:
    """Of the Envoy that runs there, as it says itself, e.g. `1.40.0`; ComponentFailed where it does not."""
    try:
        told = str(json.loads(_answer(admin_socket(host), "/server_info"))["version"])  # COMMIT/1.40.0/Clean/...
        return told.split("/")[1]
    except (OSError, http.client.HTTPException, ValueError, KeyError, IndexError) as error:
        raise ComponentFailed(
            f"Envoy on {host.name} does not say its version: {error}", component="sidecar"
        ) from error


def _answer(admin: Path, path: str) -> str:
    with connected(admin, 5) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n".encode())
        response = http.client.HTTPResponse(connection)
        response.begin()
        return response.read().decode().strip()
