"""A producer that sends record batches encoded once, again and again, over plain or TLS sockets.

It costs a fraction of a full client's CPU time, so a small machine can load a large cluster, and the cost ledger shows
brokers and proxies rather than the client. It waits, lingers and batches by the same settings as librdkafka. What it
is not: it sends a batch once, without a producer id and without trying again, so an error of the broker is in the
account where librdkafka would have hidden it behind a later success.

Account: a request is known by its correlation id, its records by the offset that the answer gives. Records of a
broken connection, and of answers that leave open whether they were appended, are unknown; those that a broker has
refused, or that were never sent, have failed. Errors that the client finds have librdkafka's names (`_TRANSPORT`,
`_MSG_TIMED_OUT`), those that a broker tells have Kafka's.

Closed loop and open loop are those of `librdkafka.py` and `open_loop.py`.
"""

from __future__ import annotations

import random
import select
import socket
import sys
from collections import Counter
from time import time

import numpy as np

from meshmark.load.agenda import Agenda
from meshmark.load.clients import ClientError
from meshmark.load.clients.raw_batch import Batches as Encoded
from meshmark.load.clients.raw_batch import Int64Array, records_within
from meshmark.load.clients.raw_connector import Attempt, Connector
from meshmark.load.clients.raw_lane import Lane
from meshmark.load.clients.raw_link import Link, Request
from meshmark.load.clients.raw_settings import read_settings
from meshmark.load.clients.raw_wire import NO_ERROR, Access, Address, Layout, Target, error_name, surely_not_stored
from meshmark.load.clients.turns import Turns
from meshmark.load.recorder import Recorder
from meshmark.load.settings import OPEN_LOOP_TICK_S, QUEUE_SHARE, TICK_S
from meshmark.record import NOT_ACCEPTED, LoadTotals
from meshmark.worker_protocol import Batches, WorkerSpec

TIMED_OUT = "_MSG_TIMED_OUT"
_CONNECT_TIMEOUT_S = 3.0
_TICK_NS = round(OPEN_LOOP_TICK_S * 1e9)
# Closed loop: when nothing comes back, there is nothing to do. Whoever commands the worker waits for so long at most.
_IDLE_S = 0.01
_UPKEEP_NS = 50_000_000
# Waiting does not help against these; against a broker that is away it may.
_HOPELESS = {
    "_SSL",
    "SASL_AUTHENTICATION_FAILED",
    "TOPIC_AUTHORIZATION_FAILED",
    "UNKNOWN_TOPIC_OR_PARTITION",
    "UNSUPPORTED_SASL_MECHANISM",
}


