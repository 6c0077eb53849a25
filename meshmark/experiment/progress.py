"""What an experiment tells a person while it runs; `live/` shows it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    def round(self, index: int, total: int, scenario: str, repeat: int, seconds_left: float | None) -> None:
        """A round begins; `seconds_left` is the estimate for the whole run, None before it can be told."""

    def phase(self, text: str) -> None: ...

    def note(self, text: str) -> None:
        """What stays in sight, where a phase goes with the next one; may have several lines."""

    def rate(self, msg_s: float) -> None:
        """Records acknowledged per second, now."""

    def warn(self, text: str) -> None: ...


class Silent:
    """Tells nothing."""

    def round(self, index: int, total: int, scenario: str, repeat: int, seconds_left: float | None) -> None:
        pass

    def phase(self, text: str) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def rate(self, msg_s: float) -> None:
        pass

    def warn(self, text: str) -> None:
        pass
