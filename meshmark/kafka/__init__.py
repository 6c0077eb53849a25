"""Kafka itself, whatever it runs on: where its parts come from, broker settings, stored metadata, admin."""
