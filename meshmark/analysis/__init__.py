"""What a run means: computed from records alone, never from a system. Pure functions."""
