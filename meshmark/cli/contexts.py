"""Which clusters a command speaks to: contexts of the kubeconfig, and in a topology which of its clusters each is."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from meshmark.backends.kubernetes.api import Api
    from meshmark.backends.kubernetes.contexts import Contexts

ONE = ("",)
"""The clusters of a scenario without a topology."""


def connected(contexts: Sequence[str], clusters: Sequence[str] = ONE, *, some: bool = False) -> dict[str, Api]:
    """Connections to the contexts that are named, or confirmed by a person, by cluster of the topology in its order.

    Contexts are those of the clusters in turn, or say themselves of which: `two=CTX`. With `some`, these need not be
    all. Raises UsageError where it is not clear which is which, or two of them are one and the same cluster."""
    from meshmark.backends.kubernetes.contexts import connect
    from meshmark.backends.kubernetes.contexts import contexts as read

    found = read()
    if tuple(clusters) == ONE:
        chosen = dict(zip(ONE, _only(contexts) or [_confirmed(found)], strict=True))
    else:
        chosen = assigned(contexts, clusters, some=some)
    apis = {cluster: connect(found, context) for cluster, context in chosen.items()}
    _refuse_the_same(list(apis.values()))
    return apis


def whatever(contexts: Sequence[str]) -> list[Api]:
    """Connections to all contexts that are named, or to one that is confirmed, whatever they hold."""
    from meshmark.backends.kubernetes.contexts import connect
    from meshmark.backends.kubernetes.contexts import contexts as read

    found = read()
    apis = [connect(found, context) for context in contexts or [_confirmed(found)]]
    _refuse_the_same(apis)
    return apis


def _only(contexts: Sequence[str]) -> list[str]:
    from meshmark.errors import UsageError

    if len(contexts) > 1:
        raise UsageError(
            f"--context is given {len(contexts)} times, and the scenario has no topology: it is for one cluster",
            hint="give one, or a scenario whose topology has several clusters (docs/how-to/stretched-cluster.md)",
        )
    return list(contexts)


def assigned(contexts: Sequence[str], clusters: Sequence[str], *, some: bool = False) -> dict[str, str]:
    """Context by cluster of a topology, as above."""
    from meshmark.errors import UsageError

    all_of_them = " ".join(f"--context {name}=CTX" for name in clusters)
    pairs = [text.partition("=") for text in contexts]
    named = [(name, context) for name, is_said, context in pairs if is_said and name in clusters]
    if not named and len(contexts) == len(clusters):
        return dict(zip(clusters, contexts, strict=True))
    chosen = dict(named)
    if len(named) != len(contexts) or len(chosen) != len(named) or not chosen:
        raise UsageError(
            f"the topology has the clusters {', '.join(clusters)}, and it is not clear which context each is "
            f"({', '.join(contexts) or 'none is named'})",
            hint=f"{all_of_them}, or one --context for each in this order",
        )
    if not some and len(chosen) < len(clusters):
        absent = ", ".join(name for name in clusters if name not in chosen)
        raise UsageError(f"no context is named for {absent}", hint=all_of_them)
    return {name: chosen[name] for name in clusters if name in chosen}


def _refuse_the_same(apis: Sequence[Api]) -> None:
    from meshmark.errors import UsageError

    by_server: dict[str, str] = {}
    for api in apis:
        if api.server in by_server:
            raise UsageError(
                f"the contexts {by_server[api.server]} and {api.context} are one cluster, {api.server}",
                hint="give each cluster of the topology a cluster of its own",
            )
        by_server[api.server] = api.context


def _confirmed(found: Contexts) -> str:
    from meshmark.errors import UsageError

    names = ", ".join(found.names) or "none"
    if not found.current or not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            "no context is named, and no cluster is touched unasked", hint=f"--context CTX; there are: {names}"
        )
    if not typer.confirm(f"Use the context {found.current} ({found.server(found.current)})?", err=True):
        raise UsageError("no context is chosen", hint=f"--context CTX; there are: {names}")
    return found.current
