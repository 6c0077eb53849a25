"""What a summary tells of links between clusters: how far they were, what crossed them, when they were down, and which
term binds what is carried over them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from meshmark.analysis.value import Value
from meshmark.data_plane import DataPlane


class LinkSummary(Value):
    """The way from one cluster to another, in one direction, all rounds of a scenario together."""

    scenario: str
    source: str
    target: str
    kind: Literal["netem", "relay", "simulated", "found"] = Field(
        description="what made the distance; found: nothing did, it is as it is"
    )
    asked_rtt_s: float = Field(description="of a way that was found: by the plan, and not made")
    rtt_s: float | None = Field(description="before load, mean of the rounds' medians")
    rtt_min_s: float | None = Field(None, description="the least of all these; null: not recorded")
    rtt_max_s: float | None = Field(None, description="the most of all these")
    rtt_error: float | None = Field(description="rtt_s / asked_rtt_s - 1; null where no distance was asked for")
    loaded_rtt_s: float | None = Field(description="at the end of trials' loads, queues included, in the same way")
    loaded_rtt_error: float | None = Field(description="of that against asked_rtt_s")
    asked_loss: float
    loss: float | None = Field(description="share of packets lost; null: none were sent")
    packets_sent: int
    asked_bandwidth_bytes_s: float | None = Field(description="null: without limit")
    bandwidth_bytes_s: float | None = Field(description="what several TCP flows carried; null where there is no limit")
    bandwidth_error: float | None = Field(description="of that against what was asked for")
    loaded_packets: int = Field(
        description="that came to the link in windows of valid trials, as relays or netem count; 0: nothing counts "
        "them, or hosts go another way"
    )
    loaded_together: bool = Field(
        description="they, and what was lost and dropped of them, are of both directions: the record has no others"
    )
    loaded_loss: float | None = Field(
        description="share of them that the link lost as it was told; null without any, and "
        "where netem has loss and a bandwidth, which are not told apart"
    )
    loaded_loss_error: float | None = Field(
        description="loaded_loss / asked_loss - 1; null where none was asked for, or, with both directions together, "
        "not the same in both"
    )
    loaded_dropped: float | None = Field(
        description="share of them that found the queue of a limited link full; null as above"
    )
    loaded_bytes_s: float | None = Field(description="carried in those windows in this direction: mean of the trials")
    loaded_bytes_s_most: float | None = Field(description="in the trial that carried most")
    loaded_bandwidth_error: float | None = Field(
        description="of loaded_bytes_s_most against what was asked for; well below 0: the link was not full"
    )
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
    missing: int | None = Field(
        None, description="acknowledged records that a consumer group did not read; null: records were not told apart"
    )
    duplicated: int | None = Field(None, description="read more than once by a group; null: as in `missing`")
    isr_shrinks: float | None = Field(description="replicas that fell out of sync in the window, all brokers together")


Term = Literal["batches in flight", "records held", "fetch size", "TCP buffers", "link", "CPU"]


class Bound(Value):
    """The most that one term lets through at a distance, as far as configuration and measured RTT tell."""

    term: Term
    bound_msg_s: float | None = Field(description="null: what it needs was not recorded")
    how: str = Field(description="as computed, of the narrowest part of the cluster")
    share: float | None = Field(description="measured rate / bound")
    near: bool = Field(description="the rate is near it, and not beyond what the bound can be off by")


class Binding(Value):
    """Which term binds a scenario whose brokers are far apart."""

    scenario: str
    data_plane: DataPlane
    rtt_s: float = Field(description="of the farthest two clusters with brokers, as found before load")
    rate_msg_s: float | None = Field(description="that the bounds are held against")
    ceiling: bool = Field(description="it is the ceiling; else mean of what the repeats' trials acknowledged")
    answer_s: float | None = Field(
        description="time to send one answer to a follower, at the broker where that takes longest: many round trips "
        "show that TCP cuts answers; null: not counted"
    )
    bounds: tuple[Bound, ...] = Field(description="of the terms that there are, the least first")
    binds: tuple[Term, ...] = Field(description="the least bound that the rate is near; others near it after; or none")
    explained: str


class MtlsPrice(Value):
    """What mTLS costs a scenario over a distance, against the like one without it, and whether it binds."""

    scenario: str
    rtt_s: float
    against: str
    alone: bool = Field(description="sidecars are on both sides, so all this is of mTLS; else of sidecars and mTLS")
    added_s_per_gb: float | None = Field(
        description="CPU of brokers, sidecars, gateways and load workers, mean of the repeats; null: not known, or "
        "the rates are too far apart for it to be compared"
    )
    added_low: float | None = Field(description="of its 95 % interval")
    added_high: float | None
    cpu_share: float | None = Field(description="that, of the CPU of these with mTLS")
    ratio: float | None = Field(description="ceiling / ceiling without it")
    ratio_low: float | None = Field(description="of its 95 % interval")
    ratio_high: float | None
    binds: bool | None = Field(description="mTLS alone; null: unknown")
    through: Literal["CPU", "time per round trip"] | None = Field(description="with `alone` false: both together do")
    explained: str


class LawsApart(Value):
    """The law of distance with mTLS against that without it. Quotients are null where one law lacks the constant."""

    data_plane: DataPlane
    against: DataPlane
    rate_at_zero_ratio: float | None = Field(description="with / without, of the rate without distance")
    rate_at_zero_low: float | None = Field(description="of its 95 % interval")
    rate_at_zero_high: float | None
    bytes_per_rtt_ratio: float | None = Field(description="of the bytes under way in one round trip")
    bytes_per_rtt_low: float | None = Field(description="of its 95 % interval")
    bytes_per_rtt_high: float | None
    added_s_per_gb: float | None = Field(description="CPU as in MtlsPrice, mean of the distances")
    added_low: float | None = Field(description="of its 95 % interval")
    added_high: float | None
    distances: int = Field(description="at which both carried about as much, so that CPU could be compared")


class MtlsCost(Value):
    """What mTLS costs at distances, and what it changes in the law of distance."""

    prices: tuple[MtlsPrice, ...]
    laws: tuple[LawsApart, ...]


class SettingTried(Value):
    """A scenario that differs from its baseline in Kafka's settings alone, at the same distance."""

    scenario: str
    baseline: str
    data_plane: DataPlane
    changed: str
    binds: Term | None = Field(description="what binds the baseline; null: unknown")
    predicted: Literal["up", "down", "same"] | None = Field(description="of the rate; null: what binds is unknown")
    reason: str = Field(description="of the prediction")
    ratio: float | None = Field(description="ceiling / ceiling of the baseline")
    ratio_low: float | None = Field(description="of its 95 % interval")
    ratio_high: float | None
    seen: Literal["up", "down", "cannot tell"] | None = Field(description="null: there is no such ratio")
    agrees: bool | None = Field(description="null: one of both is unknown")
