"""Formatted storage of a KRaft node without a JVM for each.

Formatting writes two things: `meta.properties` (who the node is) and a bootstrap checkpoint (the finalized features).
The checkpoint does not depend on the node, so Kafka's own StorageTool formats one node per set of jars and settings;
what it wrote is kept in the cache and copied from there, whatever its name in that version of Kafka. A lab test
compares the copy with a node that StorageTool formatted.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from meshmark.errors import ComponentFailed
from meshmark.kafka.distribution import cache_dir
from meshmark.kafka.launch import Runtime
from meshmark.kafka.properties import render
from meshmark.plan import ClusterSpec

IDENTITY = "meta.properties"
DIRECTORIES = ("log", "metadata")


def random_id() -> str:
    """A UUID as Kafka writes it; never one that starts with a dash, which command lines would take for an option."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return text


def template(runtime: Runtime, spec: ClusterSpec, settings: Mapping[str, str]) -> Path:
    """A directory with what StorageTool writes for these jars and the plan's broker settings, identity apart; from
    the cache if it was made before. `settings` are those of any one node: what the lab itself decides in them has
    no part in the features."""
    key = hashlib.sha256("\n".join([*map(str, runtime.jars), repr(sorted(spec.broker_config.items()))]).encode())
    path = cache_dir() / "storage" / key.hexdigest()[:24]
    if path.is_dir():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="format-") as name:
        made = Path(name) / "made"
        made.mkdir()
        format_storage(runtime, settings, made)
        for identity in made.rglob(IDENTITY):
            identity.unlink()
        with suppress(OSError):  # another process was faster
            made.rename(path)
    return path


def format_storage(runtime: Runtime, settings: Mapping[str, str], directory: Path) -> None:
    """Runs StorageTool on `log/` and `metadata/` of a directory."""
    file = directory.parent / "server.properties"
    own = {"log.dirs": str(directory / "log"), "metadata.log.dir": str(directory / "metadata")}
    file.write_text(render({**settings, **own}), encoding="utf-8")
    # One short run: a fully optimising compiler would not pay.
    options = ["-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xshare:auto", f"-Djava.io.tmpdir={directory.parent}"]
    command = runtime.command("kafka.tools.StorageTool", "format", "-t", random_id(), "-c", str(file), options=options)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        raise ComponentFailed(
            "Kafka refuses these broker settings",
            component="kafka",
            log_tail=_message(done.stdout + done.stderr),
            hint="Look at brokerConfig in the plan.",
        )


def _message(output: str) -> tuple[str, ...]:
    """What a Java tool says at its end, without the stack."""
    return tuple([line for line in output.splitlines() if line and not line.startswith("\tat ")][-8:])


def write_storage(directory: Path, *, node_id: int, cluster_id: str, template: Path) -> None:
    """What StorageTool would have written into `log/` and `metadata/` of a directory, which may be there already."""
    shutil.copytree(template, directory, dirs_exist_ok=True)
    for name in DIRECTORIES:
        text = f"version=1\ncluster.id={cluster_id}\nnode.id={node_id}\ndirectory.id={random_id()}\n"
        (directory / name / IDENTITY).write_text(text, encoding="utf-8")
