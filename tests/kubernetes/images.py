"""Container images made of what is on this machine, without an engine: archives as containerd imports them (OCI).

`kafka` is not Apache's own image: the same Kafka and Java as the lab's, and start scripts of ours in place of
Apache's, which are in no jar. They heed the variables that the manifests set, and `exec` the same main classes.
`proxyv2` is not Istio's either: the upstream Envoy and a pilot-agent built from Istio's source.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import meshmark
from meshmark.backends.kubernetes.config import KAFKA_SCRIPTS
from meshmark.kafka import distribution
from tests.kubernetes import build

PAUSE, KAFKA, MESHMARK, PROXY = (f"localhost/{name}:test" for name in ("pause", "kafka", "meshmark", "proxyv2"))
TOOLS = ("bash", "cat", "ls", "sleep")
PATH = "PATH=/usr/local/bin:/usr/bin:/bin"
PYTHON = "usr/local"
LIBRARIES = ("confluent-kafka", "crc32c", "cryptography", "kio")
"""What meshmark needs inside a pod beside what it always needs; with all that they need."""
JVM = "$KAFKA_HEAP_OPTS $KAFKA_JVM_PERFORMANCE_OPTS $KAFKA_LOG4J_OPTS"
MAINS = {"kafka-storage.sh": "kafka.tools.StorageTool", "kafka-server-start.sh": "kafka.Kafka"}
SYSTEM = ("/lib/", "/lib64/", "/usr/")
CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
IMAGE_NAME = "io.containerd.image.name"


@dataclass(frozen=True, kw_only=True)
class Image:
    """Files by their path in the image, without the leading slash; and what a container of it does by itself."""

    name: str
    files: dict[str, Path | bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=lambda: {each: f"usr/{each}" for each in ("bin", "lib", "lib64")})
    settings: Mapping[str, Any] = field(default_factory=dict)

    def tree(self, at: str, source: Path, *, without: Iterable[str] = ()) -> None:
        """A directory with all below it, but for names in `without`."""
        for directory, below, names in os.walk(source):
            below[:] = [name for name in below if name not in without]
            place = PurePosixPath(at) / Path(directory).relative_to(source)
            self.files.update({str(place / name): Path(directory, name) for name in names})

    def programs(self, *found: Path) -> None:
        """At their places below /usr/bin."""
        self.files.update({f"usr/bin/{path.name}": path for path in found})
        self.libraries(*found)

    def libraries(self, *found: Path) -> None:
        """Those of the machine that programs and libraries load."""
        for library in _loaded(found):
            at = str(library).lstrip("/") if str(library).startswith(SYSTEM) else f"{PYTHON}/lib/{library.name}"
            self.files[at if at.startswith("usr/") else f"usr/{at}"] = library

    def write(self, path: Path) -> None:
        """As one archive."""
        layer = path.with_suffix(".layer")
        self._write_layer(layer)
        with layer.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        settings = {"Env": [PATH], **self.settings}
        config = _json(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": settings,
                "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
            }
        )
        layer_size = layer.stat().st_size
        manifest = _json(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": _described(CONFIG, config),
                "layers": [{"mediaType": LAYER, "digest": f"sha256:{digest}", "size": layer_size}],
            }
        )
        index = {**_described(MANIFEST, manifest), "annotations": {IMAGE_NAME: self.name}}
        with tarfile.open(path, "w") as archive:
            _add(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
            _add(archive, "index.json", _json({"schemaVersion": 2, "manifests": [index]}))
            for blob in (config, manifest):
                _add(archive, f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}", blob)
            archive.add(layer, f"blobs/sha256/{digest}")
        layer.unlink()

    def _write_layer(self, path: Path) -> None:
        places = [PurePosixPath(name) for name in self.files]
        directories = {str(parent) for place in places for parent in place.parents} - {"."}
        with tarfile.open(path, "w") as archive:
            for name in sorted(directories | {"tmp"}):
                entry = tarfile.TarInfo(name)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
                archive.addfile(entry)
            for name, target in sorted(self.links.items()):
                entry = tarfile.TarInfo(name)
                entry.type, entry.linkname = tarfile.SYMTYPE, target
                archive.addfile(entry)
            for name, source in sorted(self.files.items()):
                _add(archive, name, source)


def pause() -> Image:
    """What keeps a pod's namespaces, and reaps what others leave where they share one of processes."""
    made = Image(name=PAUSE, settings={"Entrypoint": ["/usr/bin/bash", "-c", "sleep infinity & wait"]})
    made.programs(program("bash"), program("sleep"))
    return made


