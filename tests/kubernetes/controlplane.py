"""A real Kubernetes control plane on this machine's loopback, for as long as a context lasts; no node.

etcd, kube-apiserver and, where they have been built too, kube-controller-manager and kube-scheduler, as `build` made
them, each with a certificate of its own and the rights that Kubernetes itself gives to its kind. All that they write
is in one directory of an instance of the lab, of which whatever ends this process leaves nothing running; the
directory goes with the context, or with the next start of any instance.

Limits: one member of etcd, its data in memory; nothing runs pods, so they stay pending.
"""

from __future__ import annotations

import base64
import http.client
import ipaddress
import json
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

from meshmark.backends.lab.instance import Instance, unlocked_instance
from meshmark.backends.lab.link import Host
from meshmark.backends.lab.namespace import NetworkNamespace
from meshmark.backends.lab.process import LabProcess, running
from meshmark.dataplane.identity import Authority, Identity
from meshmark.errors import MissingRequirement
from tests.kubernetes import build

ADDRESS = "127.0.0.1"
SERVICE_NETWORK = "10.96.0.0/16"
API_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
ISSUER = f"https://{API_NAMES[-1]}"
ADMINISTRATORS = "system:masters"
FRONT_PROXY = "front-proxy-client"
CONTEXT = "meshmark-test"
"""In each kubeconfig."""
START_TIMEOUT_S = 90.0
COMMAND_TIMEOUT_S = 60.0
POLL_S = 0.05


