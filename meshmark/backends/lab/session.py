"""The cluster that `meshmark up` keeps for a person: held by a process of its own, the keeper, until `down`.

The keeper is a fork in a session of its own. It holds the instance and the cluster as a run does, writes
`session.json` (no secrets) into the instance's directory when the cluster serves, and ends on SIGTERM. The lock of
the instance tells whether it lives; if it was killed, the kernel has removed hosts and processes, and `reclaim`
removes the rest.

Limits: one cluster per machine and user; nothing is restarted when a component dies, the status tells it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import FrameType
from typing import Literal, NoReturn, Protocol

from meshmark import errors
from meshmark.backends.lab.instance import Instance, instance, lock_is_free, reclaim, stored_instances
from meshmark.backends.lab.link import Network
from meshmark.backends.lab.namespace import CLONE_NEWNET, CLONE_NEWUSER, set_namespace
from meshmark.backends.lab.process import INSTANCE_VARIABLE, LabProcess, tail
from meshmark.errors import Busy, ComponentFailed, LabError, MeshmarkError, UsageError
from meshmark.values import Model

SESSION_FILE = "session.json"
LOG_FILE = "keeper.log"
CLIENT_PROPERTIES_FILE = "client.properties"
POLL_S = 0.5
DOWN_TIMEOUT_S = 60.0


class KeptCluster(Protocol):
    """What the keeper needs of a lab cluster."""

    @property
    def network(self) -> Network: ...

    @property
    def processes(self) -> Sequence[LabProcess]: ...

    @property
    def bootstrap_servers(self) -> str: ...

    @property
    def client_config(self) -> Mapping[str, str]: ...

    def check(self) -> None: ...


class SessionHost(Model):
    name: str
    address: str
    namespace_fd: int
    pids: dict[str, int]


class Session(Model):
    """`state`: up; failed: a component died, see `problem`; lost: the keeper itself is gone."""

    state: Literal["up", "failed", "lost"]
    problem: str = ""
    description: dict[str, str]
    started_at: float
    keeper_pid: int
    directory: str
    bootstrap_servers: str
    client_properties: str
    hosts: tuple[SessionHost, ...]

    @property
    def log(self) -> Path:
        return Path(self.directory) / LOG_FILE


class _Stopped(BaseException):
    """SIGTERM came: unwinds the keeper from wherever it is."""


def up(
    start_cluster: Callable[[Instance], AbstractContextManager[KeptCluster]], description: Mapping[str, str]
) -> Session:
    """Starts a keeper and returns once its cluster serves; raises what the cluster's start raised there.

    Call it while this process has no other thread. `description` (data plane and the like) is for the status."""
    found = status()
    if found and found.state != "lost":
        raise Busy(
            f"a cluster is up already (process {found.keeper_pid})",
            hint="`meshmark status` shows it, `meshmark down` ends it.",
        )
    reading, writing = os.pipe()
    keeper = os.fork()
    if keeper == 0:
        os.close(reading)
        _be_keeper(start_cluster, dict(description), writing)
    os.close(writing)
    try:
        with os.fdopen(reading, "rb") as pipe:
            answer = pipe.readline()
    except BaseException:
        os.kill(keeper, signal.SIGTERM)
        os.waitpid(keeper, 0)
        raise
    if answer:
        message = json.loads(answer)
        if "session" in message:
            return Session.model_validate(message["session"])
    _, wait_status = os.waitpid(keeper, 0)
    if answer:
        raise _error(message)
    raise LabError(
        f"the process that keeps the cluster ended at once (status {os.waitstatus_to_exitcode(wait_status)})",
        hint="`meshmark clean` removes what it left.",
    )


def status() -> Session | None:
    """The cluster that is up, or that was when its keeper was killed; None if there is none."""
    for path in reversed(stored_instances()):
        try:
            session = Session.model_validate_json((path / SESSION_FILE).read_bytes())
        except FileNotFoundError:
            continue
        if lock_is_free(path):
            problem = f"process {session.keeper_pid}, which kept it, was killed; `meshmark clean` removes what is left"
            return session.model_copy(update={"state": "lost", "problem": problem})
        return session
    return None


def down() -> bool:
    """Ends the cluster that is up and returns when nothing of it is left; False if there was none."""
    session = status()
    if session is None:
        return False
    with suppress(ProcessLookupError):
        keeper = os.pidfd_open(session.keeper_pid)
        try:
            if not lock_is_free(Path(session.directory)):  # so the number is the keeper's and no later process's
                _end(keeper, session)
        finally:
            os.close(keeper)
    with suppress(ChildProcessError):  # where this very process brought it up
        os.waitpid(session.keeper_pid, 0)
    log = tail(session.log)
    left = Path(session.directory).exists()
    reclaim()
    if left and session.state != "lost":
        raise ComponentFailed(
            "the process that kept the cluster did not end cleanly; what it left is removed now",
            component="keeper",
            log_tail=log,
        )
    return True


def _end(keeper: int, session: Session) -> None:
    ended = select.poll()
    ended.register(keeper, select.POLLIN)
    signal.pidfd_send_signal(keeper, signal.SIGTERM)
    if not ended.poll(DOWN_TIMEOUT_S * 1000):
        signal.pidfd_send_signal(keeper, signal.SIGKILL)
        ended.poll(DOWN_TIMEOUT_S * 1000)


def exec_in(host: str, argv: Sequence[str]) -> NoReturn:
    """Becomes the command, on a host of the cluster that is up. It ends with the cluster.

    Without root it joins the keeper's user namespace first, so this process may have no other thread."""
    session = status()
    if session is None or session.state == "lost":
        raise UsageError("no cluster is up", hint="`meshmark up` starts one.")
    names = [entry.name for entry in session.hosts]
    if host not in names:
        raise UsageError(f"there is no host {host}", hint=f"Hosts are: {', '.join(names)}.")
    fd = next(entry.namespace_fd for entry in session.hosts if entry.name == host)
    keeper = Path(f"/proc/{session.keeper_pid}")
    try:
        network = os.open(keeper / f"fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
        if not (keeper / "ns/user").samefile("/proc/self/ns/user"):
            set_namespace(os.open(keeper / "ns/user", os.O_RDONLY | os.O_CLOEXEC), CLONE_NEWUSER)
        set_namespace(network, CLONE_NEWNET)
    except OSError as error:
        raise LabError(f"cannot enter {host}: {error.strerror}", hint="Run it as the user that ran `up`.") from error
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # ignored by Python, and thereby by what it becomes
        signal.signal(number, signal.SIG_DFL)
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execvpe(argv[0], list(argv), os.environ | {INSTANCE_VARIABLE: Path(session.directory).name})
    except OSError as error:
        raise UsageError(f"cannot run {argv[0]}: {error.strerror}") from error


def _be_keeper(
    start_cluster: Callable[[Instance], AbstractContextManager[KeptCluster]], description: dict[str, str], answer: int
) -> NoReturn:
    """The whole life of the keeper. It leaves by os._exit: the caller's exit handlers are not its own."""
    code = MeshmarkError.exit_code
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, _stop)
        with instance("up") as made, start_cluster(made) as cluster:
            session = _session(made, cluster, description)
            _write(made.path / SESSION_FILE, session.model_dump_json(indent=2))
            _detach(made.path / LOG_FILE)
            try:
                _send(answer, {"session": session.model_dump(mode="json")})
            except BrokenPipeError:  # whoever wanted the cluster is gone, and knows nothing of it
                raise _Stopped from None
            _keep(cluster, session)
    except (_Stopped, KeyboardInterrupt):
        code = 0
    except MeshmarkError as error:
        code = error.exit_code
        _report(answer, error)
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        _report(answer, MeshmarkError(f"unexpected {error!r} at {frame.filename}:{frame.lineno}"))
        raise
    finally:
        os._exit(code)


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough: the way out is not to be interrupted
    raise _Stopped


