"""An environment as its provider's tool reads it: a ClusterConfig for eksctl, commands of gcloud. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from meshmark.backends.kubernetes.files import yaml_text
from meshmark.backends.kubernetes.infra.environments import KUBERNETES, LOOKED_UP, Asked, Nodes
from meshmark.backends.kubernetes.pools import EFFECT, LABEL, Pool

WIDTH = 116
CONTINUED = " \\\n  "


def cluster_text(asked: Asked) -> str:
    """For `eksctl create cluster -f -`, or `sh`."""
    if asked.environment.provider == "eks":
        return _head(asked, "eksctl create cluster -f FILE") + yaml_text(cluster_config(asked))
    return "#!/bin/sh\n" + _head(asked, "sh FILE") + "set -eu\n" + "\n".join(map(_command, gcloud(asked))) + "\n"


def storage_class_text(asked: Asked) -> str:
    """For `kubectl apply -f -`, once the cluster is there."""
    return yaml_text(storage_class(asked))


def storage_class(asked: Asked) -> dict[str, Any]:
    """A volume is made where its pod is, and goes with it."""
    disks = asked.environment.disks
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": disks.name},
        "provisioner": disks.provisioner,
        "parameters": dict(disks.parameters),
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
    }


def cluster_config(asked: Asked) -> dict[str, Any]:
    """eksctl's own kind of object. Volumes need the driver, and the driver rights, which a pod identity gives it."""
    return {
        "apiVersion": "eksctl.io/v1alpha5",
        "kind": "ClusterConfig",
        "metadata": {"name": asked.name, "region": asked.region, "version": KUBERNETES},
        "availabilityZones": list(asked.zones),
        "addonsConfig": {"autoApplyPodIdentityAssociations": True},
        "addons": [
            {"name": name}
            for name in ("vpc-cni", "coredns", "kube-proxy", "eks-pod-identity-agent", "aws-ebs-csi-driver")
        ],
        "managedNodeGroups": [
            {
                "name": str(pool),
                "instanceType": nodes.machine,
                "minSize": nodes.count,
                "desiredCapacity": nodes.count,
                "maxSize": nodes.count,
                "availabilityZones": list(asked.zones[: nodes.zones]),
                "labels": {LABEL: str(pool)},
                **({"taints": [{"key": LABEL, "value": str(pool), "effect": EFFECT}]} if pool.tainted else {}),
            }
            for pool, nodes in asked.environment.pools.items()
        ],
    }


def gcloud(asked: Asked) -> list[list[str]]:
    """Commands in their order. The cluster's first pool, which every cluster of GKE is made with, is the one that is
    not tainted."""
    pools = dict(asked.environment.pools)
    first = pools.pop(Pool.CONTROLLER)
    where = [f"--location={asked.region}"]
    create = ["gcloud", "container", "clusters", "create", asked.name, *where]
    create += ["--release-channel=regular", f"--cluster-version={KUBERNETES}"]
    made = [[*create, *_nodes(asked, Pool.CONTROLLER, first)]]
    for pool, nodes in pools.items():
        command = ["gcloud", "container", "node-pools", "create", str(pool), f"--cluster={asked.name}", *where]
        made.append([*command, *_nodes(asked, pool, nodes)])
    return [*made, ["gcloud", "container", "clusters", "get-credentials", asked.name, *where]]


def _nodes(asked: Asked, pool: Pool, nodes: Nodes) -> list[str]:
    boot = asked.environment.disks.boot_disk
    return [
        f"--node-locations={','.join(asked.zones[: nodes.zones])}",
        f"--num-nodes={nodes.each_zone}",
        f"--machine-type={nodes.machine}",
        *([f"--disk-type={boot}"] if boot else []),
        f"--node-labels={LABEL}={pool}",
        *([f"--node-taints={LABEL}={pool}:{EFFECT}"] if pool.tainted else []),
    ]


def _command(words: Sequence[str]) -> str:
    """One option a line; no word has a character that a shell would read."""
    plain = [word for word in words if not word.startswith("--")]
    return CONTINUED.join([" ".join(plain), *(word for word in words if word.startswith("--"))])


def _head(asked: Asked, use: str) -> str:
    """What it is, how it is used, and where its figures are from, as comments."""
    of, disks = asked.environment, asked.environment.disks
    again = f"meshmark infra {of.provider}{' --today' if of.today else ''}"
    said = [
        f"{of.what}: `{again}`. It costs money; no price is known here.",
        f"Make it: {use}",
        f"Then: {again} --storage-class | kubectl apply -f -",
        f"Then: meshmark up --backend kubernetes --storage-class {disks.name} --volume-size {disks.volume_size} ...",
        *of.remarks,
        f"as known on {LOOKED_UP}; no machine was made, and none was measured",
    ]
    lines = [
        line for text in said for line in textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False)
    ]
    return "".join(f"# {line}\n" for line in lines)
