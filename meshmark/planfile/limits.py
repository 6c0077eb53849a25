"""Values of a plan against each other: what no single key can be blamed for.

Reports what cannot work at all, e.g. more replicas than brokers; what is only unwise is the user's business.
A value that is already known to be wrong is left out of these comparisons.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from meshmark.confidential import holds_secret
from meshmark.kafka.properties import reserved_keys
from meshmark.plan import THRESHOLD_NAME, ClusterSpec, Method, Plan, Threshold, Workload
from meshmark.planfile import geography
from meshmark.planfile.schema import did_you_mean
from meshmark.planfile.tree import START, Node, Position, Problem, Scalar

BATCH_OVERHEAD_BYTES = 512
"""More than a record batch's header and a record's own framing take around one value."""

KAFKA_MESSAGE_MAX_BYTES = 1_048_588
"""Kafka's default of message.max.bytes and max.message.bytes."""

CLIENT_KEYS = ("bootstrap.servers", "security.protocol", "metadata.broker.list", "group.id", "client.id")
CLIENT_PREFIXES = ("ssl.", "sasl.")
"""Client settings that the data plane and the load workers decide, and how those begin that are not listed."""
KAFKA_SETTINGS = (
    ("cluster", "brokerConfig"),
    ("workload", "topicConfig"),
    ("workload", "producerConfig"),
    ("workload", "consumerConfig"),
)
CONFIDENTIAL = (
    "may hold a secret, and plans are recorded and shown; leave it out: the lab makes its own keys, and "
    "`meshmark load --command-config FILE` reads secrets without recording them"
)


@dataclass(frozen=True, slots=True)
class _Scenario:
    """A scenario's values with the plan's defaults behind them."""

    node: Node
    bad: set[str]

    def place(self, *path: str) -> tuple[Position, str]:
        """Where the value stands, or else the nearest thing around it that stands somewhere."""
        node, best = self.node, self.node
        for step in path:
            child = node.items().get(step)
            if child is None:
                break
            node = child
            best = node if node.at is not None else best
        return best.at or START, best.key

    def node_at(self, *path: str) -> Node | None:
        node: Node | None = self.node
        for step in path:
            node = node.items().get(step) if node is not None else None
        return node

    def integer(self, fallback: int, *path: str) -> int | None:
        """The value of a setting, None where it is wrong already. Kafka settings may be digits in quotes."""
        node = self.node_at(*path)
        if node is None:
            return fallback
        value: object = node.value
        if isinstance(value, str) and value.isdecimal() and len(value) < 20:
            value = int(value)
        return value if isinstance(value, int) and not isinstance(value, bool) and node.key not in self.bad else None

    def problem(self, text: str, *path: str) -> Problem:
        at, key = self.place(*path)
        return Problem(at, key, text)


def problems(plan: Node, scenarios: Sequence[Node], bad: set[str]) -> list[Problem]:
    """Everything impossible in a plan of resolved scenarios; `bad` are keys that are reported already."""
    found: list[Problem] = []
    for node in scenarios:
        scenario = _Scenario(node, bad)
        found += _replication(scenario)
        found += _message_size(scenario)
        found += _secrets(scenario)
        found += _owned_settings(scenario)
        found += _unwritable_settings(scenario)
        found += _thresholds(plan, scenario)
        found += _topology(scenario)
        found += _placement(scenario)
    found += _twice(scenarios)
    found += _baseline(plan, scenarios, bad)
    return found


def _replication(scenario: _Scenario) -> list[Problem]:
    found = []
    brokers = scenario.integer(ClusterSpec().brokers, "cluster", "brokers")
    replicas = scenario.integer(Workload().replication_factor, "workload", "replicationFactor")
    if brokers is not None and replicas is not None and replicas > brokers:
        found.append(
            scenario.problem(
                f"{replicas} replicas do not fit on brokers: {brokers}; must be at most {brokers}",
                "workload",
                "replicationFactor",
            )
        )
    for path in (("workload", "topicConfig"), ("cluster", "brokerConfig")):
        # A topic's own setting hides the broker's.
        node = scenario.node_at(*path, "min.insync.replicas")
        if node is None:
            continue
        in_sync = scenario.integer(1, *path, "min.insync.replicas")
        if in_sync is not None and replicas is not None and not 1 <= in_sync <= replicas:
            # Where only the default is too high, the replication factor is what the file says.
            place = (*path, "min.insync.replicas") if node.at is not None else ("workload", "replicationFactor")
            text = (
                f"min.insync.replicas {in_sync} with replicationFactor {replicas} would refuse every message; "
                f"{'.'.join(path)} must say 1 to {replicas}"
            )
            found.append(scenario.problem(text, *place))
        break
    return found


