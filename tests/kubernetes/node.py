"""A node for a control plane: real kubelet, containerd, runc and CNI plugins, and CoreDNS, in its place's network.

The node has namespaces (PID, mount, UTS, IPC, control groups) of its own, which `inside.py` makes; of the machine it
sees the files. Pods are joined to a bridge, whose address is the node's; names are CoreDNS's, at that address. There
is no kube-proxy: headless services have names, ClusterIPs lead nowhere. Volumes are directories that exist beforehand.

Limits: one node in one network; control groups of version 1; needs root. It says that it is in a zone, has all of the
machine's CPUs and memory, and reserves none of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute

from meshmark.backends.lab.process import running
from meshmark.errors import ComponentFailed, MissingRequirement
from tests.kubernetes import build, images
from tests.kubernetes.controlplane import ControlPlane, component, control_plane, flags, plain_answer, wait
from tests.kubernetes.groups import Group, node_groups
from tests.kubernetes.images import Image
from tests.kubernetes.place import HERE, Place

PARTS = (*build.API, *build.CONTROLLERS, *build.NODE)
BRIDGE_MAC = "02:00:00:00:00:01"
DOMAIN = "cluster.local"
DNS_READY_PORT = 8181
STORAGE_CLASS = "local"
VOLUMES = 60
INSIDE = Path(__file__).with_name("inside.py")
NODE_GROUP = "system:nodes"
NAME_SERVERS = "name-servers"

# What kubelet would set for the whole machine; it sets nothing where it reads what it wants.
COVERED = {
    "/proc/sys/vm/overcommit_memory": "1",
    "/proc/sys/vm/panic_on_oom": "0",
    "/proc/sys/kernel/panic": "10",
    "/proc/sys/kernel/panic_on_oops": "1",
    "/proc/sys/kernel/keys/root_maxkeys": "1000000",
    "/proc/sys/kernel/keys/root_maxbytes": "25000000",
}

CONTAINERD = """version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
address = "{home}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
restrict_oom_score_adj = true
disable_apparmor = true
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "{runc}"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{home}/cni"
"""
COREFILE = f""".:53 {{
  errors
  ready 127.0.0.1:{DNS_READY_PORT}
  kubernetes {DOMAIN} {{
    kubeconfig {{kubeconfig}}
    ttl 5
  }}
}}
"""


@contextmanager
def one_node(place: Place = HERE) -> Iterator[ControlPlane]:
    """A whole cluster there, whose node is ready and has the images of Kafka and of meshmark's workers. Raises
    MissingRequirement if a part is missing, ComponentFailed with the end of the log of one that does not come up."""
    if absent := build.missing(PARTS):
        raise MissingRequirement(f"not there: {', '.join(absent)}", hint=f"Get them with {build.advice(absent)}.")
    with control_plane(place) as plane, node(plane):
        for image in (images.kafka(), images.workers()):
            load(plane, image)
        yield plane


@contextmanager
def node(plane: ControlPlane) -> Iterator[None]:
    """One that has joined and is ready."""
    home = _home(plane)
    home.mkdir()
    with ExitStack() as stack:
        if plane.place.namespace is None:
            stack.enter_context(_bridge(plane.place))
        names = stack.enter_context(component(plane.host, "coredns", ["-conf", str(_name_server(plane, home))]))
        wait(partial(plain_answer, plane.host, DNS_READY_PORT, "/ready"), [names])
        groups = stack.enter_context(node_groups(plane.place.node))
        file = home / "inside.json"
        file.write_text(json.dumps(_inside(plane, home, groups)), encoding="utf-8")
        argv = [sys.executable, "-I", "-S", str(INSIDE), str(file)]
        log = home / "node.log"
        inside = stack.enter_context(
            running(plane.host, argv, name="node", component="kubernetes", log=log, grace_s=0)
        )
        wait(partial(_said, [*_ctr(home), "version"]), [names, inside])
        load(plane, images.pause())
        _volumes(plane, home)
        wait(partial(_ready, plane), [names, inside])
        yield


@contextmanager
def _bridge(place: Place) -> Iterator[None]:
    """Made before pods need it, since its address is the node's."""
    with IPRoute() as netlink:
        netlink.link("add", ifname=place.bridge, kind="bridge", address=BRIDGE_MAC)
        [index] = netlink.link_lookup(ifname=place.bridge)
        netlink.addr("add", index=index, address=place.address, prefixlen=place.prefix_length)
        netlink.link("set", index=index, state="up")
        try:
            yield
        finally:
            netlink.link("del", index=index)


def _name_server(plane: ControlPlane, home: Path) -> Path:
    """CoreDNS's file, with the rights of its user."""
    resources = "--resource=namespaces,pods,services,endpointslices.discovery.k8s.io"
    plane.kubectl("create", "clusterrole", NAME_SERVERS, "--verb=list,watch", resources)
    plane.kubectl("create", "clusterrolebinding", NAME_SERVERS, f"--clusterrole={NAME_SERVERS}", "--user=coredns")
    kubeconfig = plane.credentials.kubeconfig("coredns", plane.credentials.identity("coredns"))
    file = home / "Corefile"
    file.write_text(COREFILE.replace("{kubeconfig}", str(kubeconfig)), encoding="utf-8")
    return file


