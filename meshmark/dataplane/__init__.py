"""What a sidecar is told: its Envoy configuration and its identity."""
