"""What a summary tells of links between clusters: how far they were, what crossed them, when they were down."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from meshmark.analysis.value import Value


class LinkSummary(Value):
    """The way from one cluster to another, in one direction, all rounds of a scenario together."""

    scenario: str
    source: str
    target: str
    kind: Literal["netem", "relay", "simulated"] = Field(description="what made the distance")
    asked_rtt_s: float
    rtt_s: float | None = Field(description="before load, mean of the rounds' medians")
    rtt_error: float | None = Field(description="rtt_s / asked_rtt_s - 1; null where no distance was asked for")
    loaded_rtt_s: float | None = Field(description="at the end of trials' loads, queues included, in the same way")
    asked_loss: float
    loss: float | None = Field(description="share of packets lost; null: none were sent")
    packets_sent: int
    asked_bandwidth_bytes_s: float | None = Field(description="null: without limit")
    bandwidth_bytes_s: float | None = Field(description="what several TCP flows carried; null where there is no limit")
    bandwidth_error: float | None = Field(description="of that against what was asked for")
    congestion_control: str = Field(description="of the hosts' TCP: with loss, much depends on it")


class WanSummary(Value):
    """What crossed a link in one direction, over all valid trials of a scenario."""

    scenario: str
    source: str
    target: str
    bytes_per_byte: float = Field(description="of IP packets, per byte of payload acknowledged")
    saved: float | None = Field(description="1 - that / the baseline's; null: it is a baseline, or that is unknown")
    saved_bytes_per_byte: float | None = Field(description="the baseline's less that")


class OutageSummary(Value):
    """A trial in which a link went down: what was acknowledged meanwhile, and what of it was there afterwards."""

    scenario: str
    repeat: int
    trial: int
    link: str
    outages: int = Field(description="while the load was offered")
    down_s: float = Field(description="all of them together")
    longest_s: float = Field(description="of them")
    still_s: float | None = Field(
        description="longest time without an acknowledgement in the window, to within the workers' reports"
    )
    acknowledged: int
    failed: int
    unknown: int
    read_back: int | None = Field(description="by each consumer group, at least; null: the workload has no consumers")
    isr_shrinks: float | None = Field(description="replicas that fell out of sync in the window, all brokers together")
