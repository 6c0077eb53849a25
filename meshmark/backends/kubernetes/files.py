"""Objects as YAML files in a directory, with a kustomization that lists them.

The text of a scenario is the same each time, byte by byte. All of it is written before any file is replaced. In the
directory, files that `export` did not write are never touched; what an earlier export wrote and this one does not is
removed, or `kubectl apply -f` would take it along; in directories of clusters that this one has not, too.
"""

from __future__ import annotations

import errno
import io
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, LiteralScalarString

from meshmark.backends.kubernetes import koperator, manifest, mesh, meshes, monitors, scenario, stretched, strimzi
from meshmark.backends.kubernetes.manifest import Manifest
from meshmark.errors import NoSpace, UsageError

KUSTOMIZATION = "kustomization.yaml"
NAMESPACE = "namespace.yaml"
OTHER_KUSTOMIZATIONS = ("kustomization.yml", "Kustomization")
"""Names that kustomize knows as well; it refuses a directory with two of them."""
OPTIONAL = (
    *mesh.FILES,
    *meshes.FILES,
    *monitors.FILES,
    *scenario.FILES,
    *strimzi.FILES,
    *koperator.FILES,
    *stretched.FILES,
)
"""Those that not every export has."""
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
    return {name: head + yaml_text(body) for name, body in bodies.items()}


def write(directory: Path, files: Mapping[str, str]) -> None:
    """Makes the directory as well. Raises UsageError where a file of another's is in the way, or it cannot be
    written, and NoSpace."""
    with _told(directory):
        directory.mkdir(parents=True, exist_ok=True)
        if others := _in_the_way(directory, files):
            raise UsageError(
                f"{directory} has files that `meshmark export` did not write: {', '.join(others)}",
                hint="Give another directory, or remove them; nothing was written.",
            )
        with tempfile.TemporaryDirectory(dir=directory, prefix=".export-") as made:
            for name, text in files.items():
                (Path(made) / name).write_text(text, encoding="utf-8")
            for name in files:
                (Path(made) / name).replace(directory / name)
        _remove(directory, set(OPTIONAL) - set(files))


def clear(directory: Path, written: Mapping[str, Iterable[str]]) -> None:
    """Removes what an export of other clusters left there. `written`: cluster -> names of its files, which are in a
    directory of its own, or with an empty name in this one. Raises as `write`."""
    with _told(directory):
        known = {*OPTIONAL, *(name for names in written.values() for name in names)}
        if "" not in written:
            _remove(directory, known)
        for place in [each for each in directory.iterdir() if each.name not in written and _of_cluster(each)]:
            _remove(place, known)
            if not any(place.iterdir()):
                place.rmdir()


def _of_cluster(place: Path) -> bool:
    """Was it written for the cluster of its name, and not as an export by itself?"""
    namespace = place / NAMESPACE
    return _ours(namespace) and yaml_text({manifest.CLUSTER: place.name}) in namespace.read_text(encoding="utf-8")


def _remove(directory: Path, names: Iterable[str]) -> None:
    for name in names:
        if _ours(directory / name):
            (directory / name).unlink()


@contextmanager
def _told(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace(
                f"no space left in {directory}", hint="Free some there, or give another directory with -d."
            ) from None
        raise UsageError(
            f"cannot write to {directory}: {error.strerror or error}",
            hint="-d takes a directory that can be written to",
        ) from None


def _in_the_way(directory: Path, files: Iterable[str]) -> list[str]:
    """Names that are taken by something else than a file of an earlier export, be it a link that leads nowhere."""
    taken = [name for name in (*files, *OTHER_KUSTOMIZATIONS) if os.path.lexists(directory / name)]
    return [name for name in taken if name in OTHER_KUSTOMIZATIONS or not _ours(directory / name)]


def _ours(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and path.read_bytes().startswith(MARK.encode())


def yaml_text(body: Mapping[str, Any]) -> str:
    """An object as one YAML document, which readers of YAML 1.1 and 1.2 take for the same."""
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
