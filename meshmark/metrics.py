"""Every metric that a counter key of the record can end with: its kind, its unit, what it means.

Keys are `HOST/COMPONENT/METRIC` (`record.py`). Base units only.
"""

from __future__ import annotations

from typing import Literal, NamedTuple


def parts(key: str) -> tuple[str, str, str]:
    """Host, component and metric of a key; a component may have slashes of its own."""
    host, _, rest = key.partition("/")
    component, _, metric = rest.rpartition("/")
    return host, component, metric


class Metric(NamedTuple):
    kind: Literal["counter", "gauge"]
    unit: str
    meaning: str


AT_EDGES = "machine/others/cpu_user_s"
"""A key that the lab's sampler reads at the edges of windows alone (`cluster.Probe.edges_only`): a reading that has it
has every key."""

METRICS: dict[str, Metric] = {
    # of a process component: kafka, sidecar, gateway (HOST: gateway-CLUSTER), client (all load workers of that host),
    # meshmark, relay (HOST: link-A-B); and of the machine's kernel (threads), others, others:NAME
    "cpu_user_s": Metric("counter", "s", "user CPU time"),
    "cpu_system_s": Metric("counter", "s", "system CPU time, softirq inside it where the kernel does not split it"),
    "cpu_periods": Metric("counter", "periods", "of a CPU quota, in which the component wanted to run"),
    "cpu_throttled_periods": Metric("counter", "periods", "of those, in which it had used up its quota"),
    "cpu_throttled_s": Metric("counter", "s", "time that it could not run for that, summed over CPUs' run queues"),
    "cpu_stalled_s": Metric("counter", "s", "time in which a thread of it waited for a CPU"),
    "io_stalled_s": Metric("counter", "s", "time in which a thread of it waited for I/O"),
    "memory_rss_bytes": Metric("gauge", "bytes", "resident memory"),
    "threads": Metric("gauge", "threads", "threads"),
    "read_bytes": Metric("counter", "bytes", "bytes the component caused to be read from storage"),
    "write_bytes": Metric("counter", "bytes", "bytes the component dirtied for storage (not yet on the device)"),
    # of component kafka
    "log_bytes": Metric("counter", "bytes", "size of the broker's log segments: bytes accepted to the log"),
    "leader_log_bytes": Metric("counter", "bytes", "the same, of the partitions that this broker leads"),
    # of component kafka, as the broker itself says; times are sums over requests, each rounded to whole milliseconds
    "produce_requests": Metric("counter", "requests", "Produce requests answered"),
    "produce_queue_s": Metric("counter", "s", "Produce requests, summed: waited for a request handler"),
    "produce_local_s": Metric("counter", "s", "Produce requests, summed: handled by the broker itself"),
    "produce_remote_s": Metric(
        "counter", "s", "Produce requests, summed: waited for others: followers, or data to fetch"
    ),
    "produce_throttle_s": Metric(
        "counter", "s", "Produce requests, summed: quota delay told to the client; not a part of the total"
    ),
    "produce_response_queue_s": Metric(
        "counter", "s", "Produce requests, summed: answers waited for a network thread"
    ),
    "produce_response_send_s": Metric("counter", "s", "Produce requests, summed: answers were being sent"),
    "produce_total_s": Metric(
        "counter", "s", "Produce requests, summed: from the request having been read to its answer having been sent"
    ),
    "follower_fetch_requests": Metric("counter", "requests", "followers' Fetch requests answered"),
    "follower_fetch_queue_s": Metric(
        "counter", "s", "followers' Fetch requests, summed: waited for a request handler"
    ),
    "follower_fetch_local_s": Metric(
        "counter", "s", "followers' Fetch requests, summed: handled by the broker itself"
    ),
    "follower_fetch_remote_s": Metric(
        "counter", "s", "followers' Fetch requests, summed: waited for others: followers, or data to fetch"
    ),
    "follower_fetch_throttle_s": Metric(
        "counter", "s", "followers' Fetch requests, summed: quota delay told to the client; not a part of the total"
    ),
    "follower_fetch_response_queue_s": Metric(
        "counter", "s", "followers' Fetch requests, summed: answers waited for a network thread"
    ),
    "follower_fetch_response_send_s": Metric(
        "counter", "s", "followers' Fetch requests, summed: answers were being sent"
    ),
    "follower_fetch_total_s": Metric(
        "counter",
        "s",
        "followers' Fetch requests, summed: from the request having been read to its answer having been sent",
    ),
    "consumer_fetch_requests": Metric("counter", "requests", "consumers' Fetch requests answered"),
    "consumer_fetch_queue_s": Metric(
        "counter", "s", "consumers' Fetch requests, summed: waited for a request handler"
    ),
    "consumer_fetch_local_s": Metric(
        "counter", "s", "consumers' Fetch requests, summed: handled by the broker itself"
    ),
    "consumer_fetch_remote_s": Metric(
        "counter", "s", "consumers' Fetch requests, summed: waited for others: followers, or data to fetch"
    ),
    "consumer_fetch_throttle_s": Metric(
        "counter", "s", "consumers' Fetch requests, summed: quota delay told to the client; not a part of the total"
    ),
    "consumer_fetch_response_queue_s": Metric(
        "counter", "s", "consumers' Fetch requests, summed: answers waited for a network thread"
    ),
    "consumer_fetch_response_send_s": Metric(
        "counter", "s", "consumers' Fetch requests, summed: answers were being sent"
    ),
    "consumer_fetch_total_s": Metric(
        "counter",
        "s",
        "consumers' Fetch requests, summed: from the request having been read to its answer having been sent",
    ),
    "compile_s": Metric("counter", "s", "time in which the JVM's compilers worked, all their threads added"),
    "compilers_cpu_user_s": Metric("counter", "s", "of cpu_user_s, what the JVM's compilers used"),
    "compilers_cpu_system_s": Metric("counter", "s", "of cpu_system_s, what the JVM's compilers used"),
    "request_handler_idle_s": Metric("counter", "s", "idle time of the request handlers, mean of the threads"),
    "network_thread_idle_s": Metric("counter", "s", "idle time of the clients' network threads, summed"),
    "request_queue_size": Metric("gauge", "requests", "requests that wait for a handler"),
    "response_queue_size": Metric("gauge", "answers", "answers that wait for a network thread"),
    "under_replicated_partitions": Metric("gauge", "partitions", "led here, with a replica out of sync"),
    "isr_shrinks": Metric("counter", "shrinks", "replicas that fell out of sync"),
    # of component sidecar
    "inbound_rx_bytes": Metric("counter", "bytes", "received from peers for the application behind the sidecar"),
    "inbound_tx_bytes": Metric("counter", "bytes", "sent to peers for the application behind the sidecar"),
    "outbound_rx_bytes": Metric("counter", "bytes", "received by the application's own connections, payload side"),
    "outbound_tx_bytes": Metric("counter", "bytes", "sent by the application's own connections, payload side"),
    "connections": Metric("gauge", "connections", "open downstream connections, inbound and outbound"),
    "uptime_s": Metric("gauge", "s", "since the sidecar started, in whole seconds"),
    "certificate_left_s": Metric("gauge", "s", "until the first of the sidecar's certificates expires"),
    # of component gateway, and connections as above
    "forwarded_rx_bytes": Metric("counter", "bytes", "received from other clusters' sidecars, encrypted"),
    "forwarded_tx_bytes": Metric("counter", "bytes", "sent back to them, encrypted"),
    "refused_connections": Metric("counter", "connections", "closed: no TLS, or no server name that it knows"),
    # of component paths of a client host: small requests of meshmark's own, all brokers together, while they are sent
    "through_s": Metric("counter", "s", "request and answer as an application's, through both sidecars, summed"),
    "through_requests": Metric("counter", "requests", "answered on that way"),
    "past_s": Metric("counter", "s", "the same past the client's sidecar, through the broker's, summed"),
    "past_requests": Metric("counter", "requests", "answered on that way"),
    "direct_s": Metric("counter", "s", "the same within the broker's host, past all sidecars, summed"),
    "direct_requests": Metric("counter", "requests", "answered on that way"),
    "refused_s": Metric("counter", "s", "a connection to the broker's host until its kernel refused it, summed"),
    "refused_requests": Metric("counter", "requests", "connections refused"),
    # of component net: the host's interface to the others (HOST), or the bridge
    "rx_bytes": Metric("counter", "bytes", "received on the host's interface"),
    "tx_bytes": Metric("counter", "bytes", "sent on the host's interface"),
    "rx_packets": Metric("counter", "packets", "offload super-packets received, as the interface counts them"),
    "tx_packets": Metric("counter", "packets", "offload super-packets sent, as the interface counts them"),
    "tcp_out_segments": Metric("counter", "segments", "TCP segments sent by the host's kernel, loopback included"),
    "tcp_in_segments": Metric("counter", "segments", "TCP segments received by the host's kernel, loopback included"),
    "tcp_wire_out_segments": Metric(
        "counter", "segments", "TCP segments sent over the host's interface, by its sockets"
    ),
    "tcp_wire_in_segments": Metric("counter", "segments", "TCP segments received over it, by its sockets"),
    "rx_errors": Metric("counter", "packets", "received with errors on the host's interface"),
    "tx_errors": Metric("counter", "packets", "that could not be sent on it"),
    "rx_drops": Metric("counter", "packets", "received and dropped"),
    "tx_drops": Metric("counter", "packets", "dropped before they were sent"),
    "tcp_sockets": Metric("gauge", "sockets", "TCP sockets of the host, listening ones and loopback included"),
    "tcp_time_wait_sockets": Metric("gauge", "sockets", "closed TCP connections that wait for late segments"),
    "tcp_established": Metric("gauge", "connections", "TCP connections that are open, loopback included"),
    "tcp_retransmits": Metric("counter", "segments", "TCP segments retransmitted"),
    "tcp_in_errors": Metric("counter", "segments", "TCP segments received with errors, such as a wrong checksum"),
    "tcp_out_resets": Metric("counter", "segments", "TCP segments sent with RST"),
    "tcp_reset_connections": Metric("counter", "connections", "TCP connections that ended by a reset"),
    "link_bytes_s": Metric("gauge", "bytes/s", "bandwidth of the host's link, each direction, where it has one"),
    "queued_packets": Metric("counter", "packets", "that had to wait for the link, both directions"),
    "dropped_packets": Metric("counter", "packets", "that found the link's queue full, both directions"),
    # of components relay and netem (HOST: link-A-B), packets of both directions together; and dropped_packets as above
    "carried_packets": Metric("counter", "packets", "of up to 1,500 bytes that the link let through"),
    "lost_packets": Metric("counter", "packets", "of up to 1,500 bytes that the link lost, as it was asked to"),
    # the same in one direction, where the record has it
    "forward_carried_packets": Metric("counter", "packets", "of those let through: from the first end to the second"),
    "forward_lost_packets": Metric("counter", "packets", "of those lost: from the first end to the second"),
    "forward_dropped_packets": Metric("counter", "packets", "of those dropped: from the first end to the second"),
    "back_carried_packets": Metric("counter", "packets", "let through in the other direction"),
    "back_lost_packets": Metric("counter", "packets", "lost in the other direction"),
    "back_dropped_packets": Metric("counter", "packets", "dropped in the other direction"),
    "forward_bytes": Metric("counter", "bytes", "of IP packets let through, from the link's first end to its second"),
    "back_bytes": Metric("counter", "bytes", "the same in the other direction"),
    # of machine/cpu; the parts add up to elapsed x CPUs
    "user_s": Metric("counter", "s", "user time, niced included, guest not counted twice"),
    "system_s": Metric("counter", "s", "system time"),
    "softirq_s": Metric("counter", "s", "softirq time as the kernel books it: an 'of which' where it is not split"),
    "irq_s": Metric("counter", "s", "hard interrupt time"),
    "idle_s": Metric("counter", "s", "idle time"),
    "iowait_s": Metric("counter", "s", "idle with I/O outstanding"),
    "steal_s": Metric("counter", "s", "time the hypervisor gave to others"),
    "elapsed_s": Metric("counter", "s", "monotonic clock at the moment the times above were read"),
    "context_switches": Metric("counter", "switches", "context switches"),
    "interrupts": Metric("counter", "interrupts", "interrupts served"),
    "forks": Metric("counter", "tasks", "processes and threads made"),
    "runnable_tasks": Metric("gauge", "tasks", "that run or wait for a CPU"),
    "blocked_tasks": Metric("gauge", "tasks", "that wait for I/O"),
    "load_1m": Metric("gauge", "tasks", "runnable and blocked ones, the kernel's average over a minute"),
    "load_5m": Metric("gauge", "tasks", "the same over five minutes"),
    "load_15m": Metric("gauge", "tasks", "the same over a quarter of an hour"),
    # of machine/core:N, one CPU of the machine each; and softirq_s as above
    "used_s": Metric("counter", "s", "time that the CPU was neither idle nor waiting for I/O nor given to others"),
    # of machine/memory
    "total_bytes": Metric("gauge", "bytes", "memory that the kernel manages"),
    "unused_bytes": Metric("gauge", "bytes", "memory that is used for nothing, not even for the page cache"),
    "buffers_bytes": Metric("gauge", "bytes", "cached blocks of devices"),
    "available_bytes": Metric("gauge", "bytes", "memory available without swapping"),
    "cached_bytes": Metric("gauge", "bytes", "page cache"),
    "dirty_bytes": Metric("gauge", "bytes", "dirty page cache"),
    "writeback_bytes": Metric("gauge", "bytes", "page cache being written back"),
    "anonymous_bytes": Metric("gauge", "bytes", "memory of processes that is no file's"),
    "slab_bytes": Metric("gauge", "bytes", "the kernel's own objects"),
    "swap_total_bytes": Metric("gauge", "bytes", "swap space"),
    "swap_free_bytes": Metric("gauge", "bytes", "swap space that is free"),
    "page_faults": Metric("counter", "faults", "page faults, minor ones included"),
    "major_page_faults": Metric("counter", "faults", "page faults that had to read"),
    "swapped_in_pages": Metric("counter", "pages", "read from swap"),
    "swapped_out_pages": Metric("counter", "pages", "written to swap"),
    # of machine/disk, and of a broker's volume where it has a file system of its own: the device under the logs
    # (read_bytes and write_bytes as above, but at the device)
    "read_ops": Metric("counter", "operations", "reads completed by the device"),
    "write_ops": Metric("counter", "operations", "writes completed by the device"),
    "limit_ops_s": Metric("gauge", "operations/s", "writes that a broker's volume may take, where they are limited"),
    "limit_bytes_s": Metric("gauge", "bytes/s", "that a broker's volume may take, where it is limited"),
    "busy_s": Metric("counter", "s", "time with at least one operation in flight"),
    "read_wait_s": Metric("counter", "s", "what reads took, from being queued to being completed, summed"),
    "write_wait_s": Metric("counter", "s", "what writes took, summed"),
    "operations": Metric("gauge", "operations", "in flight at the device"),
    "free_bytes": Metric("gauge", "bytes", "free space of the logs' file system"),
    "used_bytes": Metric("gauge", "bytes", "used space of it, by all files"),
    "size_bytes": Metric("gauge", "bytes", "size of it"),
    # of machine/psi, where the kernel has it
    "cpu_some_s": Metric("counter", "s", "time some task waited for a CPU"),
    "io_some_s": Metric("counter", "s", "time some task waited for I/O"),
    "io_full_s": Metric("counter", "s", "time all tasks waited for I/O"),
    "memory_some_s": Metric("counter", "s", "time some task waited for memory"),
}
