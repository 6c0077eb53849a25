"""Strimzi's own cluster operator, built from its source and run in a cluster with a node as its manifests say.

    python -m tests.kubernetes.strimzi SOURCE     SOURCE: a checkout of Strimzi at the tag 1.2.0

No repository of Maven has its jars, so they are compiled here, against what its own parent names (`parts/strimzi`): a
minute of CPU. Needs Maven and a JDK of version 21 or newer (JAVA_HOME). What comes of it is kept beside the parts of
Kubernetes.

Strimzi's are the cluster operator, the init container that asks for the rack, the agent in each broker, its roles,
definitions and Deployment. Ours are the image, which has all of them, and the scripts in it that pods start. Fabric8's
client is of another version than Strimzi's. There is no entity operator: meshmark's resources ask for none.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from meshmark.errors import DownloadError, MeshmarkError, MissingRequirement, UsageError
from meshmark.kafka import distribution
from tests.kubernetes import build, images, node
from tests.kubernetes.controlplane import ControlPlane
from tests.kubernetes.images import Image
from tests.kubernetes.services import services

VERSION, KAFKA_VERSION = "1.2.0", "4.3.1"
COMMAND = "python -m tests.kubernetes.strimzi"
IMAGE = "localhost/strimzi:test"
USER = "1001"
"""That Strimzi's own images have; its group is root's."""
OWN_IMAGES = re.compile(r"[\w.]+/strimzi/[\w.:-]+")
NAMESPACE = "strimzi"
MODULES = ("certificate-issuer", "config-model", "operator-common", "cluster-operator", "kafka-init")
"""Of its source, in one jar."""
GENERATOR = "io.strimzi.build.kafka.metadata.KafkaConfigModelGenerator"
FOR_AGENT = ("jetty-", "jakarta.servlet-api-", "metrics-core-")
"""Jars of the operator's that the agent in a broker needs as well."""
MANIFEST = "Premain-Class: io.strimzi.kafka.agent.KafkaAgent\n"
READY_TIMEOUT = "150s"

OPERATOR_RUN = """#!/bin/bash
exec java -Xmx384m -XX:TieredStopAtLevel=1 -cp "/opt/strimzi/lib/*" \\
  -Dlog4j2.configurationFile=/opt/strimzi/custom-config/log4j2.properties io.strimzi.operator.cluster.Main
"""
INIT_RUN = """#!/bin/bash
exec java -Xmx64m -XX:TieredStopAtLevel=1 -cp "/opt/strimzi/lib/*" io.strimzi.kafka.init.Main
"""
KAFKA_RUN = """#!/bin/bash
# Formats the volume, then runs the broker, with Strimzi's agent in it. This is the first of the container's processes,
# which none of them can stop; in Strimzi's own image that is tini.
set -eu
export STRIMZI_BROKER_ID="${HOSTNAME##*-}"
cd /tmp
given=/opt/kafka/custom-config settings=strimzi.properties agent=kafka-agent.properties
cat "$given/server.config" > "$settings"
java -Xmx256m -cp "/opt/kafka/libs/*" kafka.tools.StorageTool format "-t=$(cat $given/cluster.id)" \\
  "-r=$(cat $given/metadata.version)" "-c=$settings" -g
{
  echo "sslTrustStoreSecretName=$KAFKA_CLUSTER_NAME-cluster-ca-cert"
  echo "sslKeyStoreSecretName=$HOSTNAME"
  echo "namespace=$(cat /var/run/secrets/kubernetes.io/serviceaccount/namespace)"
} > "$agent"
java ${KAFKA_HEAP_OPTS:-} ${KAFKA_JVM_PERFORMANCE_OPTS:-} ${STRIMZI_JAVA_SYSTEM_PROPERTIES:-} \\
  -Dlog4j2.configurationFile=$given/log4j2.properties \\
  "-javaagent:/opt/kafka/agent/kafka-agent.jar=$agent" -cp "/opt/kafka/libs/*" kafka.Kafka "$settings" &
trap 'kill $!' TERM
wait $! || wait $!
"""
LIVENESS = """#!/bin/bash
for each in /proc/[0-9]*/comm; do
  [ "$(cat "$each" 2> /dev/null)" = java ] && exit 0
done
exit 1
"""
READINESS = """#!/bin/bash
exec 3<> /dev/tcp/127.0.0.1/8080 || exit 1
printf 'GET /v1/ready/ HTTP/1.0\\r\\n\\r\\n' >&3
read -r _ code _ <&3
[ "$code" = 204 ]
"""
OPENSSL_SETTINGS = """[req]
distinguished_name = name
[name]
"""
"""Without any it makes no request for a certificate."""
FILES = {
    "opt/strimzi/bin/cluster_operator_run.sh": OPERATOR_RUN,
    "opt/strimzi/bin/kafka_init_run.sh": INIT_RUN,
    "opt/strimzi/openssl.cnf": OPENSSL_SETTINGS,
    "opt/kafka/kafka_run.sh": KAFKA_RUN,
    "opt/kafka/kafka_liveness.sh": LIVENESS,
    "opt/kafka/kafka_readiness.sh": READINESS,
}
TOOLS = (*images.TOOLS, "openssl")