class RawProducer:
    """See the head of the module. A context manager."""

    def __init__(self, spec: WorkerSpec, recorder: Recorder | None = None) -> None:
        self.recorder = recorder or Recorder()
        self._spec = spec
        self._targets: list[Target] = []
        self._lanes: list[Lane] = []
        self._active: dict[Lane, None] = {}
        """Those with anything to send: of a thousand connections few, and a pass costs as many."""
        self._outstanding = 0
        """Of all lanes together."""
        self._nodes: dict[int, Address] = {}
        self._by_descriptor: dict[int, tuple[Lane, int]] = {}
        self._attempts: dict[tuple[int, Address], Attempt[socket.socket]] = {}
        self._agenda: Agenda | None = None
        self._offering = self._known = self._stale = False
        self._looked_ns = self._kept_ns = 0
        self._offered = self._acknowledged = self._failed = self._unknown = self._backwards = 0
        self._errors: Counter[str] = Counter()
        self._seen: list[Int64Array] = []
        self._batches = self._records = self._batch_bytes = self._request_bytes = 0
        self._last_error: ClientError | None = None
        self._told: set[str] = set()

    def __enter__(self) -> RawProducer:
        spec = self._spec
        self._settings = settings = read_settings(spec)
        batch = min(records_within(spec.message_size, settings.batch_bytes), settings.batch_records)
        self._most = max(1, min(batch, settings.capacity // QUEUE_SHARE))
        self._turns = Turns(spec.connections, batch=self._most, linger_ns=settings.linger_ns)
        self._encoded = Encoded(size=spec.message_size, most=self._most, seed=spec.seed, stamp=spec.stamp)
        self._closed_loop = np.zeros(self._most, dtype=np.int64)
        access = Access(spec.name, settings.tls, settings.credentials, _CONNECT_TIMEOUT_S)
        self._connector = Connector(spec.bootstrap_servers, spec.topics, access)
        self._finding = self._connector.finding()
        self._poll = select.epoll()
        return self

    def __exit__(self, *_: object) -> None:
        for attempt in self._attempts.values():
            attempt.abandon()
        self._connector.close()
        for lane in self._lanes:
            for link in lane.links.values():
                link.close()
        self._poll.close()

    def ready(self) -> bool:
        """Every lane has a link to every leader."""
        self._ask_layout()
        self._connect()
        leaders = {target.leader for target in self._targets}
        self._known = bool(self._targets) and all(leaders <= lane.links.keys() for lane in self._lanes)
        return self._known

    def settings(self) -> dict[str, str]:
        return self._settings.told

    def last_error(self) -> ClientError | None:
        return self._last_error

    def start(self, origin_s: float) -> None:
        self._looked_ns = self.recorder.now_ns()
        self._offering = True
        if self._spec.schedule is not None:
            self._agenda = Agenda(self._spec.schedule, origin_s)

    def stop(self, until_s: float) -> None:
        self._offering = False
        if self._agenda:
            self._agenda.close(max(self.recorder.now_ns(), round(until_s * 1e9)))

    def serve(self) -> None:
        self._receive(_IDLE_S if self._agenda is None and self._outstanding else 0)
        now_ns = self.recorder.now_ns()
        if self._agenda:
            self._hand_over(self._agenda, now_ns)
        else:
            self._looked_ns = now_ns
            self._fill(now_ns)
        now_ms = round(time() * 1e3)
        for lane in list(self._active):
            self._send(lane, now_ns, now_ms)
            if not lane.busy and not any(link.unsent for link in lane.links.values()):
                del self._active[lane]
        if now_ns - self._kept_ns >= _UPKEEP_NS:
            self._kept_ns = now_ns
            self._keep_up(now_ns)

    def pause_s(self) -> float:
        """Until the next pass: a tick after the last one began, or when a record comes due if nothing is under way."""
        now_ns = self.recorder.now_ns()
        if self._held() or self._outstanding:
            return (self._looked_ns + _TICK_NS - now_ns) / 1e9
        due_ns = self._agenda.next_ns() if self._agenda else None
        return TICK_S if due_ns is None else min(TICK_S, (due_ns - now_ns) / 1e9)

    def done(self) -> bool:
        to_come = self._agenda is not None and self._agenda.next_ns() is not None
        return not (to_come or self._held() or self._outstanding)

    def notes(self) -> str:
        return f"{self._backwards} batches were stored at offsets given before" if self._backwards else ""

    def totals(self) -> LoadTotals:
        """In open loop `offered` is what has come due until now."""
        if self._agenda:
            self._agenda.look(self.recorder.now_ns())
        return LoadTotals(
            offered=self._agenda.due if self._agenda else self._offered,
            acknowledged=self._acknowledged,
            failed=self._failed,
            unknown=self._unknown,
            outstanding=self._outstanding + self._held(),
            acknowledged_bytes=self._acknowledged * self._spec.message_size,
            negative=self.recorder.negative,
            errors=dict(self._errors),
        )

    def batches(self) -> Batches:
        """Of what was given to connections until now, exactly."""
        return Batches(
            batches=self._batches,
            records=self._records,
            batch_bytes=self._batch_bytes,
            requests=self._batches,
            request_bytes=self._request_bytes,
        )

    def _held(self) -> int:
        return self._agenda.held if self._agenda else 0

    def _fill(self, now_ns: int) -> None:
        for lane in self._lanes if self._offering else ():
            while lane.room >= self._most:
                lane.accept(self._closed_loop, now_ns)
                self._take_up(lane, self._most)
                self._offered += self._most

    def _hand_over(self, agenda: Agenda, now_ns: int) -> None:
        looked_ns, self._looked_ns = self._looked_ns, agenda.look(now_ns)
        while agenda.held:
            intended_ns = agenda.upcoming(self._most)
            place = self._turns.take(len(intended_ns), now_ns, lambda place: self._lanes[place].room)
            if place is None:
                break
            lane = self._lanes[place]
            lane.accept(intended_ns, now_ns)
            self._take_up(lane, len(intended_ns))
            agenda.take(len(intended_ns))
            self.recorder.handed_over(intended_ns, looked_ns, now_ns)
        self._fail(NOT_ACCEPTED, agenda.give_up(now_ns))
        self.recorder.missed_ns = agenda.missed_ns

    def _take_up(self, lane: Lane, count: int) -> None:
        self._active[lane] = None
        self._outstanding += count

    def _let_go(self, lane: Lane, count: int) -> None:
        """Records that were under way are resolved, whatever became of them."""
        lane.outstanding -= count
        self._outstanding -= count

    def _send(self, lane: Lane, now_ns: int, now_ms: int) -> None:
        """Every batch that is due and for which there is room under way."""
        sent = bool(lane.busy)
        while sent:
            sent = False
            for number in list(lane.busy):
                link = lane.links.get(self._targets[number].leader)
                if link and len(link.under_way) < self._settings.in_flight and lane.due(number, now_ns):
                    self._put(lane, link, number, now_ms)
                    sent = True
        for node, link in list(lane.links.items()):
            if link.unsent:
                try:
                    link.flush()
                except OSError as error:
                    self._broken(lane, node, error)
                    continue
            if link.unsent != link.blocked:
                link.blocked = link.unsent
                events = select.EPOLLIN | (select.EPOLLOUT if link.blocked else 0)
                self._poll.modify(link.fileno(), events)

    def _put(self, lane: Lane, link: Link, number: int, now_ms: int) -> None:
        taken_ns, intended_ns = lane.take(number)
        target, count = self._targets[number], len(intended_ns)
        size = self._encoded.length(count)
        correlation = link.next_correlation()
        head = target.head(correlation, size)
        parts = (
            (self._encoded.stamped(intended_ns, now_ms),) if self._spec.stamp else self._encoded.plain(count, now_ms)
        )
        link.put(Request(correlation, target, number, count, intended_ns, taken_ns), (head, *parts))
        self._batches += 1
        self._records += count
        self._batch_bytes += size
        self._request_bytes += len(head) + size

    def _receive(self, wait_s: float) -> None:
        """Waits so long for an answer, or for room where a socket had none."""
        for descriptor, _ in self._poll.poll(wait_s):
            lane, node = self._by_descriptor[descriptor]
            link = lane.links[node]
            try:
                answers = link.answers()
            except OSError as error:
                self._broken(lane, node, error)
                continue
            for request, frame in answers:
                self._resolve(lane, link, request, frame)
        if self._seen:
            self.recorder.acknowledged(np.concatenate(self._seen))
            self._seen.clear()

    def _resolve(self, lane: Lane, link: Link, request: Request, frame: bytes) -> None:
        code, offset = request.target.answer(frame)
        count = request.count
        self._let_go(lane, count)
        if code == NO_ERROR:
            self._acknowledge(request, count)
            self._backwards += offset < link.stored.get(request.number, 0)
            link.stored[request.number] = offset + len(request.intended_ns)
            return
        self._stale = True
        if surely_not_stored(code):
            self._fail(error_name(code), count)
        else:
            self._lose(error_name(code), count)

    def _acknowledge(self, request: Request, count: int) -> None:
        """The one place that says so: answers without an error, of records that were not given up before."""
        self._acknowledged += count
        if self._agenda and count:
            self._seen.append(request.intended_ns)

    def _fail(self, kind: str, count: int) -> None:
        """Surely not stored."""
        if count:
            self._failed += count
            self._errors[kind] += count

    def _lose(self, kind: str, count: int) -> None:
        """Stored or not: it is unknown."""
        if count:
            self._unknown += count
            self._errors[kind] += count

    def _broken(self, lane: Lane, node: int, error: OSError) -> None:
        link = lane.links.pop(node)
        self._poll.unregister(link.fileno())
        del self._by_descriptor[link.fileno()]
        link.close()
        lost = sum(request.count for request in link.under_way)
        self._let_go(lane, lost)
        self._lose("_TRANSPORT", lost)
        self._note(ClientError("_TRANSPORT", f"connection to node {node}: {error}"))

    def _note(self, error: ClientError) -> None:
        """Tells the first error of a kind in the log, and asks anew where partitions are led; raises when there is no
        use in waiting for the cluster."""
        self._last_error, self._stale = error, True
        if error.kind not in self._told:
            self._told.add(error.kind)
            print(error, file=sys.stderr, flush=True)
        if error.kind in _HOPELESS and not self._known:
            raise error

    def _keep_up(self, now_ns: int) -> None:
        """What need not be done in every pass: time-outs, metadata, connections."""
        before_ns = now_ns - self._settings.message_timeout_ns
        for lane in [lane for lane in self._lanes if lane.outstanding]:
            dropped = lane.give_up(before_ns)
            self._outstanding -= dropped
            self._fail(TIMED_OUT, dropped)
            for link in lane.links.values():
                for request in link.under_way:
                    if request.count and request.taken_ns < before_ns:
                        self._let_go(lane, request.count)
                        self._lose(TIMED_OUT, request.count)
                        request.count = 0
                        self._stale = True
        if self._stale:
            self._ask_layout()
        self._connect()

    def _ask_layout(self) -> None:
        if self._targets and not self._stale:
            return
        try:
            layout = self._finding.result()
        except ClientError as error:
            self._note(error)
            return
        if layout is None:
            return
        self._nodes = layout.nodes
        if not self._targets:
            self._set_out(layout)
        for target in self._targets:
            target.leader = layout.leaders.get((target.topic, target.partition), -1)
        self._stale = any(target.leader not in self._nodes for target in self._targets)

    def _set_out(self, layout: Layout) -> None:
        """The first layout says what partitions there are."""
        spec, settings = self._spec, self._settings
        for topic in spec.topics:
            found = sum(name == topic for name, _ in layout.leaders)
            if spec.partitions_per_topic not in (0, found):
                raise ClientError(
                    "UNKNOWN_TOPIC_OR_PARTITION",
                    f"topic {topic} has {found} partitions; asked for {spec.partitions_per_topic}",
                )
        self._targets = [
            Target(topic, number, client_id=spec.name, acks=settings.acks, timeout_ms=settings.request_timeout_ms)
            for topic, number in sorted(layout.leaders)
        ]
        source = random.Random(spec.seed)
        for _ in range(spec.connections):
            lane = Lane(len(self._targets), capacity=settings.capacity, most=self._most, linger_ns=settings.linger_ns)
            lane.shuffle(source)
            self._lanes.append(lane)

    def _connect(self) -> None:
        """A link for each lane to each leader; what is missing is made meanwhile."""
        wanted = {target.leader for target in self._targets} & self._nodes.keys()
        for number, lane in enumerate(self._lanes):
            for node in wanted - lane.links.keys():
                key = number, self._nodes[node]
                if key not in self._attempts:
                    self._attempts[key] = self._connector.connecting(self._nodes[node])
                try:
                    made = self._attempts[key].result()
                except ClientError as error:
                    self._note(error)
                    continue
                if made is not None:
                    del self._attempts[key]
                    lane.links[node] = link = Link(made)
                    self._by_descriptor[link.fileno()] = lane, node
                    self._poll.register(link.fileno(), select.EPOLLIN)
