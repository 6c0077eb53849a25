"""Run directory -> table, JSON and HTML: pure, never a system. Words and columns are shared, in `view.py`."""