def home() -> Path:
    """Of what is built: `operator`, `kafka`, `agent` with jars, and `install` with manifests."""
    return build.home() / f"strimzi-{build.digest('strimzi')}"


def missing() -> bool:
    return not home().is_dir()


@contextmanager
def strimzi(plane: ControlPlane) -> Iterator[None]:
    """The operator runs, and watches all namespaces; services have addresses that lead to their pods."""
    node.load(plane, image())
    with services(plane):
        plane.kubectl("create", "namespace", NAMESPACE)
        objects = {"apiVersion": "v1", "kind": "List", "items": list(_objects())}
        plane.kubectl("apply", "--server-side", "--filename=-", stdin=objects)
        deployment = ("deployment/strimzi-cluster-operator", f"--namespace={NAMESPACE}")
        done = plane.kubectl("rollout", "status", *deployment, f"--timeout={READY_TIMEOUT}", check=False)
        assert done.returncode == 0, plane.kubectl("describe", "pods", f"--namespace={NAMESPACE}").stdout[-4000:]
        yield


def image() -> Image:
    settings = {"User": USER, "Env": [images.PATH, "OPENSSL_CONF=/opt/strimzi/openssl.cnf"]}
    made = Image(name=IMAGE, settings=settings)
    made.programs(*map(images.program, TOOLS))
    made.links["usr/bin/sh"] = "bash"
    java = distribution.java().path.resolve().parents[1]
    made.tree("opt/java", java)
    made.links["usr/bin/java"] = "/opt/java/bin/java"
    made.libraries(java / "bin" / "java", *java.rglob("*.so"))
    for place, within in (("operator", "opt/strimzi/lib"), ("kafka", "opt/kafka/libs"), ("agent", "opt/kafka/agent")):
        made.tree(within, home() / place)
    made.files.update({path: text.encode() for path, text in FILES.items()})
    return made


def _objects() -> Iterator[dict[str, Any]]:
    """As in Strimzi's `install/cluster-operator`, with what its documentation changes for all namespaces."""
    yaml = YAML(typ="safe", pure=True)
    for file in sorted((home() / "install").glob("*.yaml")):
        body = yaml.load(file)
        if body["kind"] == "RoleBinding":
            body["kind"] = "ClusterRoleBinding"
            body["metadata"]["name"] += "-everywhere"
        for subject in body.get("subjects", ()):
            subject["namespace"] = NAMESPACE
        if body["kind"] in ("ServiceAccount", "ConfigMap", "Deployment"):
            body["metadata"]["namespace"] = NAMESPACE
        if body["kind"] == "Deployment":
            _tell(body["spec"]["template"]["spec"]["containers"][0])
        yield body


