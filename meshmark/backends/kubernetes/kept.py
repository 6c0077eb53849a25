"""What is kept of pods before they are removed, whether they ever started or not: logs, and the cluster's events."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from meshmark.backends.kubernetes import ownership, state
from meshmark.backends.kubernetes.api import Api
from meshmark.backends.kubernetes.brokers import host_of
from meshmark.backends.kubernetes.manifest import Body
from meshmark.errors import MeshmarkError

EVENTS = "events.log"
LOG_LINES = 5_000
"""Of a container, the last ones."""


def kept(api: Api, namespace: str, directory: Path, cluster: str = "") -> dict[str, Path]:
    """Name -> file, in that directory: as far as they can be had. A container that wrote nothing has none. Events are
    of that cluster of a topology."""
    texts: dict[str, str] = {}
    with suppress(MeshmarkError):
        texts[f"{cluster}.{EVENTS}" if cluster else EVENTS] = state.history(api, namespace)
        for pod in ownership.pods(api, namespace):
            name, host = pod["metadata"]["name"], host_of(pod)
            for container in _containers(pod):
                with suppress(MeshmarkError):  # one that never ran has no log
                    texts[f"{host}-{container}.log"] = api.log(name, namespace, container, LOG_LINES)
    files = {name: directory / name for name, text in texts.items() if text}
    for name, file in files.items():
        file.write_text(texts[name], encoding="utf-8")
    return files


def _containers(pod: Body) -> Iterator[str]:
    for key in ("initContainers", "containers"):
        for each in pod["spec"].get(key) or ():
            yield each["name"]
