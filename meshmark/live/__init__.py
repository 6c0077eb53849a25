"""A run as it happens, for the person who waits for it."""