def _inside(plane: ControlPlane, home: Path, groups: Iterable[Group]) -> dict[str, Any]:
    """What `inside.py` is told, and the files that this refers to."""
    covered: dict[str, str] = {}
    for number, (path, value) in enumerate(COVERED.items()):
        covered[path] = str(home / f"setting-{number}")
        Path(covered[path]).write_text(f"{value}\n", encoding="ascii")
    bound = {f"/var/lib/{name}": str(home / name) for name in ("containerd", "kubelet")}
    for name in ("cni", "containerd", "kubelet"):
        (home / name).mkdir()
    (home / "cni" / "pods.conflist").write_text(json.dumps(_pod_network(plane.place, home)), encoding="utf-8")
    (home / "containerd.toml").write_text(
        CONTAINERD.format(home=home, pause=images.PAUSE, runc=build.path("runc"), plugins=build.CNI_PLUGINS),
        encoding="utf-8",
    )
    (home / "kubelet.json").write_text(json.dumps(_kubelet(plane, home)), encoding="utf-8")
    place = plane.place
    own = plane.credentials.identity(f"system:node:{place.node}", NODE_GROUP)
    kubelet = flags(
        config=home / "kubelet.json",
        kubeconfig=plane.credentials.kubeconfig("kubelet", own),
        hostname_override=place.node,
        node_ip=place.address,
        node_labels=f"topology.kubernetes.io/zone={place.zone}",
    )
    return {
        "name": place.node,
        "groups": [[str(group.path), group.point.name, group.options] for group in groups],
        "covered": covered,
        "bound": bound,
        "logs": str(home),
        "socket": str(_socket(home)),
        "containerd": [str(build.path("containerd")), "--config", str(home / "containerd.toml")],
        "kubelet": [str(build.path("kubelet")), *kubelet],
    }


def _kubelet(plane: ControlPlane, home: Path) -> dict[str, Any]:
    address = plane.place.address
    own = plane.credentials.identity(plane.place.node, addresses=[address])
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": address,
        "healthzPort": 0,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(plane.credentials.authority)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(own.chain),
        "tlsPrivateKeyFile": str(own.key),
        "containerRuntimeEndpoint": f"unix://{_socket(home)}",
        "clusterDomain": DOMAIN,
        "clusterDNS": [address],
        "resolvConf": "",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "enforceNodeAllocatable": ["none"],
        "makeIPTablesUtilChains": False,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "volumePluginDir": str(home / "volume-plugins"),
    }


def _pod_network(place: Place, home: Path) -> dict[str, Any]:
    addresses = {
        "type": "host-local",
        "dataDir": str(home / "addresses"),
        "ranges": [[{"subnet": place.pods}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": place.bridge, "isGateway": True, "hairpinMode": True, "ipam": addresses}
    return {"cniVersion": "1.0.0", "name": place.bridge, "plugins": [bridge]}


def load(plane: ControlPlane, image: Image) -> None:
    """Gives an image to the node, which then never asks a registry for it."""
    archive = _home(plane) / "image.tar"
    image.write(archive)
    if said := _said([*_ctr(_home(plane)), "images", "import", str(archive)]):
        raise ComponentFailed(f"the node does not take the image {image.name}: {said}", component="containerd")
    archive.unlink()


def _volumes(plane: ControlPlane, home: Path) -> None:
    """A default storage class, and directories of the node for it: a claim takes one, and none is used twice."""
    storage = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    items = [storage, *(_volume(number, plane.place.node, home) for number in range(1, VOLUMES + 1))]
    plane.kubectl("create", "--filename=-", stdin={"apiVersion": "v1", "kind": "List", "items": items})


def _volume(number: int, node: str, home: Path) -> dict[str, Any]:
    directory = home / "volumes" / str(number)
    directory.mkdir(parents=True)
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{STORAGE_CLASS}-{number}"},
        "spec": {
            "capacity": {"storage": "1Ti"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": STORAGE_CLASS,
            "persistentVolumeReclaimPolicy": "Retain",
            "local": {"path": str(directory)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        },
    }


def _ready(plane: ControlPlane) -> str:
    """What is wrong."""
    asked = ("wait", "--for=condition=Ready", f"node/{plane.place.node}", "--timeout=1s")
    return plane.kubectl(*asked, check=False).stderr


def _home(plane: ControlPlane) -> Path:
    return plane.directory / "node"


def _socket(home: Path) -> Path:
    return home / "containerd.sock"


def _ctr(home: Path) -> list[str]:
    return [str(build.path("ctr")), "--address", str(_socket(home)), "--namespace", "k8s.io"]


def _said(argv: list[str]) -> str:
    """What is wrong: nothing where the command succeeds."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr or f"status {done.returncode}"
