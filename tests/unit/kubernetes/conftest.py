"""A fake API server, and a kubeconfig that names it."""

from __future__ import annotations

from collections.abc import Iterator
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


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    monkeypatch.setattr(lifecycle, "POLL_S", 0.01)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    made = FakeApi()
    with served(made) as server:
        write_kubeconfig(tmp_path / "kubeconfig", server)
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        yield made
