"""How a cluster gets a mesh, or an operator: the commands of the projects' own tools, and running those of a mesh.

Each is an argument list, and names the context; a few are pipes of two. They find the kubeconfig as meshmark does.
What one command hands to the next is shown to nobody: `linkerd install` prints the key of its authority there.
"""

from __future__ import annotations

import os
import select
import shlex
import shutil
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import IO

from meshmark.backends.kubernetes.survey import AMBIENT, ISTIO, LINKERD, STRIMZI, Part
from meshmark.errors import ComponentFailed

CONTEXT = "CTX"
"""In commands, in place of the context."""
TAIL_LINES = 20
READ_BYTES = 65_536
END_S = 5.0

Command = tuple[str, ...]
Step = tuple[Command, ...]
"""One command, or several of which each reads what the one before writes."""
Which = Callable[[str], str | None]
Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """`tools` have to be on PATH, the one that it is known by first."""

    tools: tuple[str, ...]
    steps: tuple[Step, ...]

    def of(self, context: str) -> tuple[Step, ...]:
        return tuple(
            tuple(tuple(context if word == CONTEXT else word for word in command) for command in step)
            for step in self.steps
        )


def _istioctl(*words: str) -> Way:
    return Way(tools=("istioctl",), steps=((("istioctl", "--context", CONTEXT, "install", *words, "-y"),),))


def _helm(name: str, chart: str, namespace: str, *words: str) -> Step:
    there = ("--kube-context", CONTEXT, "upgrade", "--install", "-n", namespace, "--create-namespace", "--wait")
    return (("helm", *there, name, chart, *words),)


def _linkerd(*words: str) -> Command:
    return ("linkerd", "--context", CONTEXT, *words)


_APPLY = ("kubectl", "--context", CONTEXT, "apply", "-f", "-")
_PROFILE = ("--set", "profile=ambient")
_SYSTEM = "istio-system"

WAYS: dict[str, tuple[Way, ...]] = {
    ISTIO.name: (
        _istioctl(),
        Way(
            tools=("helm",),
            steps=(_helm("istio-base", "istio/base", _SYSTEM), _helm("istiod", "istio/istiod", _SYSTEM)),
        ),
    ),
    AMBIENT.name: (
        _istioctl(*_PROFILE),
        Way(
            tools=("helm",),
            steps=(
                _helm("istio-base", "istio/base", _SYSTEM),
                _helm("istiod", "istio/istiod", _SYSTEM, *_PROFILE),
                _helm("istio-cni", "istio/cni", _SYSTEM, *_PROFILE),
                _helm("ztunnel", "istio/ztunnel", _SYSTEM),
            ),
        ),
    ),
    LINKERD.name: (
        Way(
            tools=("linkerd", "kubectl"),
            steps=(
                (_linkerd("check", "--pre"),),
                (_linkerd("install", "--crds"), _APPLY),
                (_linkerd("install"), _APPLY),
                (_linkerd("check"),),
            ),
        ),
    ),
    STRIMZI.name: (
        Way(
            tools=("helm",),
            steps=(_helm("strimzi", "strimzi/strimzi-kafka-operator", "strimzi", "--set", "watchAnyNamespace=true"),),
        ),
    ),
}
"""Part -> ways to it, the first choice first. helm has to know the projects' charts as `istio` and `strimzi`."""


def way(part: Part, which: Which = shutil.which) -> Way | None:
    """The first whose tools are on PATH."""
    return next((each for each in WAYS.get(part.name, ()) if all(map(which, each.tools))), None)


def text(step: Step) -> str:
    """As a shell takes it."""
    return " | ".join(map(shlex.join, step))


def run(step: Step, tell: Tell, timeout_s: float) -> None:
    """Returns when it has ended well. `tell` hears each line that it writes, as it comes, but not what one command
    hands to the next. Raises ComponentFailed with the last of its own words, and where it cannot be started or has not
    ended in time. Whatever ends this ends the commands."""
    said: deque[str] = deque(maxlen=TAIL_LINES)
    end = time.monotonic() + timeout_s
    with ExitStack() as stack:
        reads, writes = os.pipe()
        stack.callback(os.close, reads)
        try:
            running = _started(step, writes, stack)
        finally:
            os.close(writes)
        try:
            for line in _lines(reads, end):
                said.append(line)
                tell(line)
            codes = [process.wait(max(0.0, end - time.monotonic())) for process in running]
        except (TimeoutError, subprocess.TimeoutExpired):
            raise ComponentFailed(
                f"`{text(step)}` has not ended after {timeout_s:g} s, and was ended",
                component=step[0][0],
                log_tail=tuple(said),
                hint="What it changed until then is still there; --timeout gives it longer.",
            ) from None
    if any(codes):
        failed = next(number for number, code in enumerate(codes) if code)
        raise ComponentFailed(
            f"`{shlex.join(step[failed])}` ended with {codes[failed]}",
            component=step[failed][0],
            log_tail=tuple(said),
            hint="What it changed until then is still there; the same command may go on.",
        )


def _lines(reads: int, end: float) -> Iterator[str]:
    """As they come. Raises TimeoutError when the monotonic clock is at `end`."""
    rest = b""
    while select.select([reads], [], [], max(0.0, end - time.monotonic()))[0]:
        part = os.read(reads, READ_BYTES)
        *whole, rest = (rest + part).split(b"\n")
        yield from (line.decode(errors="replace") for line in (whole if part else filter(None, [rest])))
        if not part:
            return
    raise TimeoutError


def _started(step: Step, writes: int, stack: ExitStack) -> list[subprocess.Popen[bytes]]:
    """Their input is what the one before writes, and for the first nothing."""
    found: list[subprocess.Popen[bytes]] = []
    before: IO[bytes] | int = subprocess.DEVNULL
    for number, command in enumerate(step, start=1):
        last = number == len(step)
        out = writes if last else subprocess.PIPE
        try:
            process = subprocess.Popen(command, stdin=before, stdout=out, stderr=writes)
        except OSError as error:
            raise ComponentFailed(
                f"`{shlex.join(command)}` cannot be started: {error.strerror}",
                component=command[0],
                hint="Is the program on PATH made for this machine?",
            ) from None
        stack.callback(_ended, process)
        if not isinstance(before, int):
            before.close()
        found.append(process)
        before = process.stdout or subprocess.DEVNULL
    return found


def _ended(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
            return
        process.kill()
        process.wait()
