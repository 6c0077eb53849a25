"""The command line of a broker, and the ahead-of-time archive that all brokers start from.

The archive (JDK 25 and newer: AOT cache, JEP 483/514/515; older: CDS) is written by one training run and used by
every broker of every scenario alike. It belongs to one Java, one set of jars and one set of JVM options, and its name
has them all. Limit: a JVM checks the jars' times, so a jar that is fetched again needs a new archive.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from meshmark.kafka.companion import MAIN, SOCKET_PROPERTY
from meshmark.kafka.distribution import Java, cache_dir
from meshmark.plan import ClusterSpec

LOGGING = Path(__file__).parent.parent / "resources" / "kafka" / "log4j2.properties"
AOT_SINCE = 25
TRAINING = "TLS and plaintext load, 10 s each"
"""What the archive was trained with; another training, another archive."""
COMPRESSED_HEAP_BYTES_MAX = 32 * 1024**3
"""From here on pointers are not compressed, which needs another archive; below, one serves every heap."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Runtime:
    """A Java runtime and the jars on its class path."""

    java: Java
    jars: tuple[Path, ...]

    def command(self, main: str, *arguments: str, options: Sequence[str] = ()) -> list[str]:
        class_path = ":".join(map(str, self.jars))
        return [str(self.java.path), *options, "-cp", class_path, main, *arguments]


def broker_command(
    runtime: Runtime,
    spec: ClusterSpec,
    settings: Path,
    temporary: Path,
    archive: Sequence[str] = (),
    metrics: Path | None = None,
) -> list[str]:
    """`settings` is a properties file; the JVM and native libraries leave their files in `temporary`. With `metrics`,
    a path for a socket, it is started by the companion, whose jar has to be among the runtime's."""
    options = [
        f"-Xms{spec.heap_bytes}",
        f"-Xmx{spec.heap_bytes}",
        *spec.jvm_options,
        *archive,
        "-XX:+ExitOnOutOfMemoryError",
        "-XX:+UsePerfData",  # without it the JVM does not say how long it compiled
        "-showversion",  # so that the log says which Java ran
        "-XX:+PerfDisableSharedMem",  # its file in /tmp would outlive a killed broker
        "-Djava.awt.headless=true",
        f"-Djava.io.tmpdir={temporary}",
        f"-Dlog4j2.configurationFile={LOGGING}",
        *([f"-D{SOCKET_PROPERTY}={metrics}"] if metrics else []),
    ]
    return runtime.command(MAIN if metrics else "kafka.Kafka", str(settings), options=options)


def archive_path(runtime: Runtime, spec: ClusterSpec) -> Path:
    """Where the archive for these parts and options is, or would be, in the cache."""
    key = hashlib.sha256()
    pointers = "wide" if spec.heap_bytes >= COMPRESSED_HEAP_BYTES_MAX else "compressed"
    parts = [TRAINING, str(runtime.java.path), runtime.java.version, pointers, *spec.jvm_options]
    for jar in runtime.jars:
        state = jar.stat()
        parts.append(f"{jar} {state.st_size} {state.st_mtime_ns}")
    key.update("\n".join(parts).encode())
    return cache_dir() / "archives" / f"{key.hexdigest()[:24]}.jsa"


def training_options(java: Java, archive: Path) -> list[str]:
    """For the run that writes the archive when it is ended by SIGTERM."""
    if java.major >= AOT_SINCE:
        return [f"-XX:AOTCacheOutput={archive}"]
    return [f"-XX:ArchiveClassesAtExit={archive}"]


def archive_options(java: Java, archive: Path) -> list[str]:
    """A broker that cannot use the archive refuses to start, so that brokers never differ silently."""
    if java.major >= AOT_SINCE:
        return [f"-XX:AOTCache={archive}", "-XX:AOTMode=on"]
    return [f"-XX:SharedArchiveFile={archive}", "-Xshare:on"]
