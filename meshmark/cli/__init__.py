"""The command line: one verb, one call; the only place that picks a backend."""
