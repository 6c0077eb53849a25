"""Who everybody in a test cluster is: certificates of one authority that all trust, and kubeconfigs with them."""

from __future__ import annotations

import base64
import ipaddress
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

from meshmark.dataplane.identity import Authority, Identity
from tests.kubernetes.place import LOOPBACK

SERVICE_NETWORK = "10.96.0.0/16"
API_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
ADMINISTRATORS = "system:masters"
FRONT_PROXY = "front-proxy-client"
CONTEXT = "meshmark-test"
"""In each kubeconfig."""


class Credentials:
    """Of one cluster, whose API server is at this address and port; files in `directory`."""

    def __init__(self, directory: Path, address: str, port: int) -> None:
        self.server = f"https://{address}:{port}"
        self._address = address
        self._directory = directory
        self._authority = Authority(directory / "pki", "meshmark-test-cluster")
        self._front_proxies = Authority(directory / "pki-front-proxy", "meshmark-test-front-proxy")
        self.authority = self._authority.path
        self.front_proxies = self._front_proxies.path
        self.administrator = self.identity("administrator", ADMINISTRATORS)
        self.accounts = self.identity("service-accounts").key

    def identity(self, user: str, group: str = "", *, addresses: Sequence[str] = ()) -> Identity:
        """Of a user as Kubernetes reads one from a certificate, who may also serve on loopback, at the API server's
        address and at `addresses`."""
        return _issue(self._authority, user, group, (self._address, *addresses))

    def front_proxy(self) -> Identity:
        """Of the API server before servers that it passes requests on to."""
        return _issue(self._front_proxies, FRONT_PROXY, "", ())

    def kubeconfig(self, name: str, identity: Identity) -> Path:
        """The path of a new file."""
        keys = {"client-certificate-data": _base64(identity.chain), "client-key-data": _base64(identity.key)}
        return self.write_kubeconfig(name, keys)

    def write_kubeconfig(self, name: str, user: Mapping[str, str], *, namespace: str = "default") -> Path:
        """With everything in it, so that the file alone can be passed on; JSON is YAML."""
        path = self._directory / f"{name}.kubeconfig"
        cluster = {"server": self.server, "certificate-authority-data": _base64(self.authority)}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": CONTEXT, "cluster": cluster}],
            "users": [{"name": CONTEXT, "user": dict(user)}],
            "contexts": [{"name": CONTEXT, "context": {"cluster": CONTEXT, "user": CONTEXT, "namespace": namespace}}],
            "current-context": CONTEXT,
        }
        _write(path, content)
        return path


def merged(path: Path, kubeconfigs: Mapping[str, Path]) -> Path:
    """Writes one kubeconfig of several that `Credentials` wrote, with a context for each by its name here."""
    content: dict[str, Any] = {"apiVersion": "v1", "kind": "Config", "clusters": [], "users": [], "contexts": []}
    for name, file in kubeconfigs.items():
        read = json.loads(file.read_text(encoding="utf-8"))
        content["clusters"].append({"name": name, "cluster": read["clusters"][0]["cluster"]})
        content["users"].append({"name": name, "user": read["users"][0]["user"]})
        content["contexts"].append({"name": name, "context": {"cluster": name, "user": name}})
    _write(path, content)
    return path


def _write(path: Path, content: object) -> None:
    path.touch(mode=0o600)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _issue(authority: Authority, user: str, group: str, addresses: Sequence[str]) -> Identity:
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, user)]
    if group:
        subject.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in API_NAMES]
    service = ipaddress.ip_network(SERVICE_NETWORK)[1]
    own = (ipaddress.ip_address(address) for address in dict.fromkeys((LOOPBACK, *addresses)))
    names += [x509.IPAddress(address) for address in (*own, service)]
    return authority.issue(user.replace(":", "-"), "component", names, x509.Name(subject))


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")
