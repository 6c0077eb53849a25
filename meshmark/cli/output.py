"""What verbs print: data on standard output, everything said to a person on standard error."""

from __future__ import annotations

import os
import select
import sys


def emit(text: str) -> None:
    """Data, on standard output, with one newline at its end."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """A line for the person, on standard error."""
    print(text, file=sys.stderr, flush=True)


def complain(message: str, hint: str = "") -> None:
    """An error, on standard error; the hint is indented."""
    note("\n".join([f"meshmark: error: {message}", *(f"  {line}" for line in hint.splitlines())]))


def stdout_is_gone() -> bool:
    """Has the reader of standard output closed its end (`meshmark ... | head`)?"""
    try:
        watch = select.poll()
        watch.register(sys.stdout.fileno(), select.POLLOUT)
        return any(event & select.POLLERR for _, event in watch.poll(0))
    except (OSError, ValueError):  # no file descriptor behind it that could be asked
        return False


def silence_stdout() -> None:
    """So that the interpreter's flush at exit finds an open file."""
    try:
        target = sys.stdout.fileno()
    except (OSError, ValueError):
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, target)
    os.close(null)
