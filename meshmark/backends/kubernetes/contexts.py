"""Which cluster, as whom: the contexts of the kubeconfig (`KUBECONFIG`, else `~/.kube/config`).

Several files are merged as kubectl does it: of what has the same name, the first file's counts. Paths in a file are
relative to it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightkube.config.kubeconfig import KubeConfig
from lightkube.core.exceptions import ConfigError
from msgspec import MsgspecError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from meshmark.backends.kubernetes.api import Api
from meshmark.errors import UsageError

VARIABLE = "KUBECONFIG"
DEFAULT = "~/.kube/config"
PATHS = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
EXEC_API, EXEC_API_READ = "client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"
"""Of a command that gives credentials: v1 answers as v1beta1 does, which lightkube knows by its name alone."""
UNSUPPORTED = {
    "clusters": ("tls-server-name", "proxy-url"),
    "users": ("as", "as-uid", "as-groups", "as-user-extra"),
}
"""What kubectl heeds and lightkube does not: without it the request would be another user's, or go elsewhere."""
SECTIONS = {"clusters": "cluster", "contexts": "context", "users": "user"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Contexts:
    """Those there are; `current` is empty where none is."""

    names: tuple[str, ...]
    current: str
    merged: Mapping[str, Any]

    def server(self, name: str) -> str:
        """Its address; empty where the kubeconfig does not say."""
        context = _named(self.merged, "contexts", name) or {}
        cluster = _named(self.merged, "clusters", str(context.get("cluster"))) or {}
        return str(cluster.get("server", ""))


def contexts() -> Contexts:
    """Raises UsageError where there is no kubeconfig, or it is none."""
    files = [_path(text) for text in os.environ.get(VARIABLE, DEFAULT).split(os.pathsep) if text]
    there = [file for file in files if file.is_file()]
    if not there:
        raise UsageError(
            f"there is no kubeconfig: {', '.join(map(str, files)) or VARIABLE + ' is empty'}",
            hint=f"Set {VARIABLE} to the file that your cluster's provider gave you.",
        )
    merged: dict[str, Any] = {section: [] for section in SECTIONS}
    for file in there:
        read = _read(file)
        merged.setdefault("current-context", read.get("current-context"))
        merged["current-context"] = merged["current-context"] or read.get("current-context")
        for section in SECTIONS:
            known = {entry["name"] for entry in merged[section]}
            merged[section] += [entry for entry in read[section] if entry["name"] not in known]
    return Contexts(
        names=tuple(entry["name"] for entry in merged["contexts"]),
        current=str(merged["current-context"] or ""),
        merged=merged,
    )


def connect(found: Contexts, name: str) -> Api:
    """Nothing is sent yet. Raises UsageError where there is no such context, or it cannot be used."""
    if name not in found.names:
        raise UsageError(
            f"there is no context {name} in the kubeconfig",
            hint=f"Contexts are: {', '.join(found.names)}." if found.names else "It has no contexts at all.",
        )
    context = _named(found.merged, "contexts", name) or {}
    for section, key in (("clusters", "cluster"), ("users", "user")):
        if _named(found.merged, section, str(context.get(key))) is None:
            raise UsageError(
                f"the context {name} names the {key} {context.get(key)}, which the kubeconfig does not have",
                hint="`kubectl config view` shows it whole.",
            )
    _refuse_unsupported(found, name, context)
    try:
        config = KubeConfig.from_dict(dict(found.merged)).get(name)
    except (ConfigError, KeyError, TypeError, ValueError, AttributeError, MsgspecError) as error:
        raise UsageError(f"the context {name} of the kubeconfig cannot be read: {error}") from None
    if config is None:
        raise UsageError(f"the context {name} of the kubeconfig is empty")
    return Api(config)


def _path(text: str) -> Path:
    """The `~` of a user whom this machine does not know stays as it is written: such a file is hardly there."""
    with suppress(RuntimeError):
        return Path(text).expanduser().absolute()
    return Path(text).absolute()


def _refuse_unsupported(found: Contexts, name: str, context: Mapping[str, Any]) -> None:
    for section, keys in UNSUPPORTED.items():
        owner = SECTIONS[section]
        body = _named(found.merged, section, str(context[owner])) or {}
        if given := [key for key in keys if body.get(key)]:
            raise UsageError(
                f"the context {name} cannot be used: its {owner} {context[owner]} has {', '.join(given)}, which "
                "meshmark does not support",
                hint="Give a context without (`kubectl config view` shows them).",
            )


def _read(file: Path) -> dict[str, Any]:
    """With absolute paths, and every section a list of named entries."""
    try:
        read = YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, YAMLError) as error:
        raise UsageError(f"the kubeconfig {file} cannot be read: {_unread(error)}") from None
    if not isinstance(read, dict):
        raise UsageError(f"{file} is no kubeconfig", hint=f"{VARIABLE} names it.")
    sections = {section: _entries(file, section, read.get(section)) for section in SECTIONS}
    for entry in (*sections["clusters"], *sections["users"]):
        for body in entry.values():
            if isinstance(body, dict):
                body.update({key: str(file.parent / str(body[key])) for key in PATHS if body.get(key)})
                command = body.get("exec")
                if isinstance(command, dict) and command.get("apiVersion") == EXEC_API:
                    command["apiVersion"] = EXEC_API_READ
    return {**read, **sections}


def _unread(error: Exception) -> str:
    """Never with what the file says there: it holds credentials."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    if isinstance(error, MarkedYAMLError) and (mark := error.problem_mark or error.context_mark):
        return f"it is no YAML at line {mark.line + 1}, column {mark.column + 1}"
    return "it is no YAML"


def _entries(file: Path, section: str, found: Any) -> Sequence[dict[str, Any]]:
    entries = found or []
    key = SECTIONS[section]
    if not isinstance(entries, list) or any(
        not isinstance(entry, dict)
        or not isinstance(entry.get("name"), str)
        or not isinstance(entry.get(key, {}), dict)
        for entry in entries
    ):
        raise UsageError(f"{file} is no kubeconfig: its {section} are no list of a name and a {key} each")
    return [{**entry, key: dict(entry.get(key) or {})} for entry in entries]


def _named(merged: Mapping[str, Any], section: str, name: str) -> Mapping[str, Any] | None:
    return next((entry[SECTIONS[section]] for entry in merged[section] if entry["name"] == name), None)
