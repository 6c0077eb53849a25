"""What all pictures share: the page's colours, the size of a plot, round steps, and names beside the ends of lines.

Colours are CSS variables of the page (`--c1`..`--c7`, `--ink`, `--faint`, `--rule`, `--band`), so that light, dark and
print each have their own; lines also differ by dashes and carry their names at their ends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

COLOURS = tuple(f"var(--c{number})" for number in range(1, 8))
DASHES = ([1, 0], [7, 3], [2, 2], [9, 3, 2, 3], [12, 3], [4, 2, 1, 2, 1, 2], [1, 3])
INK, FAINT, RULE, BAND = "var(--ink)", "var(--faint)", "var(--rule)", "var(--band)"

PLOT_HEIGHT = 132
LABEL_STEP = 14
"""Pixels between two names at the ends of lines."""


def ticks(highest: float, steps_max: int = 4) -> list[float]:
    """A few round steps from zero to just above the highest value, `steps_max` at most."""
    if highest <= 0:
        return [0.0, 1.0]
    power = 10.0 ** math.floor(math.log10(highest / steps_max))
    step = next(unit * power for unit in (1, 2, 2.5, 5, 10) if unit * power * steps_max >= highest * 0.999)
    count = max(1, math.ceil(highest / step - 1e-9))
    return [float(f"{step * place:.6g}") for place in range(count + 1)]


def side_by_side(
    ends: Sequence[tuple[str, float]], top: float, height: float = PLOT_HEIGHT
) -> list[tuple[str, float]]:
    """Names beside the last values of their lines, moved apart, as little as possible, where they would touch:
    names that touch form a block around the mean of the places they want."""
    step = LABEL_STEP * top / height
    blocks: list[list[tuple[str, float]]] = []
    middle: list[float] = []
    for end in sorted(ends, key=lambda each: each[1]):
        blocks.append([end])
        middle.append(end[1])
        while len(blocks) > 1 and middle[-1] - middle[-2] < step * (len(blocks[-1]) + len(blocks[-2])) / 2:
            upper = blocks.pop()
            middle.pop()
            blocks[-1] += upper
            half = step * len(blocks[-1]) / 2
            wanted = sum(value for _, value in blocks[-1]) / len(blocks[-1])
            middle[-1] = max(half - step / 2, min(wanted, top + step / 2 - half))
    return [
        (label, centre + step * (place - (len(block) - 1) / 2))
        for block, centre in zip(blocks, middle, strict=True)
        for place, (label, _) in enumerate(block)
    ]
