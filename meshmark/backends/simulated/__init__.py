"""A system with a known ceiling, for tests of whole experiments; and the clock that it lives on."""

from meshmark.backends.simulated.system import SimulatedBackend, SimulatedClock, Truth

__all__ = ["SimulatedBackend", "SimulatedClock", "Truth"]
