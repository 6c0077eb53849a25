"""A fake API server, and a kubeconfig that names it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from meshmark.backends.kubernetes import lifecycle
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
