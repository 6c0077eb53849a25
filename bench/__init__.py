"""Comparisons side by side in one run: what differs takes turns, what is printed are ratios with their spread."""

import meshmark as meshmark  # before numpy, for what it sets
