"""Real Kafka and real Envoy on this machine: hosts are network namespaces, one kernel thing per module."""
