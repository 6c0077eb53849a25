"""Experiments: what a run does, in order."""
