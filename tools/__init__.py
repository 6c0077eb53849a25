"""What makes committed files that are not written by hand; nothing of it is installed."""
