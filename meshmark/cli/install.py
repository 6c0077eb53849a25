"""`meshmark install`: a mesh into a cluster that has none, by the project's own tool."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from meshmark.cli.kubernetes import TIMEOUT_S
from meshmark.cli.options import Context, Timeout
from meshmark.cli.output import emit, note

if TYPE_CHECKING:
    from meshmark.backends.kubernetes.api import Api
    from meshmark.backends.kubernetes.install import Step
    from meshmark.backends.kubernetes.survey import Found, Part

EXAMPLES = "\b\nExamples:\n  meshmark install ambient --context CTX\n  meshmark install linkerd --context CTX --yes"


def install(
    mesh: Annotated[str, typer.Argument(metavar="istio|ambient|linkerd", help="Which.")],
    context: Context = None,
    yes: Annotated[bool, typer.Option("--yes", help="Run what is shown, and ask nobody.")] = False,
    timeout: Timeout = None,
) -> None:
    """Install a mesh in a Kubernetes cluster with istioctl, helm or linkerd; what they do takes rights over all of it.

    The commands are shown first, and run once somebody has confirmed them. Where the mesh is there already, nothing is
    run.
    """
    from meshmark.backends.kubernetes import install as tools
    from meshmark.backends.kubernetes.survey import MESHES
    from meshmark.cli.contexts import connected
    from meshmark.errors import UsageError

    if mesh not in MESHES:
        raise UsageError(f"there is no mesh {mesh} to install", hint=f"there are: {', '.join(MESHES)}")
    part = MESHES[mesh]
    [api] = connected(context or ()).values()
    if _there(api, part):
        return
    steps = _steps(part, api.context)
    for step in steps:
        note(f"$ {tools.text(step)}")
    _confirm(api, yes=yes)
    for step in steps:
        note(f"$ {tools.text(step)}")
        tools.run(step, emit, timeout or TIMEOUT_S)
    emit(_ready(api, part, timeout or TIMEOUT_S))


def _there(api: Api, part: Part) -> bool:
    """Is all of it there? Raises NotOurs where anything of it is, which is then somebody's installation, and
    Inconclusive where this user may not see that."""
    from meshmark.backends.kubernetes.survey import look, remains
    from meshmark.errors import NotOurs

    there = remains(api, part)
    if not there:
        return False
    found = look(api, part)
    if found.there:
        emit(f"{part.name} is there already, and nothing was run: {'; '.join(found.said)}")
        return True
    raise NotOurs(
        f"the cluster of the context {api.context} has something of {part.name}: {'; '.join(there)}",
        hint="Nothing was run: it may be of an older version, of a control plane elsewhere, or left of one that was "
        "removed. Whoever installed it knows how to complete or to remove it.",
    )


def _steps(part: Part, context: str) -> tuple[Step, ...]:
    """Raises MissingRequirement where no tool is on PATH."""
    from meshmark.backends.kubernetes import install as tools
    from meshmark.errors import MissingRequirement

    way = tools.way(part)
    if way is None:
        first, *others = tools.WAYS[part.name]
        commands = "\n  ".join(map(tools.text, first.of(context)))
        raise MissingRequirement(
            f"none of {', '.join(' with '.join(each.tools) for each in (first, *others))} is on PATH",
            hint=f"Nothing was changed. With {first.tools[0]} it would be:\n  {commands}",
        )
    return way.of(context)


def _confirm(api: Api, *, yes: bool) -> None:
    from meshmark.errors import UsageError

    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("nothing was run: nobody is there to confirm it", hint="--yes runs what is shown above")
    if not typer.confirm(f"Run this in the cluster of the context {api.context} ({api.server})?", err=True):
        raise UsageError("nothing was run")


def _ready(api: Api, part: Part, timeout_s: int) -> str:
    from meshmark.backends.kubernetes.lifecycle import wait
    from meshmark.backends.kubernetes.survey import look
    from meshmark.clock import SystemClock
    from meshmark.errors import ComponentFailed

    last: list[Found] = []

    def ready() -> bool | None:
        last[:] = [look(api, part)]
        return True if last[0].there else None

    if wait(ready, SystemClock(), timeout_s) is None:
        raise ComponentFailed(
            f"{part.name} is not ready after {timeout_s} s: {'; '.join(last[0].said)}",
            component=part.name,
            hint="The tool ended well. `meshmark doctor --backend kubernetes` looks again.",
        )
    return f"{part.name} is there: {'; '.join(last[0].said)}"
