"""One error tree. Each class has its exit code; each message says what to do next.

Exit codes shared by all verbs: 0 fine; 1 ran, and the answer is no; 2 usage; 3 inconclusive;
4 and above one per error class below; 130 interrupted.
"""

from __future__ import annotations


class MeshmarkError(Exception):
    """Anything meshmark reports without a traceback."""

    exit_code = 70

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class MissingRequirement(MeshmarkError):
    """Something needed is not on this machine; nothing has been changed."""

    exit_code = 1


class ThresholdBroken(MeshmarkError):
    """It ran, and a threshold of the plan is broken for sure."""

    exit_code = 1


class UsageError(MeshmarkError):
    """The command line or a plan cannot be meant as written."""

    exit_code = 2


class PlanError(UsageError):
    """A plan, profile or workload has mistakes; all of them are in `problems`, each with file, line, key and what is
    allowed."""

    def __init__(self, problems: list[str], of: str = "plan") -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
        self.of = of


class Inconclusive(MeshmarkError):
    """It ran, and what was measured does not answer the question."""

    exit_code = 3


class LabError(MeshmarkError):
    """The kernel refused to build the lab (namespace, link, rule, address), or does not hold a limit that was set."""

    exit_code = 4


class Busy(MeshmarkError):
    """Another meshmark uses this machine; two measurements at once would disturb each other."""

    exit_code = 5


class ComponentFailed(MeshmarkError):
    """A broker, a sidecar or a load worker refused its configuration or died, or was not ready in time."""

    exit_code = 6

    def __init__(self, message: str, *, component: str = "", log_tail: tuple[str, ...] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.component = component
        self.log_tail = log_tail

    def __str__(self) -> str:
        tail = "".join(f"\n    | {line}" for line in self.log_tail)
        return super().__str__() + tail


class NoSpace(MeshmarkError):
    """A disk is full, or would be before the run ends."""

    exit_code = 7


class DownloadError(MeshmarkError):
    """A part could not be fetched, or its SHA-256 is not the one committed."""

    exit_code = 8


class RecordError(MeshmarkError):
    """A directory is no run, is damaged, or was written by a newer meshmark."""

    exit_code = 9


class LoadError(MeshmarkError):
    """The load could not be driven: no such topic, authentication refused, cluster gone."""

    exit_code = 10


class InstrumentFault(MeshmarkError):
    """The load generator's own figures contradict each other, or what a stop of known length must do to them."""

    exit_code = 11


class ClusterUnreachable(MeshmarkError):
    """The Kubernetes API server cannot be reached, went away, or gave an answer that is none."""

    exit_code = 12


class NoRights(MeshmarkError):
    """The Kubernetes API server does not know this user, or forbids what is needed; all that is missing is listed."""

    exit_code = 13


class NotOurs(MeshmarkError):
    """A namespace, an object or a field in a Kubernetes cluster belongs to somebody else, and was left alone."""

    exit_code = 14


class ObjectRefused(MeshmarkError):
    """The Kubernetes API server refused an object: it is not valid there, a quota is used up, or a webhook says no."""

    exit_code = 15
