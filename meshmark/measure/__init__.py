"""Reading probes on a clock."""
