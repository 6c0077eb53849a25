"""A fake API server, or two, and a kubeconfig that names them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from meshmark.backends.kubernetes import lifecycle, sites
from meshmark.backends.kubernetes.kinds import CONFIG_MAP
from tests.unit.kubernetes.fake_api import TOKEN, FakeApi
from tests.unit.kubernetes.fake_http import served

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: fake
clusters: [{{name: here, cluster: {{server: "{server}"}}}}]
users: [{{name: me, user: {{token: {token}}}}}, {{name: nobody, user: {{token: bad}}}}]
contexts:
- {{name: fake, context: {{cluster: here, user: me}}}}
- {{name: stranger, context: {{cluster: here, user: nobody}}}}
- {{name: broken, context: {{cluster: there, user: me}}}}
"""


def write_kubeconfig(path: Path, server: str) -> None:
    path.write_text(KUBECONFIG.format(server=server, token=TOKEN), encoding="utf-8")


@contextmanager
def faked(directory: Path) -> Iterator[FakeApi]:
    """Its kubeconfig is in that directory."""
    made = FakeApi()
    with pytest.MonkeyPatch.context() as patch, served(made) as server:
        write_kubeconfig(directory / "kubeconfig", server)
        patch.setattr(lifecycle, "POLL_S", 0.01)
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.setenv("KUBECONFIG", str(directory / "kubeconfig"))
        yield made


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeApi]:
    with faked(tmp_path) as made:
        yield made


SPACE = "meshmark-istio-mtls"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n"


class Two(NamedTuple):
    """Clusters of the contexts `first` and `second`."""

    first: FakeApi
    second: FakeApi

    def rooted(self, first: str = "same", second: str = "same") -> None:
        """As their istiods put their roots of trust into the namespace."""
        for fake, root in zip(self, (first, second), strict=True):
            fake.put(CONFIG_MAP, sites.ROOT, SPACE, data={sites.ROOT_KEY: CERTIFICATE.format(root)})


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Two]:
    monkeypatch.setattr(lifecycle, "POLL_S", 0.01)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    made = Two(FakeApi(runs=True), FakeApi(runs=True, address="127.0.0.2"))
    with ExitStack() as stack:
        servers = dict(zip(("first", "second"), (stack.enter_context(served(each)) for each in made), strict=True))
        servers["again"] = servers["first"]
        kubeconfig = {
            "clusters": [{"name": name, "cluster": {"server": server}} for name, server in servers.items()],
            "users": [{"name": "me", "user": {"token": TOKEN}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": "me"}} for name in servers],
        }
        (tmp_path / "kubeconfig").write_text(json.dumps(kubeconfig), encoding="utf-8")
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        yield made
