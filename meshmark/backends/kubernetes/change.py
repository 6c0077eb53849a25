"""What `up` applies, and what `diff` and `--dry-run=server` say that it would: nothing before all of it may be done.

Rights first, then whose namespace and objects these are, then the objects in their order. What an earlier `up` of the
scenario applied and this one does not is removed.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from meshmark.backends.kubernetes import installed, ownership, rights, tls
from meshmark.backends.kubernetes.api import Api
from meshmark.backends.kubernetes.files import yaml_text
from meshmark.backends.kubernetes.kinds import NAMESPACE, OPERATED, SECRET, kind_of, name_of
from meshmark.backends.kubernetes.manifest import TLS_SECRET, Body, Manifest
from meshmark.dataplane.identity import Issuer
from meshmark.errors import NotOurs
from meshmark.plan import Scenario

BOOKKEEPING = ("managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink")
"""Of an object's metadata, what the server keeps for itself."""
HIDDEN = "*** (made at `up`)"

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """A scenario as it is to be in the cluster."""

    scenario: Scenario
    manifests: tuple[Manifest, ...]
    issuer: Issuer | None = None
    """Of certificates, where more of them may be wanted; else one that is forgotten."""
    beside: str = ""
    """Image of the agents' containers in pods of an operator's brokers."""

    @property
    def namespace_body(self) -> Body:
        return next(made.body for made in self.manifests if kind_of(made.body) == NAMESPACE)

    @property
    def namespace(self) -> str:
        return str(self.namespace_body["metadata"]["name"])

    @property
    def needs_secret(self) -> bool:
        """An operator makes its own."""
        operated = any(kind_of(made.body) in OPERATED for made in self.manifests)
        return self.scenario.data_plane.kafka_tls and not operated

    @property
    def names(self) -> set[str]:
        """Of all objects, the Secret included."""
        return {name_of(made.body) for made in self.manifests} | ({SECRET_NAME} if self.needs_secret else set())


SECRET_NAME = f"{SECRET.name.lower()}/{TLS_SECRET}"


def apply(api: Api, wanted: Wanted, *, tell: Tell, dry_run: bool = False, force: bool = False) -> None:
    """`tell` hears of each object what came of it. Raises NoRights, NotOurs and ObjectRefused; until the first object
    is applied nothing has changed, and what was applied is labelled, so `down` finds it."""
    rights.require(api, "up", wanted.namespace)
    found = ownership.namespace(api, wanted.namespace, ownership.labels_of(wanted.namespace_body))
    installed.require(api, wanted.manifests, wanted.namespace)
    there = ownership.refuse_others(api, wanted.manifests, found)
    makes_secret = wanted.needs_secret and (found is None or tls.wanting(api, wanted.namespace))
    would = " (would be; nothing was changed)" if dry_run else ""
    bodies = _bodies(wanted, found)
    if found is not None and not dry_run:
        _refuse_conflicts(api, bodies, force=force)
    for body in bodies:
        name = name_of(body)
        if dry_run and found is None and kind_of(body) != NAMESPACE:
            tell(f"{name}: not asked: the server checks nothing in a namespace that is not there yet")
            continue
        after = api.apply(body, dry_run=dry_run, force=force)
        tell(f"{name} {_came_of(there.get(name), after)}{would}")
        if makes_secret and kind_of(body) == NAMESPACE:
            if not dry_run:
                labels = ownership.labels_of(wanted.manifests[-1].body)
                api.apply(tls.secret(wanted.namespace, labels, wanted.issuer or tls.issuer()))
            tell(f"{SECRET_NAME} created{would}")
    for body in _left_over(api, wanted) if found is not None else []:
        if not dry_run:
            api.delete(kind_of(body), body["metadata"]["name"], wanted.namespace)
        tell(f"{name_of(body)} removed{would}")


def difference(api: Api, wanted: Wanted) -> str:
    """From what is there to what `up` would make of it by the server's own word: a unified diff, empty where nothing
    differs. In a namespace that is not there yet the server can tell nothing, and all is new as it is written."""
    rights.require(api, "diff", wanted.namespace)
    found = ownership.namespace(api, wanted.namespace, ownership.labels_of(wanted.namespace_body))
    installed.require(api, wanted.manifests, wanted.namespace)
    there = ownership.refuse_others(api, wanted.manifests, found)
    pairs: list[tuple[str, Body | None, Body | None]] = []
    for body in _bodies(wanted, found):
        asked = found is not None or kind_of(body) == NAMESPACE
        pairs.append((name_of(body), there.get(name_of(body)), api.apply(body, dry_run=True) if asked else body))
    if wanted.needs_secret and (found is None or tls.wanting(api, wanted.namespace)):
        pairs.append((SECRET_NAME, None, _without_keys(tls.secret(wanted.namespace, {}, tls.issuer()))))
    if found is not None:
        pairs += [(name_of(body), body, None) for body in _left_over(api, wanted)]
    return "".join(line for name, live, merged in pairs for line in _lines(name, live, merged))


def _bodies(wanted: Wanted, found: Body | None) -> list[Body]:
    """In their order; a namespace that `up` makes, or made, says so."""
    made_by_up = found is None or ownership.is_made_by_up(found)
    return [
        ownership.made_by_up(made.body) if made_by_up and kind_of(made.body) == NAMESPACE else made.body
        for made in wanted.manifests
    ]


def _refuse_conflicts(api: Api, bodies: Iterable[Body], *, force: bool) -> None:
    """By a dry run of all. Raises NotOurs with every field of every object that another manager has."""
    refused: list[NotOurs] = []
    for body in bodies:
        try:
            api.apply(body, dry_run=True, force=force)
        except NotOurs as error:
            refused.append(error)
    if refused:
        raise NotOurs("\n".join(error.message for error in refused), hint=f"Nothing was changed. {refused[0].hint}")


def _left_over(api: Api, wanted: Wanted) -> list[Body]:
    return [body for body in ownership.ours(api, wanted.namespace) if name_of(body) not in wanted.names]


def _came_of(before: Body | None, after: Body) -> str:
    if before is None:
        return "created"
    return "unchanged" if _said(before) == _said(after) else "configured"


def _said(body: Body) -> dict[str, Any]:
    """An object without its status and without what the server keeps for itself."""
    metadata = {key: value for key, value in body["metadata"].items() if key not in BOOKKEEPING}
    return {**{key: value for key, value in body.items() if key != "status"}, "metadata": metadata}


def _without_keys(body: Body) -> Body:
    """Of a Secret no annotations either: kubectl keeps in one what it applied last, keys and all."""
    if kind_of(body) != SECRET:
        return body
    metadata = {key: value for key, value in body["metadata"].items() if key != "annotations"}
    return {**body, "metadata": metadata, "data": dict.fromkeys(body.get("data") or {}, HIDDEN)}


def _lines(name: str, live: Body | None, merged: Body | None) -> Iterator[str]:
    before, after = (_text(body).splitlines(keepends=True) if body else [] for body in (live, merged))
    return difflib.unified_diff(before, after, fromfile=f"live/{name}", tofile=f"merged/{name}")


def _text(body: Body) -> str:
    return yaml_text(_sorted(_said(_without_keys(body))))


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_sorted(item) for item in value]
    return value
