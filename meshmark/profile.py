"""What hardware a host is given: a Profile, data with a source for each figure.

A profile says what the machines of a published or a buyable setup have; it changes nothing by itself. `hardware.py`
makes limits of it, scaled to what this machine can carry. A figure that is left out is not limited.

Limits: a figure is what its source says, not what anybody measured, unless its note says so.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from meshmark.values import Model

SMALL_WRITE_BYTES = 4_096
"""A page: what operations of a disk are counted in."""
SMALL_WRITERS = 8
"""At once, where these are probed: each waits for its own write, which a throttle lets through in bursts."""


class Figure(Model):
    """A number and where it is from."""

    value: float = Field(gt=0, le=1e18)
    source: str = Field(description="a key of the profile's `sources`")
    note: str = Field("", description="what must be known to read it")


class Volume(Model):
    """The disk under a broker's logs."""

    kind: str = Field(description="as the provider calls it")
    write_bytes_s: Figure | None = Field(None, description="sequential writes")
    operations_s: Figure | None = Field(None, description="writes a second, small ones")
    operations_unknown: str = Field("", description="why there is no `operationsS`")
    size_bytes: Figure | None = Field(None, description="scaled as the rest: a broker's file system is no larger")
    size_unknown: str = Field("", description="why there is no `sizeBytes`")

    @model_validator(mode="after")
    def _known_or_not(self) -> Volume:
        if self.size_bytes and self.size_unknown:
            raise ValueError("sizeBytes and sizeUnknown exclude each other; leave out one")
        if self.operations_s and self.operations_unknown:
            raise ValueError("operationsS and operationsUnknown exclude each other; leave out one")
        return self

    @model_validator(mode="after")
    def _both_bind(self) -> Volume:
        most, small = self.write_bytes_s, self.operations_s
        if most and small and small.value * SMALL_WRITE_BYTES > most.value:
            raise ValueError(
                f"operationsS {small.value:g} of {SMALL_WRITE_BYTES:,} bytes are above writeBytesS {most.value:g}: no "
                "disk reaches them; leave out one"
            )
        return self


class Link(Model):
    """A host's network, each direction."""

    bytes_s: Figure | None = Field(None, description="the provider's figure, in frames")
    single_flow_bytes_s: Figure | None = Field(
        None, description="what one TCP flow was measured to carry: a probe, never a limit"
    )


class HostKind(Model):
    """One kind of host."""

    machine: str = Field(description="as the provider calls it")
    cpus: Figure | None = Field(None, description="of the node: told, never a limit")
    container_cpus: Figure | None = Field(None, description="limit of the broker's or the client's own container")
    sidecar_cpus: Figure | None = Field(None, description="limit of the sidecar's container")
    memory_bytes: Figure | None = Field(None, description="of the node")
    container_memory_bytes: Figure | None = None
    heap_bytes: Figure | None = Field(None, description="of the JVM")
    disk: Volume | None = None
    network: Link | None = None


class Profile(Model):
    """A setup's hardware, by kind of host."""

    api_version: Literal["meshmark/v1"] = "meshmark/v1"
    kind: Literal["Profile"] = "Profile"
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,47}$")
    description: str = ""
    sources: dict[str, str] = Field(
        default_factory=dict, description="key -> a public page, or a document with its date"
    )
    broker: HostKind
    client: HostKind

    @model_validator(mode="after")
    def _sourced(self) -> Profile:
        missing = sorted({each.source for _, each in self.figures()} - self.sources.keys())
        if missing:
            raise ValueError(f"sources lacks {', '.join(missing)}: each figure needs one")
        return self

    def figures(self) -> list[tuple[str, Figure]]:
        """Every figure with its path, e.g. `broker.disk.write_bytes_s`."""
        return [
            (f"{name}.{path}", figure)
            for name, kind in (("broker", self.broker), ("client", self.client))
            for path, figure in _figures(kind)
        ]


def _figures(part: Model) -> list[tuple[str, Figure]]:
    found: list[tuple[str, Figure]] = []
    for name in type(part).model_fields:
        value = getattr(part, name)
        if isinstance(value, Figure):
            found.append((name, value))
        elif isinstance(value, Model):
            found += [(f"{name}.{path}", figure) for path, figure in _figures(value)]
    return found
