"""Input for the tools of two providers that make clusters like the document's, and like them of today. Text only:
nothing here talks to a provider, and no price is known."""

from meshmark.backends.kubernetes.infra.environments import Asked, Environment, Provider, asked, environment
from meshmark.backends.kubernetes.infra.texts import cluster_text, storage_class_text

__all__ = ["Asked", "Environment", "Provider", "asked", "cluster_text", "environment", "storage_class_text"]