def _message_size(scenario: _Scenario) -> list[Problem]:
    size = scenario.integer(Workload().message_size, "workload", "messageSize")
    limits = [
        (("workload", "topicConfig", "max.message.bytes"), BATCH_OVERHEAD_BYTES),
        (("cluster", "brokerConfig", "message.max.bytes"), BATCH_OVERHEAD_BYTES),
        (("workload", "producerConfig", "message.max.bytes"), 0),  # librdkafka compares the message alone
    ]
    if scenario.node_at(*limits[0][0]) is not None:
        del limits[1]
    found = []
    for path, overhead in limits:
        limit = scenario.integer(KAFKA_MESSAGE_MAX_BYTES, *path)
        if size is not None and limit is not None and size + overhead > limit:
            framing = f" (framing takes up to {overhead})" if overhead else ""
            text = (
                f"messages of {size:,} bytes do not fit {path[-1]} {limit:,}; must be at most "
                f"{max(limit - overhead, 0):,}{framing}, or raise {'.'.join(path)}"
            )
            found.append(scenario.problem(text, "workload", "messageSize"))
    return found


def _secrets(scenario: _Scenario) -> list[Problem]:
    found = [
        scenario.problem(CONFIDENTIAL, *path, name)
        for path in KAFKA_SETTINGS
        for name in _settings(scenario, path)
        if holds_secret(name)
    ]
    options = scenario.node_at("cluster", "jvmOptions")
    listed = options.value if options is not None and isinstance(options.value, list) else []
    return found + [
        Problem(option.at or START, option.key, CONFIDENTIAL)
        for option in listed
        if any(map(holds_secret, re.split("[=,]", str(option.value))))
    ]


def _owned_settings(scenario: _Scenario) -> list[Problem]:
    broker = ("cluster", "brokerConfig")
    found = [
        scenario.problem(f"{name} is set by meshmark itself; leave it out", *broker, name)
        for name in reserved_keys(dict.fromkeys(_settings(scenario, broker), ""))
        if not holds_secret(name)
    ]
    for path in (("workload", "producerConfig"), ("workload", "consumerConfig")):
        found += [
            scenario.problem(f"{name} follows from the data plane and the load; leave it out", *path, name)
            for name in _settings(scenario, path)
            if name in CLIENT_KEYS or (name.startswith(CLIENT_PREFIXES) and not holds_secret(name))
        ]
    return found


def _unwritable_settings(scenario: _Scenario) -> list[Problem]:
    """Of brokers, what would be more than a line of a properties file, or another key than it seems."""
    node = scenario.node_at("cluster", "brokerConfig")
    found = []
    for name, child in node.items().items() if node is not None else ():
        if not re.fullmatch(r"[\w.-]+", name, re.ASCII):
            text = f"{name!a} is no name of a setting; it must be letters, digits, dots, dashes and underscores"
            found.append(Problem(child.key_at or START, child.key.removesuffix(f".{name}"), text))
        elif isinstance(child.value, str) and not child.value.isprintable():
            odd = next(each for each in child.value if not each.isprintable())
            text = f"a broker's settings file cannot hold the character {odd!a}; leave it out"
            found.append(Problem(child.at or START, child.key, text))
    return found


def _topology(scenario: _Scenario) -> list[Problem]:
    node = scenario.node_at("cluster", "topology")
    if node is None:
        return []
    spec = ClusterSpec()
    told = {what: scenario.integer(getattr(spec, what), "cluster", what) for what in ("brokers", "clients")}
    plane = scenario.node_at("dataPlane")
    return geography.problems(node, told, None if plane is None else plane.value, scenario.bad)


