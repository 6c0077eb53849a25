"""The class that a broker is started by, so that its metrics can be read over a Unix socket at hardly any cost.

`resources/java/meshmark/Broker.java` opens the socket and then calls Kafka's own main. It is compiled once, into a jar
of the cache, by a compiler that runs on any Java runtime (the lock of ECJ), since a runtime has none. It uses the JDK
alone, so one jar serves every version of Kafka.
"""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
import zipfile
from pathlib import Path

from meshmark.errors import ComponentFailed
from meshmark.kafka.distribution import JAVA_OLDEST, Java, Progress, cache_dir, fetch

ECJ = "ecj-3.42.0"
MAIN = "meshmark.Broker"
SOCKET_PROPERTY = "meshmark.metrics"
SOURCE = Path(__file__).parent.parent / "resources" / "java" / "meshmark" / "Broker.java"
COMPILE_TIMEOUT_S = 120.0


def companion(java: Java, *, offline: bool = False, progress: Progress | None = None) -> Path:
    """The jar, compiled now if the cache does not have it."""
    key = hashlib.sha256(SOURCE.read_bytes() + ECJ.encode()).hexdigest()[:24]
    jar = cache_dir() / "jars" / "meshmark" / f"broker-{key}.jar"
    if jar.is_file():
        return jar
    [compiler] = fetch(ECJ, offline=offline, progress=progress)
    jar.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=jar.parent, prefix="compile-") as name:
        classes = Path(name) / "classes"
        _compile(java, compiler, classes)
        made = Path(name) / "made.jar"
        with zipfile.ZipFile(made, "w") as archive:
            for path in sorted(classes.rglob("*.class")):
                archive.write(path, path.relative_to(classes))
        made.rename(jar)
    return jar


def _compile(java: Java, compiler: Path, classes: Path) -> None:
    level = str(JAVA_OLDEST)
    # One short run: a fully optimising compiler would not pay.
    options = ["-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]
    arguments = ["-source", level, "-target", level, "-nowarn", "-d", str(classes), str(SOURCE)]
    command = [str(java.path), *options, "-jar", str(compiler), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=COMPILE_TIMEOUT_S)
    if done.returncode:
        raise ComponentFailed(
            f"{SOURCE.name} cannot be compiled for {java.path}",
            component="kafka",
            log_tail=tuple((done.stdout + done.stderr).strip().splitlines()[-12:]),
            hint=f"The command was: {' '.join(command)}",
        )
