"""Formatted storage of a KRaft node without a JVM for each.

Formatting writes two things: `meta.properties` (who the node is) and a bootstrap checkpoint (the finalized features).
The checkpoint does not depend on the node, so Kafka's own StorageTool makes it once per set of jars and settings; it
is kept in the cache and copied from there. A lab test compares the features with those of a node that StorageTool
formatted.
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path

from meshmark.errors import ComponentFailed
from meshmark.kafka.distribution import cache_dir
from meshmark.kafka.launch import Runtime
from meshmark.kafka.properties import render
from meshmark.plan import ClusterSpec

METADATA = "__cluster_metadata-0"
CHECKPOINT = "00000000000000000000-0000000000.checkpoint"


def random_id() -> str:
    """A UUID as Kafka writes it; never one that starts with a dash, which command lines would take for an option."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return text


def bootstrap_checkpoint(runtime: Runtime, spec: ClusterSpec, settings: Mapping[str, str]) -> Path:
    """StorageTool's checkpoint for these jars and the plan's broker settings, from the cache if it was made before.

    `settings` are those of any one node: what the lab itself decides in them has no part in the features.
    """
    key = hashlib.sha256("\n".join([*map(str, runtime.jars), repr(sorted(spec.broker_config.items()))]).encode())
    path = cache_dir() / "storage" / f"{key.hexdigest()[:24]}.checkpoint"
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="format-") as name:
        made = format_storage(runtime, settings, Path(name))
        made.rename(path)
    return path


def format_storage(runtime: Runtime, settings: Mapping[str, str], directory: Path) -> Path:
    """Runs StorageTool on `log/` and `metadata/` of a directory; returns the checkpoint it wrote."""
    file = directory / "server.properties"
    own = {"log.dirs": str(directory / "log"), "metadata.log.dir": str(directory / "metadata")}
    file.write_text(render({**settings, **own}), encoding="utf-8")
    # One short run: a fully optimising compiler would not pay.
    options = ["-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xshare:auto", f"-Djava.io.tmpdir={directory}"]
    command = runtime.command("kafka.tools.StorageTool", "format", "-t", random_id(), "-c", str(file), options=options)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        raise ComponentFailed(
            "Kafka refuses these broker settings",
            component="kafka",
            log_tail=_message(done.stdout + done.stderr),
            hint="Look at brokerConfig in the plan.",
        )
    return directory / "metadata" / METADATA / CHECKPOINT


def _message(output: str) -> tuple[str, ...]:
    """What a Java tool says at its end, without the stack."""
    return tuple([line for line in output.splitlines() if line and not line.startswith("\tat ")][-8:])


def write_storage(directory: Path, *, node_id: int, cluster_id: str, checkpoint: Path) -> None:
    """What StorageTool would have written into `log/` and `metadata/`."""
    for name in ("log", "metadata"):
        (directory / name).mkdir(parents=True)
        text = f"version=1\ncluster.id={cluster_id}\nnode.id={node_id}\ndirectory.id={random_id()}\n"
        (directory / name / "meta.properties").write_text(text, encoding="utf-8")
    metadata = directory / "metadata" / METADATA
    metadata.mkdir()
    target = metadata / CHECKPOINT
    target.write_bytes(checkpoint.read_bytes())
    target.chmod(0o400)
