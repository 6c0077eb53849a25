"""What a record's series can have: component -> metrics, as the probes of the lab name them."""

from __future__ import annotations

from meshmark.metrics import METRICS, parts
from meshmark.report.forms import FORMS

Pair = tuple[str, str]
"""Component and metric; of `core:0`, `others:cron` and the like the component is `core:`, `others:`."""

_CPU = {"cpu_user_s", "cpu_system_s"}
_PROCESS = _CPU | {"memory_rss_bytes", "threads", "read_bytes", "write_bytes", "cpu_stalled_s", "io_stalled_s"}
_QUOTA = {"cpu_periods", "cpu_throttled_periods", "cpu_throttled_s"}
_DEVICE = {"read_ops", "write_ops", "read_bytes", "write_bytes", "busy_s", "read_wait_s", "write_wait_s", "operations"}
_ROOM = {"size_bytes", "used_bytes", "free_bytes"}
_LINK = {f"{way}{kind}_packets" for way in ("", "forward_", "back_") for kind in ("carried", "lost", "dropped")}
_LINK |= {"forward_bytes", "back_bytes"}
_REQUESTS = ("produce", "follower_fetch", "consumer_fetch")
_PARTS = ("requests", "queue_s", "local_s", "remote_s", "throttle_s", "response_queue_s", "response_send_s", "total_s")
_WAYS = ("through", "past", "direct", "refused")

RECORDED: dict[str, set[str]] = {
    "kafka": _PROCESS
    | _QUOTA
    | {f"{request}_{part}" for request in _REQUESTS for part in _PARTS}
    | {"log_bytes", "leader_log_bytes", "compile_s", "compilers_cpu_user_s", "compilers_cpu_system_s"}
    | {"request_handler_idle_s", "network_thread_idle_s", "request_queue_size", "response_queue_size"}
    | {"under_replicated_partitions", "isr_shrinks"},
    "sidecar": _PROCESS
    | _QUOTA
    | {f"{side}_{way}_bytes" for side in ("inbound", "outbound") for way in ("rx", "tx")}
    | {"connections", "uptime_s", "certificate_left_s"},
    "gateway": _PROCESS | _QUOTA | {"forwarded_rx_bytes", "forwarded_tx_bytes", "refused_connections", "connections"},
    "client": _PROCESS | _QUOTA,
    "quota": _QUOTA,
    "meshmark": _PROCESS,
    "relay": _PROCESS | _LINK,
    "netem": _LINK,
    "kernel": _CPU,
    "others": _CPU,
    "others:": _CPU,
    "paths": {f"{way}_{what}" for way in _WAYS for what in ("s", "requests")},
    "net": {f"{way}_{what}" for way in ("rx", "tx") for what in ("bytes", "packets", "errors", "drops")}
    | {name for name in METRICS if name.startswith("tcp_")}
    | {"link_bytes_s", "queued_packets", "dropped_packets"},
    "cpu": {f"{kind}_s" for kind in ("user", "system", "softirq", "irq", "idle", "iowait", "steal", "elapsed")}
    | {"context_switches", "interrupts", "forks", "runnable_tasks", "blocked_tasks"}
    | {"load_1m", "load_5m", "load_15m"},
    "core:": {"used_s", "softirq_s"},
    "memory": {f"{kind}_bytes" for kind in ("total", "unused", "buffers", "available", "cached", "dirty", "writeback")}
    | {f"{kind}_bytes" for kind in ("anonymous", "slab", "swap_total", "swap_free")}
    | {"page_faults", "major_page_faults", "swapped_in_pages", "swapped_out_pages"},
    "disk": _DEVICE | _ROOM,
    "volume": _DEVICE | _ROOM | {"limit_ops_s", "limit_bytes_s"},
    "psi": {"cpu_some_s", "io_some_s", "io_full_s", "memory_some_s"},
}


def pair(key: str) -> Pair:
    """Of a key of a sample."""
    _, component, metric = parts(key)
    name, colon, _ = component.partition(":")
    return name + colon, metric


def recorded() -> set[Pair]:
    return {(component, metric) for component, metrics in RECORDED.items() for metric in metrics}


def pictured() -> set[Pair]:
    """That some panel of a round's page shows."""
    return {
        (source.component, metric)
        for form in FORMS
        for source in form.sources
        for metric in (*source.metrics, *source.per)
    }
