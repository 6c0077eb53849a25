"""Which data planes a test is about, and a plan that has them all."""

from __future__ import annotations

from meshmark import planfile
from meshmark.data_plane import DataPlane
from meshmark.plan import Plan

WHOLE = (DataPlane.PLAIN, DataPlane.KAFKA_TLS, DataPlane.ISTIO, DataPlane.ISTIO_MTLS)
"""Those that treat what clients and what brokers send alike."""
SELECTIVE = (DataPlane.ISTIO_CLIENTS, DataPlane.ISTIO_MTLS_EXCLUDE_REPLICATION)
EVERYWHERE = (*WHOLE, *SELECTIVE)
"""Those that every backend has."""


def everywhere() -> Plan:
    """The document's plan, for more data planes than it has."""
    plan = planfile.builtin("banzai-2019")
    like = plan.scenarios[0]
    more = (like.model_copy(update={"name": plane.value, "data_plane": plane}) for plane in SELECTIVE)
    return plan.model_copy(update={"scenarios": (*plan.scenarios, *more)})