def kafka() -> Image:
    made = Image(name=KAFKA)
    made.programs(*map(program, TOOLS))
    made.links["usr/bin/sh"] = "bash"
    home = distribution.java().path.resolve().parents[1]
    made.tree("opt/java", home)
    made.links["usr/bin/java"] = "/opt/java/bin/java"
    made.libraries(home / "bin" / "java", *home.rglob("*.so"))
    for jar in distribution.fetch(offline=True):
        made.files[f"opt/kafka/libs/{jar.name}"] = jar
    for script, main in MAINS.items():
        text = f'#!/bin/bash\nexec java {JVM} -cp "/opt/kafka/libs/*" {main} "$@"\n'
        made.files[f"{KAFKA_SCRIPTS.lstrip('/')}/{script}"] = text.encode()
    return made


def workers() -> Image:
    """This interpreter, this checkout's meshmark and the libraries that it needs in a pod."""
    made = Image(name=MESHMARK, settings={"Env": [PATH, f"LD_LIBRARY_PATH=/{PYTHON}/lib"]})
    made.programs(*map(program, TOOLS))
    made.links["usr/bin/sh"] = "bash"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    interpreter = Path(sys.base_prefix) / "bin" / version
    made.files[f"{PYTHON}/bin/{version}"] = interpreter
    made.links.update({f"{PYTHON}/bin/python": version, f"{PYTHON}/bin/python3": version})
    static = f"config-{sys.version_info.major}.{sys.version_info.minor}-{sys.implementation._multiarch}"
    unneeded = (static, "site-packages", "test", "tests", "__pycache__", "idlelib", "tkinter", "ensurepip", "lib2to3")
    made.tree(f"{PYTHON}/lib/{version}", Path(sysconfig.get_path("stdlib")), without=unneeded)
    packages = f"{PYTHON}/lib/{version}/site-packages"
    for distribution_name in sorted(_required({"meshmark", *LIBRARIES}) - {"meshmark"}):
        for file in importlib.metadata.files(distribution_name) or ():
            if ".." not in file.parts and file.suffix != ".pyc" and (here := Path(str(file.locate()))).is_file():
                made.files[f"{packages}/{file}"] = here
    made.tree(f"{packages}/meshmark", Path(meshmark.__file__).parent, without=["__pycache__"])
    objects = (source for source in made.files.values() if isinstance(source, Path) and ".so" in source.name)
    made.libraries(interpreter, *objects)
    return made


def proxy() -> Image:
    """A sidecar; also what gives a pod its redirections."""
    bootstrap = build.source("pilot-agent") / "tools" / "packaging" / "common" / "envoy_bootstrap.json"
    made = Image(name=PROXY, settings={"Entrypoint": ["/usr/local/bin/pilot-agent"]})
    made.programs(build.path("nft"))
    made.files.update(
        {
            "usr/local/bin/pilot-agent": build.path("pilot-agent"),
            "usr/local/bin/envoy": distribution.envoy(),
            "var/lib/istio/envoy/envoy_bootstrap_tmpl.json": bootstrap,
            "etc/passwd": b"root:x:0:0::/:/bin/false\nistio-proxy:x:1337:1337::/:/bin/false\n",
        }
    )
    made.libraries(distribution.envoy())
    return made


def program(name: str) -> Path:
    return Path(shutil.which(name) or f"/usr/bin/{name}").resolve()


def _loaded(paths: Iterable[Path]) -> set[Path]:
    """As the dynamic linker finds them; none of those that lie beside what loads them."""
    own = {str(path) for path in paths}
    said = subprocess.run(["ldd", *sorted(own)], capture_output=True, text=True, check=False).stdout
    found = {path for path in re.findall(r"(/\S+) \(0x", said) if path not in own}
    beside = {str(Path(path).parent) for path in own if not path.startswith(SYSTEM)}
    return {Path(path) for path in found if str(Path(path).parent) not in beside}


def _required(names: set[str]) -> set[str]:
    """With all that they need, extras apart."""
    found: set[str] = set()
    left = set(names)
    while left:
        name = left.pop()
        found.add(name)
        needed = (text for text in importlib.metadata.requires(name) or () if "extra ==" not in text)
        wanted = {re.split(r"[^\w.-]", text)[0] for text in needed}
        left |= {each for each in wanted if _installed(each)} - found
    return found


def _installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _add(archive: tarfile.TarFile, name: str, source: Path | bytes) -> None:
    if isinstance(source, bytes):
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(source), 0o755
        archive.addfile(entry, io.BytesIO(source))
        return
    entry = archive.gettarinfo(source.resolve(), name)
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode |= 0o444
    with source.open("rb") as file:
        archive.addfile(entry, file)


def _described(kind: str, blob: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": f"sha256:{hashlib.sha256(blob).hexdigest()}", "size": len(blob)}


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
