"""A trial as a record holds it, for tests of what is made of its counters."""

from __future__ import annotations

from typing import Any

from meshmark.record import Trial


def trial(**fields: Any) -> Trial:
    """What a test does not name is as in any trial of a search, with nothing counted."""
    given: dict[str, Any] = {
        "round_index": 1,
        "scenario": "plain",
        "repeat": 1,
        "number": 1,
        "purpose": "search",
        "clients": 1,
        "connections": 20,
        "offered_msg_s": 100_000,
        "started_s": 0,
        "ended_s": 20,
        "window_start_s": 5,
        "window_end_s": 15,
        "total": fields["window"],
        "series": (),
        "counters_start": {},
        "counters_end": {},
        "quiet_start": {},
        "quiet_end": {},
    }
    return Trial(**(given | fields))
