"""A rate that changes, as one word of a command line. Pure.

steps:1000x30,5000x10        1,000 msg/s for 30 s, then 5,000
bursts:base=1000,burst=20000,seconds=2,period=10
sine:mean=5000,amplitude=0.3,period=60
"""

from __future__ import annotations

from pydantic import ValidationError

from meshmark.errors import UsageError
from meshmark.pacer import Bursts, Shape, Sine, Step, Steps

FORMS = "steps:RATExSECONDS,...  bursts:base=,burst=,seconds=,period=  sine:mean=,amplitude=,period="
_KEYS: dict[str, dict[str, str]] = {
    "bursts": {"base": "base_msg_s", "burst": "burst_msg_s", "seconds": "burst_s", "period": "period_s"},
    "sine": {"mean": "mean_msg_s", "amplitude": "amplitude", "period": "period_s"},
}


def parse(text: str) -> Shape:
    """UsageError for what is none."""
    kind, _, rest = text.partition(":")
    try:
        if kind == "steps":
            pairs = [part.split("x") for part in rest.split(",")]
            return Steps(steps=tuple(Step(rate_msg_s=float(rate), seconds=float(length)) for rate, length in pairs))
        keys = _KEYS[kind]
        given = dict(part.split("=") for part in rest.split(","))
        if given.keys() != keys.keys():
            raise UsageError(f"--shape {text}: {kind} takes {', '.join(keys)}", hint=FORMS)
        values = {keys[name]: float(value) for name, value in given.items()}
    except KeyError:
        raise UsageError(f"--shape {text}: no shape is called {kind or 'nothing'}", hint=FORMS) from None
    except ValidationError as error:
        raise UsageError(f"--shape {text}: {_first(error)}", hint=FORMS) from None
    except ValueError:
        raise UsageError(f"--shape {text}: cannot be read", hint=FORMS) from None
    try:
        return Bursts(**values) if kind == "bursts" else Sine(**values)
    except ValidationError as error:
        raise UsageError(f"--shape {text}: {_first(error)}", hint=FORMS) from None


def seconds(shape: Shape | None) -> float | None:
    """How long it lasts by itself, if it says."""
    return sum(step.seconds for step in shape.steps) if isinstance(shape, Steps) else None


def _first(error: ValidationError) -> str:
    found = error.errors()[0]
    place = next((str(part) for part in reversed(found["loc"]) if isinstance(part, str)), "")
    return ": ".join(filter(None, (place, found["msg"].removeprefix("Value error, "))))