@dataclass(frozen=True, kw_only=True)
class ControlPlane:
    """A cluster without nodes that answers at `server`; `kubeconfig` is an administrator's."""

    directory: Path
    server: str
    kubeconfig: Path
    authority: Path

    def kubectl(
        self, *arguments: str, kubeconfig: Path | None = None, stdin: object = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Runs kubectl, as administrator unless `kubeconfig` is another's. An object as `stdin` is given as JSON.
        Raises AssertionError with what kubectl said if it fails and `check` is set."""
        done = subprocess.run(
            [str(build.path(build.KUBECTL)), *arguments],
            input=None if stdin is None else json.dumps(stdin),
            env=self.environment(kubeconfig),
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_TIMEOUT_S,
        )
        assert done.returncode == 0 or not check, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done

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
        token = self.kubectl("create", "token", name, "--namespace", namespace).stdout.strip()
        path = self.directory / f"{namespace}-{name}.kubeconfig"
        _write_kubeconfig(path, self.server, self.authority, {"token": token}, namespace=namespace)
        return path


@contextmanager
def control_plane() -> Iterator[ControlPlane]:
    """Starts one and waits until it serves and its controllers, if it has them, work. Raises MissingRequirement if it
    is not built, ComponentFailed with the end of the log of a part that does not come up."""
    if absent := build.missing(build.API):
        raise MissingRequirement(f"not built: {', '.join(absent)}", hint=f"Run `{build.COMMAND}`.")
    with ExitStack() as stack:
        instance = stack.enter_context(unlocked_instance("kubernetes"))
        host = stack.enter_context(_host(instance))
        start = _Start(host, instance)
        processes: list[LabProcess] = []
        for part, arguments, ready in start.parts():
            log = host.directory / f"{part}.log"
            argv = [str(build.path(part)), *arguments]
            # Killed at once when it ends: nothing of it is kept.
            process = running(host, argv, name=part, component="kubernetes", log=log, grace_s=0)
            processes.append(stack.enter_context(process))
            _wait(ready, processes)
        plane = ControlPlane(
            directory=host.directory,
            server=start.server,
            kubeconfig=start.administrator(),
            authority=start.authority.path,
        )
        if not build.missing(build.CONTROLLERS):
            _wait(partial(start.asked, "/api/v1/namespaces/default/serviceaccounts/default"), processes)
        yield plane


@contextmanager
def _host(instance: Instance) -> Iterator[Host]:
    """The network that this process is in."""
    directory = instance.path / "control-plane"
    directory.mkdir()
    descriptor = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        here = NetworkNamespace(descriptor)
        yield Host(
            name="control-plane",
            address=ADDRESS,
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
        self._home = host.directory
        self._data = instance.memory_directory() / "etcd"
        self.authority = Authority(self._home / "pki", "meshmark-test-cluster")
        self._front_proxy = Authority(self._home / "pki-front-proxy", "meshmark-test-front-proxy")
        self._etcd, self._peers, self._api = free_ports(3)
        self.server = f"https://{ADDRESS}:{self._api}"
        self._admin = self._identity("administrator", ADMINISTRATORS)
        self._accounts = self._identity("service-accounts").key

    def parts(self) -> Iterator[tuple[str, list[str], Callable[[], str]]]:
        """Part, flags, and what is wrong with it until it is ready; in the order of their start."""
        yield "etcd", self._etcd_flags(), partial(self._answer, self._etcd, "/readyz")
        yield "kube-apiserver", self._api_flags(), partial(self._answer, self._api, "/readyz?verbose")
        for part in build.CONTROLLERS:
            if not build.missing([part]):
                [port] = free_ports(1)
                yield part, self._controller_flags(part, port), partial(self._answer, port, "/healthz")

    def administrator(self) -> Path:
        """A kubeconfig."""
        return self._kubeconfig("admin", self._admin)

    def _kubeconfig(self, name: str, identity: Identity) -> Path:
        path = self._home / f"{name}.kubeconfig"
        credentials = {
            "client-certificate-data": _base64(identity.chain),
            "client-key-data": _base64(identity.key),
        }
        _write_kubeconfig(path, self.server, self.authority.path, credentials)
        return path

    def asked(self, path: str) -> str:
        """Empty once the API server gives what is at `path`."""
        return self._answer(self._api, path)

    def _etcd_flags(self) -> list[str]:
        own = self._identity("etcd")
        clients, peers = f"https://{ADDRESS}:{self._etcd}", f"https://{ADDRESS}:{self._peers}"
        shared = {"trusted-ca-file": self.authority.path, "cert-file": own.chain, "key-file": own.key}
        return [
            *_flags(
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
        to_etcd, proxy = self._identity("apiserver-etcd-client"), self._identity(FRONT_PROXY, by=self._front_proxy)
        return _flags(
            bind_address=ADDRESS,
            advertise_address=ADDRESS,
            secure_port=self._api,
            endpoint_reconciler_type="none",
            etcd_servers=f"https://{ADDRESS}:{self._etcd}",
            etcd_cafile=self.authority.path,
            etcd_certfile=to_etcd.chain,
            etcd_keyfile=to_etcd.key,
            client_ca_file=self.authority.path,
            **_served_as(self._identity("kube-apiserver")),
            authorization_mode="Node,RBAC",
            enable_admission_plugins="NodeRestriction",
            allow_privileged="true",
            service_cluster_ip_range=SERVICE_NETWORK,
            service_account_issuer=ISSUER,
            service_account_key_file=self._accounts,
            service_account_signing_key_file=self._accounts,
            requestheader_client_ca_file=self._front_proxy.path,
            requestheader_allowed_names=FRONT_PROXY,
            requestheader_username_headers="X-Remote-User",
            requestheader_group_headers="X-Remote-Group",
            requestheader_extra_headers_prefix="X-Remote-Extra-",
            proxy_client_cert_file=proxy.chain,
            proxy_client_key_file=proxy.key,
            profiling="false",
        )

    def _controller_flags(self, part: str, port: int) -> list[str]:
        own = self._identity(f"system:{part}")
        kubeconfig = self._kubeconfig(part, own)
        common = _flags(
            kubeconfig=kubeconfig,
            authentication_kubeconfig=kubeconfig,
            authorization_kubeconfig=kubeconfig,
            bind_address=ADDRESS,
            secure_port=port,
            leader_elect="false",
            profiling="false",
            **_served_as(own),
        )
        if part != "kube-controller-manager":
            return common
        return common + _flags(
            root_ca_file=self.authority.path,
            service_account_private_key_file=self._accounts,
            use_service_account_credentials="true",
        )

    def _identity(self, user: str, group: str = "", *, by: Authority | None = None) -> Identity:
        """Of a user as Kubernetes reads one from a certificate, who may also serve on loopback."""
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, user)]
        if group:
            subject.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
        service = ipaddress.ip_network(SERVICE_NETWORK)[1]
        names: list[x509.GeneralName] = [x509.DNSName(name) for name in API_NAMES]
        names += [x509.IPAddress(address) for address in (ipaddress.ip_address(ADDRESS), service)]
        return (by or self.authority).issue(user.replace(":", "-"), "component", names, x509.Name(subject))

    def _answer(self, port: int, path: str) -> str:
        """What is wrong: nothing once the status is 200."""
        trusted = ssl.create_default_context(cafile=str(self.authority.path))
        trusted.load_cert_chain(self._admin.chain, self._admin.key)
        connection = http.client.HTTPSConnection(ADDRESS, port, context=trusted, timeout=10)
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
            each.bind((ADDRESS, 0))
        return [int(each.getsockname()[1]) for each in sockets]


def _wait(problem: Callable[[], str], processes: Sequence[LabProcess]) -> None:
    """Until there is none; the last one that was started is whom it is about."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while state := problem():
        for process in processes:
            process.check()
        if time.monotonic() > deadline:
            raise processes[-1].failure(f"is not ready after {START_TIMEOUT_S:g} s: {state}")
        time.sleep(POLL_S)


def _flags(**values: object) -> list[str]:
    return [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]


def _served_as(identity: Identity) -> dict[str, Path]:
    return {"tls_cert_file": identity.chain, "tls_private_key_file": identity.key}


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")


def _write_kubeconfig(
    path: Path, server: str, authority: Path, credentials: dict[str, str], *, namespace: str = "default"
) -> None:
    """With everything in it, so that the file alone can be passed on; JSON is YAML."""
    context = {"cluster": CONTEXT, "user": CONTEXT, "namespace": namespace}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": CONTEXT, "cluster": {"server": server, "certificate-authority-data": _base64(authority)}}
        ],
        "users": [{"name": CONTEXT, "user": credentials}],
        "contexts": [{"name": CONTEXT, "context": context}],
        "current-context": CONTEXT,
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