def _keep(cluster: KeptCluster, session: Session) -> None:
    """Until SIGTERM. A component's death is told once and changes nothing else: its traces are wanted."""
    while True:
        time.sleep(POLL_S)
        try:
            cluster.check()
        except MeshmarkError as error:
            failed = session.model_copy(update={"state": "failed", "problem": str(error)})
            _write(Path(session.directory) / SESSION_FILE, failed.model_dump_json(indent=2))
            while True:
                signal.pause()


def _session(made: Instance, cluster: KeptCluster, description: dict[str, str]) -> Session:
    properties = made.path / CLIENT_PROPERTIES_FILE
    _write(properties, "".join(f"{key}={value}\n" for key, value in cluster.client_config.items()))
    hosts = tuple(
        SessionHost(
            name=host.name,
            address=host.address,
            namespace_fd=host.namespace.fd,
            pids={process.name: process.pid for process in cluster.processes if process.host == host.name},
        )
        for host in cluster.network.places
    )
    return Session(
        state="up",
        description=description,
        started_at=time.time(),
        keeper_pid=os.getpid(),
        directory=str(made.path),
        bootstrap_servers=cluster.bootstrap_servers,
        client_properties=str(properties),
        hosts=hosts,
    )


def _write(path: Path, text: str) -> None:
    """Whole or not at all, readable by its owner only."""
    new = path.with_suffix(".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)


def _detach(log: Path) -> None:
    """From the caller's terminal: a keeper that held its standard streams would keep pipes of the caller open."""
    sys.stdout.flush()
    sys.stderr.flush()
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    for source, target in ((null, 0), (output, 1), (output, 2)):
        os.dup2(source, target)


def _send(answer: int, message: dict[str, object]) -> None:
    """One line to whoever called `up`."""
    os.write(answer, json.dumps(message).encode() + b"\n")


def _report(answer: int, error: MeshmarkError) -> None:
    component, log_tail = (error.component, error.log_tail) if isinstance(error, ComponentFailed) else ("", ())
    message = {"message": error.message, "hint": error.hint, "component": component, "log_tail": log_tail}
    try:
        _send(answer, {"kind": type(error).__name__, **message})
    except BrokenPipeError:  # the cluster was up: its log is the place
        print(error, file=sys.stderr, flush=True)


def _error(message: Mapping[str, object]) -> MeshmarkError:
    """The error that the keeper reported, as it was raised there."""
    kind = getattr(errors, str(message["kind"]))
    text, hint = str(message["message"]), str(message["hint"])
    if issubclass(kind, ComponentFailed):
        lines = message["log_tail"]
        log_tail = tuple(lines) if isinstance(lines, list) else ()
        return ComponentFailed(text, component=str(message["component"]), log_tail=log_tail, hint=hint)
    error: MeshmarkError = kind(text, hint=hint)
    return error
