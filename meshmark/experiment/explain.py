"""What limits, played: blocks of short overloaded trials, each with one resource tightened or with nothing taken away.

What to take away and what to make of it is `analysis/explain.py`. The order within a block is drawn, so that whatever
a machine does to each next trial falls on all alike.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence

from meshmark.analysis.explain import OVERLOAD, title
from meshmark.experiment.trial import Bench, Offered, measure
from meshmark.record import Limit, Tightened, Trial


def taken_away(less: Tightened) -> Sequence[Limit]:
    """What holds in a trial, where nothing is limited otherwise."""
    return [less.limit] if less.limit else []


def explain(
    bench: Bench,
    most_msg_s: float,
    less: Sequence[Tightened],
    *,
    blocks: int,
    number: int,
    held: Callable[[Tightened], Sequence[Limit]] = taken_away,
) -> Iterator[Trial]:
    """Trials, recorded as they end, numbered from `number`: in each block one of each `less`, and one with nothing
    less. `most_msg_s` can be carried, as far as is known."""
    source = random.Random(f"{bench.seed}/{bench.scenario.name}/explain")
    numbers = itertools.count(number)
    for block in range(1, blocks + 1):
        order = [Tightened(block=block), *(each.model_copy(update={"block": block}) for each in less)]
        source.shuffle(order)
        for each in order:
            what = f"less {title(each.limit)}" if each.limit else "nothing less"
            bench.progress.phase(f"what limits, {block} of {blocks}: {what}")
            offered = Offered(number=next(numbers), purpose="explain", rate_msg_s=most_msg_s * OVERLOAD)
            trial = measure(bench, offered, held(each)).model_copy(update={"tightened": each})
            bench.writer.trial(trial)
            yield trial
