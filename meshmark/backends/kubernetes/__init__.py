"""A scenario as Kubernetes objects: Kafka by a StatefulSet, without an operator, and the data plane around it.

Two halves. One is pure but for files, and needs no library: `target`, `manifests`, `texts`, `write`, `clear`. The
other speaks to a cluster, and is imported by who needs it: `contexts` (which one), `api`, `rights`, `ownership`,
`change`, `lifecycle`. `backend` measures there. Limits: load and topics are not among the objects.
"""

from meshmark.backends.kubernetes.asked import Target, refuse_inexpressible, target, targets
from meshmark.backends.kubernetes.files import clear, texts, write, yaml_text
from meshmark.backends.kubernetes.manifest import Manifest
from meshmark.backends.kubernetes.scenario import manifests

__all__ = [
    "Manifest",
    "Target",
    "clear",
    "manifests",
    "refuse_inexpressible",
    "target",
    "targets",
    "texts",
    "write",
    "yaml_text",
]