def _placement(scenario: _Scenario) -> list[Problem]:
    """Clients are where there are client hosts."""
    clusters = scenario.node_at("cluster", "topology", "clusters")
    there = (
        [each.items() for each in clusters.value] if clusters is not None and isinstance(clusters.value, list) else []
    )
    names = [
        str(each["name"].value)
        for each in there
        if "name" in each and "clients" in each and each["clients"].value != 0
    ]
    found = []
    for key in ("producersIn", "consumersIn"):
        node = scenario.node_at("workload", key)
        if node is not None and node.key not in scenario.bad and node.value not in ("", *names):
            text = f"no cluster {node.value} has client hosts{did_you_mean(str(node.value), names)}; " + (
                f"must be one of {', '.join(names)}" if names else "it needs a topology with clients in a cluster"
            )
            found.append(scenario.problem(text, "workload", key))
    return found


def _settings(scenario: _Scenario, path: tuple[str, ...]) -> list[str]:
    node = scenario.node_at(*path)
    return list(node.items()) if node is not None else []


def _thresholds(plan: Node, scenario: _Scenario) -> list[Problem]:
    """What a scenario is held to, its own or the plan's for all scenarios."""
    node = scenario.node_at("thresholds")
    found = []
    for name, limit in node.items().items() if node is not None else ():
        if limit.key in scenario.bad or not isinstance(limit.value, str):
            continue
        try:
            threshold = Threshold.parse(name, limit.value)
        except ValueError as error:
            at = limit.at if re.fullmatch(THRESHOLD_NAME, name) else limit.key_at
            found.append(Problem(at or START, limit.key, str(error)))
            continue
        found += [
            Problem(limit.key_at or START, limit.key, text)
            for text in (_not_measured(threshold, scenario), _without_loss(threshold, limit, plan, scenario))
            if text
        ]
    return found


def _not_measured(threshold: Threshold, scenario: _Scenario) -> str:
    node = scenario.node_at("method", "equalLoad")
    shares = node.plain() if node is not None else list(Method().equal_load)
    known = [share for share in shares if isinstance(share, float)] if isinstance(shares, list) else []
    if threshold.share is None or any(map(threshold.is_at, known)):
        return ""
    there = ", ".join(f"{share * 100:g} %" for share in known) or "none"
    return f"no load of {threshold.share * 100:g} % is measured; method.equalLoad has {there}"


def _without_loss(threshold: Threshold, limit: Node, plan: Node, scenario: _Scenario) -> str:
    """A baseline has no loss; one that only the plan says for all scenarios is left out for it."""
    own = limit.key.startswith("scenarios")
    names = {key: node.value for key, node in scenario.node.items().items() if key in ("name", "baseline")}
    top = plan.items().get("baseline")
    base = names.get("baseline") or (top.value if top is not None else Plan.model_fields["baseline"].default)
    if threshold.share is None and own and base == names.get("name"):
        return "this scenario is the baseline, which has no loss; leave it out"
    return ""


def _names(scenarios: Sequence[Node]) -> list[tuple[Scalar, Node]]:
    named = [(item, item.items().get("name")) for item in scenarios]
    return [(name.value, item) for item, name in named if name is not None and isinstance(name.value, str)]


def _twice(scenarios: Sequence[Node]) -> list[Problem]:
    seen: set[Scalar] = set()
    found = []
    for name, item in _names(scenarios):
        if name in seen:
            found.append(Problem(item.at or START, item.key, f"a second scenario named {name}; give it another name"))
        seen.add(name)
    return found


def _baseline(plan: Node, scenarios: Sequence[Node], bad: set[str]) -> list[Problem]:
    """A baseline that is named must exist; one that is only the default may be absent, and losses are then unknown."""
    names = list(dict.fromkeys(str(name) for name, _ in _names(scenarios)))
    said = [each.items().get("baseline") for each in (plan, *scenarios)]
    wrong = [node for node in said if node is not None and node.key not in bad and node.value not in ("", *names)]
    return [
        Problem(
            node.at or START,
            node.key,
            f"no scenario is named {node.value}{did_you_mean(str(node.value), names)}; must be one of "
            f"{', '.join(names)}",
        )
        for node in wrong
        if names
    ]