def _tell(container: dict[str, Any]) -> None:
    """To watch all namespaces, and one image for everything."""
    container["image"] = IMAGE
    container.pop("resources", None)
    for each in container["env"]:
        if each["name"] == "STRIMZI_NAMESPACE":
            each.pop("valueFrom")
            each["value"] = "*"
        elif "value" in each:
            each["value"] = OWN_IMAGES.sub(IMAGE, each["value"])


def make(source: Path) -> Path:
    """Raises UsageError for another source, MissingRequirement, and DownloadError."""
    if f"<version>{VERSION}</version>" not in _text(source / "pom.xml"):
        raise UsageError(f"{source} is no checkout of Strimzi {VERSION}", hint=f"{COMMAND} takes one.")
    home().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="strimzi-", dir=home().parent) as directory:
        made = Path(directory) / "made"
        for part in ("operator", "kafka"):
            _fetch(part, made / part)
        _compile(source, made, Path(directory))
        shutil.copytree(source / "install" / "cluster-operator", made / "install")
        made.replace(home())
    return home()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None


def _fetch(part: str, directory: Path) -> None:
    pom = build.SOURCES / "strimzi" / part / "pom.xml"
    copy = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
    options = [f"-DoutputDirectory={directory}", "-DincludeScope=runtime"]
    _run([_found("mvn"), "--batch-mode", "--quiet", f"--file={pom}", copy, *options])


def _compile(source: Path, made: Path, scratch: Path) -> None:
    classes, agent, generator = (scratch / name for name in ("classes", "agent", "generator"))
    jars, kafka = f"{made / 'operator'}/*", f"{made / 'kafka'}/*"
    _javac(classes, jars, *(source / module for module in MODULES))
    _javac(agent, f"{jars}:{kafka}", source / "kafka-agent")
    _javac(generator, f"{kafka}:{jars}:{classes}", source / "config-model-generator")
    for module in MODULES:
        if (resources := source / module / "src/main/resources").is_dir():
            shutil.copytree(resources, classes, dirs_exist_ok=True)
    shutil.copy(source / "kafka-versions.yaml", classes)
    (classes / ".properties").write_text(f"version={VERSION}\n", encoding="ascii")
    model = classes / f"kafka-{KAFKA_VERSION}-config-model.json"
    _run([_java("java"), "-cp", f"{generator}:{classes}:{kafka}:{jars}", GENERATOR, str(model)])
    (scratch / "manifest").write_text(MANIFEST, encoding="ascii")
    (made / "agent").mkdir()
    _run([_java("jar"), "cf", str(made / "operator" / "strimzi.jar"), "-C", str(classes), "."])
    target = str(made / "agent" / "kafka-agent.jar")
    _run([_java("jar"), "cfm", target, str(scratch / "manifest"), "-C", str(agent), "."])
    for jar in (made / "operator").iterdir():
        if jar.name.startswith(FOR_AGENT):
            shutil.copy(jar, made / "kafka")


def _javac(directory: Path, jars: str, *modules: Path) -> None:
    files = [str(file) for module in modules for file in sorted((module / "src/main/java").rglob("*.java"))]
    options = ["--release", "21", "-proc:none", "-nowarn", "-cp", jars, "-d", str(directory)]
    _run([_java("javac"), *options, *files])


def _java(name: str) -> str:
    own = os.environ.get("JAVA_HOME")
    return str(Path(own) / "bin" / name) if own else _found(name)


def _found(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise MissingRequirement(f"no {name} on PATH", hint="Maven and a JDK of version 21 or newer are needed.")
    return path


def _run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DownloadError(f"{Path(argv[0]).name} failed: {(done.stdout + done.stderr)[-2000:]}")


def main() -> None:
    parser = argparse.ArgumentParser(prog=COMMAND, description="Builds Strimzi's cluster operator.")
    parser.add_argument("source", type=Path, help=f"a checkout of Strimzi at the tag {VERSION}")
    try:
        print(make(parser.parse_args().source))
    except MeshmarkError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
