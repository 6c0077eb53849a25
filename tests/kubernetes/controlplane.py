"""A real Kubernetes control plane for as long as a context lasts, on loopback if no other place is said; no node.

etcd, kube-apiserver and, where they have been built too, kube-controller-manager and kube-scheduler, as `build` made
them, each with a certificate of its own and the rights that Kubernetes itself gives to its kind. All that they write
is in one directory of an instance of the lab, of which whatever ends this process leaves nothing running; the
directory goes with the context, or with the next start of any instance.

Limits: one member of etcd, its data in memory; nothing runs pods, so they stay pending.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from meshmark.backends.lab.instance import Instance, unlocked_instance
from meshmark.backends.lab.link import Host
from meshmark.backends.lab.namespace import NetworkNamespace
from meshmark.backends.lab.process import LabProcess, running, stop_all
from meshmark.dataplane.identity import Identity
from meshmark.errors import MissingRequirement
from tests.kubernetes import build
from tests.kubernetes.credentials import ADMINISTRATORS, API_NAMES, FRONT_PROXY, SERVICE_NETWORK, Credentials
from tests.kubernetes.place import HERE, LOOPBACK, Place

API_SERVER = "kube-apiserver"
ISSUER = f"https://{API_NAMES[-1]}"
START_TIMEOUT_S = 180.0
COMMAND_TIMEOUT_S = 180.0
ANSWER_TIMEOUT_S = 10.0
POLL_S = 0.05
TOKEN = "--duration=24h"


@dataclass(frozen=True, kw_only=True)
class ControlPlane:
    """A cluster that answers at `server`, without nodes unless one joined (`node.py`); `kubeconfig` is an
    administrator's. `host` is where its parts run, and `place` where that is."""

    host: Host
    place: Place
    kubeconfig: Path
    credentials: Credentials
    parts: Parts

    @contextmanager
    def api_server_away(self) -> Iterator[None]:
        """It is killed, and another one over the same data answers afterwards."""
        self.parts.end(API_SERVER)
        try:
            yield
        finally:
            self.parts.start(API_SERVER)

    @property
    def server(self) -> str:
        return self.credentials.server

    @property
    def directory(self) -> Path:
        return self.host.directory

    def kubectl(
        self, *arguments: str, kubeconfig: Path | None = None, stdin: object = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Runs kubectl, as administrator unless `kubeconfig` is another's. An object as `stdin` is given as JSON.
        Raises AssertionError with what kubectl said if it fails and `check` is set."""
        argv = [str(build.path(build.KUBECTL)), *arguments]
        text = None if stdin is None else json.dumps(stdin)
        done = self.run(argv, kubeconfig=kubeconfig, text=text, timeout_s=COMMAND_TIMEOUT_S)
        assert done.returncode == 0 or not check, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        kubeconfig: Path | None = None,
        text: str | None = None,
        directory: Path | None = None,
        more: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """A command in the cluster's network, with `text` as its input and `more` in its environment."""
        return self.host.call(
            partial(
                subprocess.run,
                argv,
                input=text,
                env=self.environment(kubeconfig) | dict(more or {}),
                cwd=directory,
                capture_output=True,
                text=True,
                check=False,
                timeout=timeout_s,
            )
        )

    def environment(self, kubeconfig: Path | None = None) -> dict[str, str]:
        """For a command that reads KUBECONFIG; what it keeps goes with the cluster."""
        cache = str(self.directory / "kubectl-cache")
        return os.environ | {"KUBECONFIG": str(kubeconfig or self.kubeconfig), "KUBECACHEDIR": cache}

    def account(
        self, name: str, namespace: str, *, within: Sequence[str] = (), everywhere: Sequence[str] = ()
    ) -> Path:
        """The kubeconfig of a new service account in a namespace that is there. It has the rights of `within` in that
        namespace (`role=NAME`, `clusterrole=NAME`) and of the ClusterRoles `everywhere` in all of the cluster, and no
        others beyond what everybody has."""
        self.kubectl("create", "serviceaccount", name, "--namespace", namespace)
        subject = f"--serviceaccount={namespace}:{name}"
        for number, role in enumerate(within):
            binding = ("rolebinding", f"{name}-{number}", "--namespace", namespace)
            self.kubectl("create", *binding, f"--{role}", subject)
        for role in everywhere:
            cluster_wide = ("clusterrolebinding", f"{namespace}-{name}-{role}", f"--clusterrole={role}")
            self.kubectl("create", *cluster_wide, subject)
        token = self.kubectl("create", "token", name, "--namespace", namespace, TOKEN).stdout.strip()
        return self.credentials.write_kubeconfig(f"{namespace}-{name}", {"token": token}, namespace=namespace)


@contextmanager
def control_plane(place: Place = HERE) -> Iterator[ControlPlane]:
    """Starts one there and waits until it serves and its controllers, if it has them, work. Raises MissingRequirement
    if it is not built, ComponentFailed with the end of the log of a part that does not come up."""
    if absent := build.missing(build.API):
        raise MissingRequirement(f"not there: {', '.join(absent)}", hint=f"Get them with {build.advice(absent)}.")
    with ExitStack() as stack:
        instance = stack.enter_context(unlocked_instance("kubernetes"))
        host = stack.enter_context(_host(instance, place))
        start = _Start(host, instance)
        parts = Parts(host, start, stack)
        for part in start.parts:
            parts.start(part)
        if not build.missing(build.CONTROLLERS):
            parts.wait(partial(start.asked, "/api/v1/namespaces/default/serviceaccounts/default"))
        who = start.credentials
        yield ControlPlane(
            host=host,
            place=place,
            kubeconfig=who.kubeconfig("admin", who.administrator),
            credentials=who,
            parts=parts,
        )


class Parts:
    """Those that run, until the stack ends."""

    def __init__(self, host: Host, told: _Start, stack: ExitStack) -> None:
        self._host, self._told, self._stack = host, told, stack
        self._processes: dict[str, LabProcess] = {}

    def start(self, part: str) -> None:
        """Returns when it is ready."""
        arguments, ready = self._told.parts[part]
        self._processes.pop(part, None)
        self._processes[part] = self._stack.enter_context(component(self._host, part, arguments))
        self.wait(ready)

    def end(self, part: str) -> None:
        """At once."""
        stop_all([self._processes[part]], grace_s=0)

    def wait(self, problem: Callable[[], str]) -> None:
        wait(problem, [*self._processes.values()])


def component(host: Host, part: str, arguments: Sequence[str]) -> AbstractContextManager[LabProcess]:
    """A part that runs. It is killed at once when it ends: nothing of it is kept."""
    argv = [str(build.path(part)), *arguments]
    log = host.directory / f"{part}.log"
    return running(host, argv, name=part, component="kubernetes", log=log, grace_s=0)


@contextmanager
def _host(instance: Instance, place: Place) -> Iterator[Host]:
    directory = instance.path / "control-plane"
    directory.mkdir()
    descriptor = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        here = place.namespace or NetworkNamespace(descriptor)
        yield Host(
            name="control-plane",
            address=place.serves_at,
            namespace=here,
            switch=here,
            directory=directory,
            instance_id=instance.id,
            groups=None,
        )
    finally:
        os.close(descriptor)


class _Start:
    """What the parts are told: ports, certificates, flags; and how each is asked whether it is ready."""

    def __init__(self, host: Host, instance: Instance) -> None:
        self._host = host
        self._data = instance.memory_directory() / "etcd"
        self._etcd, self._peers, self._api = host.call(partial(free_ports, 3))
        self.credentials = Credentials(host.directory, host.address, self._api)
        self.parts: dict[str, tuple[list[str], Callable[[], str]]] = {
            "etcd": (self._etcd_flags(), partial(self._answer, self._etcd, "/readyz")),
            API_SERVER: (self._api_flags(), partial(self.asked, "/readyz?verbose")),
        }
        """Flags, and what is wrong with it until it is ready; in the order of their start."""
        for part in build.CONTROLLERS:
            if not build.missing([part]):
                [port] = host.call(partial(free_ports, 1))
                self.parts[part] = self._controller_flags(part, port), partial(self._answer, port, "/healthz")

    def asked(self, path: str) -> str:
        """Empty once the API server gives what is at `path`."""
        return self._answer(self._api, path, self._host.address)

    def _etcd_flags(self) -> list[str]:
        own = self.credentials.identity("etcd")
        clients, peers = (f"https://{LOOPBACK}:{port}" for port in (self._etcd, self._peers))
        shared = {"trusted-ca-file": self.credentials.authority, "cert-file": own.chain, "key-file": own.key}
        return [
            *flags(
                name="etcd",
                data_dir=self._data,
                listen_client_urls=clients,
                advertise_client_urls=clients,
                listen_peer_urls=peers,
                initial_advertise_peer_urls=peers,
                initial_cluster=f"etcd={peers}",
            ),
            *(f"--{prefix}{name}={value}" for prefix in ("", "peer-") for name, value in shared.items()),
            "--client-cert-auth",
            "--peer-client-cert-auth",
            "--unsafe-no-fsync",
        ]

    def _api_flags(self) -> list[str]:
        who = self.credentials
        to_etcd, proxy = who.identity("apiserver-etcd-client"), who.front_proxy()
        to_kubelet = who.identity("apiserver-kubelet-client", ADMINISTRATORS)
        return flags(
            bind_address=self._host.address,
            advertise_address=self._host.address,
            secure_port=self._api,
            endpoint_reconciler_type="none",
            etcd_servers=f"https://{LOOPBACK}:{self._etcd}",
            etcd_cafile=who.authority,
            etcd_certfile=to_etcd.chain,
            etcd_keyfile=to_etcd.key,
            client_ca_file=who.authority,
            **_served_as(who.identity("kube-apiserver")),
            kubelet_certificate_authority=who.authority,
            kubelet_client_certificate=to_kubelet.chain,
            kubelet_client_key=to_kubelet.key,
            kubelet_preferred_address_types="InternalIP",
            authorization_mode="Node,RBAC",
            enable_admission_plugins="NodeRestriction",
            allow_privileged="true",
            service_cluster_ip_range=SERVICE_NETWORK,
            service_account_issuer=ISSUER,
            service_account_key_file=who.accounts,
            service_account_signing_key_file=who.accounts,
            requestheader_client_ca_file=who.front_proxies,
            requestheader_allowed_names=FRONT_PROXY,
            requestheader_username_headers="X-Remote-User",
            requestheader_group_headers="X-Remote-Group",
            requestheader_extra_headers_prefix="X-Remote-Extra-",
            proxy_client_cert_file=proxy.chain,
            proxy_client_key_file=proxy.key,
            profiling="false",
        )

    def _controller_flags(self, part: str, port: int) -> list[str]:
        own = self.credentials.identity(f"system:{part}")
        kubeconfig = self.credentials.kubeconfig(part, own)
        common = flags(
            kubeconfig=kubeconfig,
            authentication_kubeconfig=kubeconfig,
            authorization_kubeconfig=kubeconfig,
            bind_address=LOOPBACK,
            secure_port=port,
            leader_elect="false",
            profiling="false",
            **_served_as(own),
        )
        if part != "kube-controller-manager":
            return common
        return common + flags(
            root_ca_file=self.credentials.authority,
            service_account_private_key_file=self.credentials.accounts,
            use_service_account_credentials="true",
        )

    def _answer(self, port: int, path: str, address: str = LOOPBACK) -> str:
        trusted = ssl.create_default_context(cafile=str(self.credentials.authority))
        trusted.load_cert_chain(self.credentials.administrator.chain, self.credentials.administrator.key)
        connection = http.client.HTTPSConnection(address, port, context=trusted, timeout=ANSWER_TIMEOUT_S)
        return self._host.call(partial(answer, connection, path))


def plain_answer(host: Host, port: int, path: str) -> str:
    """What is wrong with a part that serves HTTP on the host's loopback."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=ANSWER_TIMEOUT_S)
    return host.call(partial(answer, connection, path))


def answer(connection: http.client.HTTPConnection, path: str) -> str:
    """What is wrong: nothing once the status is 200."""
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return f"{path}: {error}"
    finally:
        connection.close()
    return "" if response.status == http.client.OK else f"{path}: status {response.status}: {body}"


def free_ports(count: int) -> list[int]:
    """Of loopback, as the kernel gives them; another process could take one before it is used."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [int(each.getsockname()[1]) for each in sockets]


def wait(problem: Callable[[], str], processes: Sequence[LabProcess]) -> None:
    """Until there is none; the last one that was started is whom it is about."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while state := problem():
        for process in processes:
            process.check()
        if time.monotonic() > deadline:
            raise processes[-1].failure(f"is not ready after {START_TIMEOUT_S:g} s: {state}")
        time.sleep(POLL_S)


def flags(**values: object) -> list[str]:
    return [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]


def _served_as(identity: Identity) -> dict[str, Path]:
    return {"tls_cert_file": identity.chain, "tls_private_key_file": identity.key}
