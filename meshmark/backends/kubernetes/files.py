"""Objects as YAML files in a directory, with a kustomization that lists them.

The text of a scenario is the same each time, byte by byte. In the directory, files that `export` did not write are
never touched; what an earlier export wrote and this one does not is removed, or it would be applied along.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, LiteralScalarString

from meshmark.backends.kubernetes.manifest import Manifest
from meshmark.errors import UsageError

KUSTOMIZATION = "kustomization.yaml"
MARK = "# Written by `meshmark export`"
WIDTH = 4_096  # no text is folded
OTHER_IN_YAML_1_1 = {"y", "yes", "n", "no", "on", "off", "true", "false", "null"}
"""Kubernetes reads YAML 1.1, where these are no text unless they are quoted."""


def texts(manifests: Sequence[Manifest]) -> dict[str, str]:
    """File name -> text, the kustomization first."""
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [manifest.file for manifest in manifests],
    }
    bodies = {KUSTOMIZATION: kustomization, **{manifest.file: manifest.body for manifest in manifests}}
    head = f"{MARK}; the next one overwrites it. Changes belong into an overlay.\n"
    return {name: head + _yaml(body) for name, body in bodies.items()}


def write(directory: Path, files: Mapping[str, str]) -> None:
    """Makes the directory as well. Raises UsageError where a file of another's is in the way, or it cannot be
    written."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if others := [name for name in files if (directory / name).exists() and not _ours(directory / name)]:
            raise UsageError(
                f"{directory} has files that `meshmark export` did not write: {', '.join(others)}",
                hint="Give another directory, or remove them; nothing was written.",
            )
        for path in sorted(directory.glob("*.yaml")):
            if path.name not in files and _ours(path):
                path.unlink()
        for name, text in files.items():
            (directory / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"cannot write {error.filename or directory}: {error.strerror or error}",
            hint="-d takes a directory that can be written to",
        ) from None


def _ours(path: Path) -> bool:
    return path.is_file() and path.read_bytes().startswith(MARK.encode())


def _yaml(body: Mapping[str, Any]) -> str:
    yaml = YAML(typ="rt", pure=True)
    yaml.default_flow_style = False
    yaml.width = WIDTH
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = io.StringIO()
    yaml.dump(_quoted(body), stream)
    return stream.getvalue()


def _quoted(value: Any) -> Any:
    """With lines as lines, and quoted what another reader might not take for text. A copy, so that what occurs twice
    is written twice."""
    if isinstance(value, Mapping):
        return {key: _quoted(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_quoted(item) for item in value]
    if not isinstance(value, str):
        return value
    if "\n" in value:
        return LiteralScalarString(value)
    if value[:1].isalpha() and value.lower() not in OTHER_IN_YAML_1_1:
        return value
    return DoubleQuotedScalarString(value)
