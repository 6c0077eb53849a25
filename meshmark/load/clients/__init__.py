"""Kafka clients that a load worker can use."""
