"""A scenario as Kubernetes objects: Kafka by a StatefulSet, without an operator, and the data plane around it.

Pure but for the writing of files. Limits: nothing here speaks to a cluster, so nothing is applied, watched or
measured; load and topics are not among the objects.
"""

from meshmark.backends.kubernetes.asked import Target, refuse_inexpressible, target
from meshmark.backends.kubernetes.files import texts, write
from meshmark.backends.kubernetes.manifest import Manifest
from meshmark.backends.kubernetes.scenario import manifests

__all__ = ["Manifest", "Target", "manifests", "refuse_inexpressible", "target", "texts", "write"]
