"""CPU time, and what CPU limits did, by the kubelets of the nodes that pods are on, asked over and over in a thread.

    with Kubelets(ask, nodes, namespace) as source:
        ...
    told = source.read(time.time())

CPU time is in `/stats/summary` at each kubelet's own port, which takes the right to `get nodes/stats`, and how limits
held containers back on cAdvisor's page, which takes `get nodes/metrics`; through the API server both would take
`nodes/proxy`, which is also a right to run commands in every pod. A kubelet reads control groups every 10 to 15 s and
says when it did; asking more often gives the same reading again, which counts once.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any, Self

import httpx2
import msgspec
from lightkube.config import client_adapter
from lightkube.config.kubeconfig import SingleConfig
from lightkube.core.exceptions import ConfigError

from meshmark.backends.kubernetes import cadvisor
from meshmark.errors import ClusterUnreachable, MeshmarkError, NoRights, UsageError
from meshmark.nodes import KUBELET, NODE, PODS, RUNTIME, ZTUNNEL, ZTUNNEL_PODS, CpuReading, Metered, QuotaReading

PORT = 10_250
SUMMARY = "/stats/summary?only_cpu_and_memory=true"
CADVISOR = "/metrics/cadvisor"
POLL_S = 5.0
CADVISOR_EACH = 3
"""Times: of that page, which has all series of all containers, a few in a round are enough."""
TIMEOUT_S = 5.0
NANO = 1e-9

Ask = Callable[[str, str], str]
"""The address of a node and a path -> what its kubelet answers. Raises a MeshmarkError."""


class Kubelets:
    """Asks from its `with` on. `nodes`: name -> address. `required`: entering it raises what keeps one from answering;
    otherwise `read` tells."""

    def __init__(self, ask: Ask, nodes: Mapping[str, str], namespace: str, *, required: bool) -> None:
        self._ask, self._nodes, self._namespace, self._required = ask, nodes, namespace, required
        self._cpu: dict[tuple[str, str, float], CpuReading] = {}
        self._quotas: dict[tuple[str, str, float], QuotaReading] = {}
        self._failed: dict[str, list[str]] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        if self._required:
            for node, address in self._nodes.items():
                self._ask_for_cpu(node, address)
                self._ask_for_quotas(node, address)
        pool = self._stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="kubelets"))
        self._asking: Future[None] = pool.submit(self._ask_until_stopped)
        self._stack.callback(self._stop.set)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
        self._asking.result()

    def read(self, now_at: float) -> Metered:
        """Implements `metering.Meter`, with a last question."""
        self._ask_all(quotas=True)
        with self._lock:
            cpu, quotas = list(self._cpu.values()), list(self._quotas.values())
            problems = [
                f"the kubelet of {node} did not answer {len(each)} times, at last: {each[-1]}"
                for node, each in self._failed.items()
            ]
        return Metered.of(cpu, quotas, problems)

    def _ask_all(self, *, quotas: bool) -> None:
        for node, address in self._nodes.items():
            try:
                self._ask_for_cpu(node, address)
                if quotas:
                    self._ask_for_quotas(node, address)
            except MeshmarkError as error:
                with self._lock:
                    self._failed.setdefault(node, []).append(error.message)

    def _ask_for_cpu(self, node: str, address: str) -> None:
        found = list(readings(self._ask(address, SUMMARY), node, self._namespace))
        with self._lock:
            self._cpu |= {(each.node, each.part, each.read_at): each for each in found}

    def _ask_for_quotas(self, node: str, address: str) -> None:
        page = self._ask(address, CADVISOR)
        try:
            found = list(cadvisor.quotas(cadvisor.samples(page), lambda _: node, self._namespace))
        except ValueError as error:
            raise ClusterUnreachable(
                f"what answers as the kubelet of {node} has no page of cAdvisor: {error}",
                hint=f"Is something else at its port {PORT}?",
            ) from None
        with self._lock:
            self._quotas |= {(each.node, each.part, each.read_at): each for each in found}

    def _ask_until_stopped(self) -> None:
        for number in count():
            self._ask_all(quotas=number % CADVISOR_EACH == 0)
            if self._stop.wait(POLL_S):
                return


@contextmanager
def asking(config: SingleConfig, authority: str | None) -> Iterator[Ask]:
    """As the user of that context. `authority` as `metering.Metering` has it. Raises UsageError where it cannot be
    read."""
    trusted = config.cluster
    if authority == "" and trusted.insecure:
        raise UsageError(
            "the kubeconfig verifies no certificate of this cluster (insecure-skip-tls-verify), so its kubelets' "
            "cannot be verified either",
            hint="--kubelet-ca FILE names their authority; --kubelet-ca unverified asks whoever answers there, and "
            "shows it this user's token.",
        )
    if authority != "":
        trusted = msgspec.structs.replace(
            trusted,
            certificate_auth=authority and str(Path(authority).absolute()),
            certificate_auth_data=None,
            insecure=authority is None,
        )
    clients: dict[str, httpx2.Client] = {}
    with ExitStack() as stack:

        def ask(address: str, path: str) -> str:
            if address not in clients:
                host = f"[{address}]" if ":" in address else address
                there = msgspec.structs.replace(trusted, server=f"https://{host}:{PORT}")
                parameters = client_adapter.ConnectionParams(timeout=httpx2.Timeout(TIMEOUT_S), trust_env=False)
                try:
                    made = client_adapter.Client(config._replace(cluster=there), parameters)
                except (OSError, ValueError) as error:
                    raise UsageError(f"--kubelet-ca {authority} cannot be used: {error}") from None
                clients[address] = stack.enter_context(made)
            return _answer(clients[address], address, path)

        yield ask


def _answer(client: httpx2.Client, address: str, path: str) -> str:
    try:
        answer = client.get(path)
    except (ConfigError, OSError, ValueError) as error:  # lightkube's: of a command or a file of the kubeconfig
        raise NoRights(
            f"the credentials for the kubelet at {address}:{PORT} cannot be had: {error}",
            hint="The kubeconfig names a command, or a file, that gives them; does it work by itself?",
        ) from None
    except httpx2.HTTPError as error:
        raise ClusterUnreachable(
            f"the kubelet at {address}:{PORT} cannot be asked: {str(error) or type(error).__name__}",
            hint="It has to be reached from here, as from a pod or a node of the cluster. Is its certificate of "
            "another authority than the API server's, --kubelet-ca FILE names that; --kubelet-ca unverified asks "
            "whoever answers there, and shows it this user's token.",
        ) from None
    if answer.status_code in (httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN):
        raise NoRights(
            f"the kubelet at {address}:{PORT} answered {answer.status_code}: {answer.text[:200].strip()}",
            hint="It takes this user's credentials by itself; the ClusterRole meshmark-nodes has the rights.",
        )
    if answer.status_code != httpx2.codes.OK:
        raise ClusterUnreachable(
            f"the kubelet at {address}:{PORT} answered {answer.status_code}: {answer.text[:200].strip()}",
            hint="Leave --kubelet out, or try again when it is well.",
        )
    return answer.text


def readings(text: str, node: str, namespace: str) -> Iterator[CpuReading]:
    """Of a summary: the node, all its pods, the kubelet and the runtime, as far as the kubelet knows their control
    groups, ztunnel, and every container of the pods in that namespace. Raises ClusterUnreachable where it is none."""
    try:
        summary = json.loads(text)
        parts = {NODE: summary["node"]}
        for each in summary["node"].get("systemContainers") or []:
            if each["name"] in (PODS, KUBELET, RUNTIME):
                parts[each["name"]] = each
        for pod in summary["pods"] or []:
            space, name = pod["podRef"]["namespace"], pod["podRef"]["name"]
            for container in pod.get("containers") or []:
                if space == namespace:
                    parts[f"{name}/{container['name']}"] = container
                elif space == ZTUNNEL_PODS[0] and name.startswith(ZTUNNEL_PODS[1]):
                    parts[ZTUNNEL] = container
        found = {
            part: (cpu["time"], cpu["usageCoreNanoSeconds"]) for part, body in parts.items() if (cpu := _cpu(body))
        }
        for part, (at, used) in found.items():
            yield CpuReading(node=node, part=part, read_at=_seconds(at), cpu_s=used * NANO)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ClusterUnreachable(
            f"what answers as the kubelet of {node} gives no summary: {error!r}",
            hint=f"Is something else at its port {PORT}?",
        ) from None


def _cpu(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """None where it was not read yet."""
    cpu = body.get("cpu") or {}
    return cpu if "usageCoreNanoSeconds" in cpu else None


def _seconds(text: str) -> float:
    """RFC 3339, as Go writes it: with up to nine digits of a second."""
    whole, point, rest = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{whole}+00:00").timestamp() + (float(f"0.{rest}") if point else 0.0)
