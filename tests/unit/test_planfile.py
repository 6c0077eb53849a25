"""Plan files: what they mean, and what is told about those that cannot be meant."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from meshmark import planfile
from meshmark.data_plane import DataPlane
from meshmark.errors import PlanError, UsageError
from meshmark.plan import Plan
from meshmark.planfile.openmessaging import PLANES

HEAD = "name: x\n"
ONE = HEAD + "scenarios: [plain]\n"
OF_THEIR_OWN = ("disk-sweep", "distance", "distance-settings", "geography", "meshes", "sensitivity")
"""Plans that compare something else than the four data planes, or more, and take their time."""
SCHEMA = Path(planfile.__file__).parents[1] / "resources" / "schemas" / "plan.schema.json"


def problems(text: str) -> list[str]:
    with pytest.raises(PlanError) as caught:
        planfile.loads(text, "f")
    return caught.value.problems


@pytest.mark.parametrize("name", planfile.builtin_names())
def test_built_in_plans_read_back_from_what_is_shown_of_them(name: str) -> None:
    plan = planfile.builtin(name)
    assert plan.name == name
    if name not in OF_THEIR_OWN:
        assert [scenario.data_plane for scenario in plan.scenarios] == list(PLANES)
    assert planfile.loads(planfile.dump(plan), "shown") == plan


def test_banzai_2019_is_the_document_s_single_cluster_benchmark() -> None:
    plan = planfile.builtin("banzai-2019")
    for scenario in plan.scenarios:
        work = scenario.workload
        assert (scenario.cluster.brokers, work.topics, work.partitions_per_topic) == (3, 3, 3)
        assert (work.replication_factor, work.message_size, work.workers) == (3, 512, 20)
        assert work.topic_config["min.insync.replicas"] == 2
        assert work.producer_config["acks"] == "all"
        assert work.producer_config["compression.type"] == "none"
        assert work.subscriptions_per_topic == 0


def test_produce_consume_differs_from_it_by_its_consumers_alone() -> None:
    base, other = planfile.builtin("banzai-2019"), planfile.builtin("produce-consume")
    consumers = {"subscriptions_per_topic": 1, "consumer_per_subscription": 1}
    for left, right in zip(base.scenarios, other.scenarios, strict=True):
        assert right.workload == left.workload.model_copy(update=consumers)
        assert right.cluster == left.cluster


def test_an_unknown_built_in_plan_is_told_with_a_guess() -> None:
    with pytest.raises(UsageError, match="did you mean banzai-2019"):
        planfile.builtin("banzai2019")


def test_a_scenario_overrides_the_plan_key_by_key() -> None:
    plan = planfile.loads(
        HEAD
        + """
cluster: {brokers: 5, brokerConfig: {num.io.threads: 4}}
workload: {messageSize: 100, producerConfig: {linger.ms: 9}}
method:
scenarios:
  - plain
  - name: big
    dataPlane: istio
    cluster: {brokerConfig: {num.network.threads: 2}}
    workload: {messageSize: 1000, producerConfig: {acks: 1}, topicConfig: {retention.ms: 1000}}
  - dataPlane: istio-mtls
  - name: kafka-tls
""",
        "f",
    )
    plain, big, mtls, tls = plan.scenarios
    assert (plain.cluster.brokers, plain.workload.message_size) == (5, 100)
    assert (big.name, big.data_plane) == ("big", DataPlane.ISTIO)
    assert (big.cluster.brokers, big.workload.message_size) == (5, 1000)
    assert big.cluster.broker_config == {"num.io.threads": 4, "num.network.threads": 2}
    assert big.workload.producer_config["linger.ms"] == 9
    assert big.workload.producer_config["acks"] == 1
    assert big.workload.topic_config == {"min.insync.replicas": 2, "retention.ms": 1000}
    assert plain.workload.topic_config == {"min.insync.replicas": 2}
    assert (mtls.name, tls.data_plane) == ("istio-mtls", DataPlane.KAFKA_TLS)
    assert planfile.loads(planfile.dump(plan), "shown") == plan


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "f:1:1: empty"),
        ("# nothing\n", "f:1:1: empty"),
        ("{}", "f:1:1: empty"),
        ("- a\n- b", "f:1:1: a plan is a mapping"),
        ("just words", "f:1:1: a plan is a mapping"),
        ("a: b: c", "f:1:5: not YAML: mapping values are not allowed here"),
        ("name: x\n\tseed: 3", "f:2:1: not YAML"),
        ("name: 'x", "f:1:9: not YAML"),
        ("name: \x07", "f:1:7: a character that YAML does not allow"),
        (ONE + "---\n" + ONE, "f:3:1: a second document"),
        ("name: &a x\nbaseline: *a\nscenarios: [x]", "f:2:11: baseline: the alias *a is not allowed"),
        ("name: !!str x\nscenarios: [plain]", "f:1:7: name: the tag tag:yaml.org,2002:str is not allowed"),
        ("? [a]\n: b\n" + ONE, "f:1:3: a key must be a single word"),
        ("[" * 40 + "]" * 40, "nested more than 20 levels deep"),
        (HEAD, "f:1:1: scenarios: missing; must be a list of 1 to 64 entries"),
        ("scenarios: [plain]", "f:1:1: name: missing; must be 1 to 48 lower-case letters"),
        (ONE + "apiVersion: v2", 'f:3:13: apiVersion: "v2" is not allowed; must be meshmark/v1'),
        (HEAD + "scenarios: []", "f:2:12: scenarios: an empty list is not allowed"),
        (HEAD + "scenarios: plain", 'f:2:12: scenarios: "plain" is not allowed; must be a list'),
        (HEAD + "scenarios: [istio-mtsl]", "(did you mean istio-mtls?); must be one of plain, kafka-tls"),
        (HEAD + "scenarios: [{name: a}]", "f:2:13: scenarios[0].dataPlane: missing; must be one of"),
        (HEAD + "scenarios: [plain, 7]", "f:2:20: scenarios[1]: 7 is not allowed; must be a mapping"),
        (HEAD + "scenarios: [plain, plain]", "f:2:20: scenarios[1]: a second scenario named plain"),
        (ONE + "seed: 1\nseed: 2", "f:4:1: seed: given twice; it is already on line 3"),
        (ONE + "seed: -1", "f:3:7: seed: -1 is not allowed; must be a whole number from 0 to 4,294,967,295"),
        (ONE + "seed: '1'", 'f:3:7: seed: "1" is not allowed; must be a whole number'),
        (ONE + "repeats: true", "f:3:10: repeats: true is not allowed; must be a whole number from 1 to 1,000"),
        (ONE + "repeats: 1.5", "f:3:10: repeats: 1.5 is not allowed"),
        (ONE + "repeats:", "f:3:9: repeats: null is not allowed"),
        (ONE + "seed: " + "9" * 5000, "(5000 characters) is too large"),
        (ONE + "seed: 1e999", "f:3:7: seed: 1e999 is too large"),
        (ONE + "budgetSeconds: .inf", "f:3:16: budgetSeconds: .inf is not allowed; give a finite number"),
        (ONE + "environment: {flow: 1}", "f:3:15: environment.flow: unknown key (did you mean flows?); allowed:"),
        (ONE + "workload: {message_size: 1}", "workload.message_size: unknown key (did you mean messageSize?)"),
        (ONE + "messageSize: 1", "f:3:1: messageSize: unknown key (it belongs under workload); allowed:"),
        (ONE + "workload: 3", "f:3:11: workload: 3 is not allowed; must be a mapping with"),
        (ONE + "workload: {workers: 0}", "f:3:21: workload.workers: 0 is not allowed; must be a whole number from 1"),
        (ONE + "workload: {messageSize: 2000000}", "workload.messageSize: 2000000 is not allowed"),
        (ONE + "workload: {replicationFactor: 5}", "f:3:31: workload.replicationFactor: 5 replicas do not fit"),
        (ONE + "cluster: {brokers: 2}", "scenarios[0]: 3 replicas do not fit on brokers: 2; must be at most 2"),
        (ONE + "workload: {replicationFactor: 1}", "f:3:31: workload.replicationFactor: min.insync.replicas 2 with"),
        (
            ONE + "workload: {topicConfig: {min.insync.replicas: 4}}",
            "f:3:47: workload.topicConfig.min.insync.replicas: min.insync.replicas 4 with replicationFactor 3",
        ),
        (
            ONE + "workload: {messageSize: 9000, topicConfig: {max.message.bytes: 9000}}",
            "f:3:25: workload.messageSize: messages of 9,000 bytes do not fit max.message.bytes 9,000; must be",
        ),
        (
            ONE + "cluster: {brokerConfig: {message.max.bytes: '600'}}",
            "scenarios[0]: messages of 512 bytes do not fit message.max.bytes 600",
        ),
        (
            ONE + "workload: {messageSize: 700, producerConfig: {message.max.bytes: 699}}",
            "must be at most 699, or raise workload.producerConfig.message.max.bytes",
        ),
        (ONE + "cluster: {brokerConfig: {node.id: 7}}", "f:3:35: cluster.brokerConfig.node.id: node.id is set by"),
        (ONE + 'cluster: {brokerConfig: {a: "1\\rb=2"}}', "f:3:29: cluster.brokerConfig.a: a broker's settings"),
        (ONE + 'cluster: {brokerConfig: {a: "\\0"}}', "cannot hold the character '\\x00'"),
        (ONE + 'cluster: {brokerConfig: {a: "1\\N2"}}', "cannot hold the character '\\x85'"),
        (ONE + 'cluster: {brokerConfig: {a: "1\\L2"}}', "cannot hold the character '\\u2028'"),
        (ONE + 'cluster: {brokerConfig: {"node.id ": 7}}', "f:3:26: cluster.brokerConfig: 'node.id ' is no name"),
        (ONE + 'cluster: {brokerConfig: {"a\\rnode.id": 7}}', "cluster.brokerConfig: 'a\\rnode.id' is no name"),
        (ONE + 'cluster: {brokerConfig: {"": 7}}', "cluster.brokerConfig: '' is no name of a setting"),
        (ONE + "workload: {producerConfig: {bootstrap.servers: a}}", "follows from the data plane and the load"),
        (ONE + "workload: {topicConfig: {a: [1]}}", "f:3:29: workload.topicConfig.a: a list is not allowed; must be"),
        (ONE + "method: {windowSeconds: 1}", "f:3:25: method.windowSeconds:"),
        (ONE + "baseline: plan", "f:3:11: baseline: no scenario is named plan (did you mean plain?); must be one of"),
        (HEAD + 'scenarios: [plain]\ndescription: "\\ud800"', "description: half of a surrogate pair"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_what_is_allowed(text: str, expected: str) -> None:
    found = problems(text)
    assert any(expected in problem for problem in found), found
    assert all(problem.startswith("f:") for problem in found)


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ("workload.producerConfig", "sasl.password"),
        ("workload.producerConfig", "sasl.oauthbearer.config"),
        ("workload.producerConfig", "ssl_key"),
        ("workload.consumerConfig", "ssl.key.password"),
        ("workload.consumerConfig", "sasl.kerberos.keytab"),
        ("workload.topicConfig", "some.plugin.passphrase"),
        ("cluster.brokerConfig", "ssl.keystore.location"),
        ("cluster.brokerConfig", "listener.name.client.plain.sasl.jaas.config"),
        ("cluster.brokerConfig", "password.encoder.secret"),
    ],
)
def test_what_may_hold_a_secret_is_refused_by_its_name(config: str, key: str) -> None:
    section, name = config.split(".")
    (found,) = problems(f"{ONE}{section}:\n  {name}:\n    {key}: hunter2")
    assert found.startswith(f"f:5:{7 + len(key)}: {config}.{key}: may hold a secret, and plans are recorded and shown")
    assert "; leave it out: the lab makes its own keys" in found
    assert "hunter2" not in found


@pytest.mark.parametrize(
    "option", ["-Djavax.net.ssl.keyStorePassword=hunter2", "'-javaagent:a.jar=1,password=hunter2'"]
)
def test_what_a_jvm_may_be_told_as_a_secret_is_refused(option: str) -> None:
    (found,) = problems(f"{ONE}cluster: {{jvmOptions: [-Xss1m, {option}]}}")
    assert found.startswith("f:3:32: cluster.jvmOptions[1]: may hold a secret, and plans are recorded and shown; ")
    assert "hunter2" not in found


def test_a_scenario_s_own_secret_is_refused_too() -> None:
    text = HEAD + "scenarios: [{name: plain, workload: {producerConfig: {sasl.password: x}}}]"
    (found,) = problems(text)
    assert "scenarios[0].workload.producerConfig.sasl.password: may hold a secret" in found


def test_what_only_speaks_of_secrets_is_none() -> None:
    text = "cluster: {brokerConfig: {delegation.token.expiry.time.ms: 9}, jvmOptions: ['-Xlog:gc=info']}"
    (scenario,) = planfile.loads(ONE + text, "f").scenarios
    assert scenario.cluster.broker_config == {"delegation.token.expiry.time.ms": 9}


def test_sasl_is_not_the_plan_s_to_set() -> None:
    (found,) = problems(ONE + "workload: {producerConfig: {sasl.mechanism: PLAIN}}")
    assert "sasl.mechanism follows from the data plane and the load; leave it out" in found


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    found = problems(
        """name: Bad Name
seed: -1
workload:
  replicationFactor: 5
  workers: 0
  mesageSize: 1
  topicConfig: {min.insync.replicas: 7}
cluster:
  brokers: 3
  storage: dsk
scenarios: [plain, istio-mtsl]
"""
    )
    assert [problem.split(": ")[1] for problem in found] == [
        "name",
        "seed",
        "workload.replicationFactor",
        "workload.workers",
        "workload.mesageSize",
        "workload.topicConfig.min.insync.replicas",
        "cluster.storage",
        "scenarios[1]",
    ]


def test_a_mistake_in_the_defaults_is_told_once_for_all_scenarios() -> None:
    assert len(problems(HEAD + "workload: {workers: 0}\nscenarios: [plain, istio, kafka-tls]")) == 1


def test_settings_that_are_no_plain_number_are_left_to_kafka_to_judge() -> None:
    plan = planfile.loads(ONE + "workload: {topicConfig: {max.message.bytes: '²', min.insync.replicas: two}}", "f")
    assert plan.scenarios[0].workload.topic_config["max.message.bytes"] == "²"


def test_a_scenario_that_raises_its_own_limits_is_fine() -> None:
    plan = planfile.loads(
        ONE + "workload: {messageSize: 900000, topicConfig: {max.message.bytes: 2000000}}\n"
        "cluster: {brokerConfig: {message.max.bytes: 600}}",
        "f",
    )
    assert plan.scenarios[0].workload.message_size == 900_000


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\x00\x01\x02", "binary"),
        ("name: ü".encode("utf-16"), "binary, or not UTF-8"),
        (b"name: x\nb: \xff\n", ":2:1: not UTF-8"),
        (b"#" * 1_000_001, "larger than"),
    ],
)
def test_files_that_are_no_text_are_told(content: bytes, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_bytes(content)
    with pytest.raises(PlanError, match=expected):
        planfile.load(file)


def test_directories_and_absent_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="a directory"):
        planfile.load(tmp_path)
    with pytest.raises(PlanError, match="No such file"):
        planfile.load(tmp_path / "none.yaml")


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + ONE.encode())
    assert planfile.load(file).name == "x"


VALUES = st.one_of(
    st.booleans(), st.integers(-(2**63) + 1, 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), st.text()
)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(config=st.dictionaries(st.text(min_size=1), VALUES, max_size=3), text=st.text())
def test_any_setting_survives_being_written_and_read(config: dict[str, str | int | float | bool], text: str) -> None:
    base = planfile.builtin("banzai-2019")
    scenario = base.scenarios[0]
    workload = scenario.workload.model_copy(
        update={"consumer_config": {f"x.{key}": value for key, value in config.items()}}
    )
    plan = base.model_copy(
        update={"description": text, "scenarios": (scenario.model_copy(update={"workload": workload}),)}
    )
    assert planfile.loads(planfile.dump(plan), "written") == plan


@settings(max_examples=25, deadline=None, derandomize=True)
@given(data=st.data())
def test_no_text_ends_in_anything_but_a_plan_or_its_mistakes(data: st.DataObject) -> None:
    text = planfile.dump(planfile.builtin("banzai-2019"))
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 40)))
    noise = data.draw(
        st.one_of(st.text(max_size=8), st.sampled_from([": ", "- ", "[", "{", "&a ", "*a", "!t ", "\n"]))
    )
    with suppress(PlanError):  # anything else fails the test
        assert isinstance(planfile.loads(text[:start] + noise + text[end:], "f"), Plan)


def test_the_committed_schema_is_the_code_s() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == planfile.schema_text()


@pytest.mark.parametrize("name", planfile.builtin_names())
def test_the_schema_takes_plan_files_short_and_resolved(name: str) -> None:
    validator = jsonschema.Draft202012Validator(json.loads(planfile.schema_text()))
    short = (Path(planfile.__file__).parents[1] / "resources" / "plans" / f"{name}.yaml").read_text(encoding="utf-8")
    for text in (short, planfile.dump(planfile.builtin(name))):
        validator.validate(YAML(typ="safe", pure=True).load(text))


@pytest.mark.parametrize("bad", [{"scenarios": [{}]}, {"workload": {"worker": 1}}, {"scenarios": ["consul"]}])
def test_the_schema_refuses_what_the_code_refuses(bad: dict[str, object]) -> None:
    plan = {"name": "x", "scenarios": ["plain"], **bad}
    validator = jsonschema.Draft202012Validator(json.loads(planfile.schema_text()))
    assert not validator.is_valid(plan)
    assert problems(json.dumps(plan))


@pytest.mark.parametrize(("level", "limit_s"), [("quick", 300), ("default", 720)])
def test_the_built_in_plans_fit_their_time(level: planfile.Effort, limit_s: float) -> None:
    for name in planfile.builtin_names():
        plan = planfile.effort(planfile.builtin(name), level)
        assert planfile.estimate_seconds(plan) <= plan.budget_seconds
        assert plan.budget_seconds < limit_s or name in OF_THEIR_OWN


def test_quick_and_full_win_over_the_plan_and_default_does_not() -> None:
    plan = planfile.loads(ONE + "repeats: 7\nbudgetSeconds: 99\nmethod: {warmupSeconds: 1, width: 0.5}", "f")
    default, quick, full = (planfile.effort(plan, level) for level in ("default", "quick", "full"))
    assert default == plan
    assert (quick.repeats, full.repeats) == (2, 10)
    warmups = [each.scenarios[0].method.warmup_seconds for each in (plan, quick, full)]
    assert warmups == [1, 6, 20]
    assert {each.scenarios[0].method.width for each in (default, quick, full)} == {0.5}
    assert full.budget_seconds > planfile.estimate_seconds(full)
    assert quick.budget_seconds != 99


def test_more_scenarios_get_more_time_unless_the_plan_says_its_own() -> None:
    names = ", ".join(f"{{name: s{number}, dataPlane: plain}}" for number in range(8))
    plan = planfile.loads(HEAD + f"scenarios: [{names}]", "f")
    for level in ("quick", "default", "full"):
        timed = planfile.effort(plan, level)
        assert timed.budget_seconds >= planfile.estimate_seconds(timed)


def test_scenarios_are_selected_in_the_plan_s_own_order() -> None:
    plan = planfile.builtin("banzai-2019")
    chosen = planfile.select(plan, ["istio-mtls", "plain", "plain"])
    assert [scenario.name for scenario in chosen.scenarios] == ["plain", "istio-mtls"]
    assert planfile.select(plan, []) == plan
    with pytest.raises(UsageError, match=r"no scenario istio-mtl \(did you mean istio-mtls\?\)"):
        planfile.select(plan, ["istio-mtl"])
