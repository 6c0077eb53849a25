"""`meshmark infra`: pools that our pods go to, the profiles' machines, and text that the providers' tools can read."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any, get_args

import pytest
from ruamel.yaml import YAML

from meshmark import planfile
from meshmark.backends.kubernetes import infra, manifests, pools, target
from meshmark.backends.kubernetes.infra import Provider
from meshmark.backends.kubernetes.infra.texts import cluster_config, gcloud, storage_class
from meshmark.backends.kubernetes.pools import Pool
from meshmark.cli import app
from tests.unit.kubernetes.test_schemas import judge

PROVIDERS = get_args(Provider)
DOCUMENT = {
    "eks": {"broker": ("r5.4xlarge", 3), "controller": ("c5.xlarge", 3), "client": ("c5.2xlarge", 3)},
    "gke": {"broker": ("n1-standard-16", 3), "controller": ("n1-standard-2", 3), "client": ("n1-standard-8", 4)},
}
PROFILES = {"eks": "eks-r5.4xlarge-io1", "gke": "gke-n1-standard-16-pd-ssd"}
EVERY = [(provider, today) for provider in PROVIDERS for today in (False, True)]


def brokers_pod() -> Any:
    plan = planfile.builtin("banzai-2019")
    scenario = plan.scenario("plain")
    made = manifests(plan, scenario, target(plan, scenario, kafka_version="4.4.0"))
    [found] = [each.body["spec"]["template"]["spec"] for each in made if each.body["kind"] == "StatefulSet"]
    return found


def options(command: list[str]) -> dict[str, str]:
    found = [word.removeprefix("--").partition("=") for word in command if word.startswith("--")]
    assert len({name for name, _, _ in found}) == len(found)
    return {name: value for name, _, value in found}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_documents_machines_are_as_many_as_it_says_and_those_of_the_profile(provider: Provider) -> None:
    made = infra.environment(provider, today=False)
    assert {str(pool): (nodes.machine, nodes.count) for pool, nodes in made.pools.items()} == DOCUMENT[provider]
    profile = planfile.find_profile(PROFILES[provider])
    assert profile.broker.machine == made.pools[Pool.BROKER].machine
    assert profile.client.machine == made.pools[Pool.CLIENT].machine


@pytest.mark.parametrize(("provider", "today"), EVERY)
def test_nodes_spread_evenly_over_zones(provider: Provider, today: bool) -> None:
    for nodes in infra.environment(provider, today=today).pools.values():
        assert nodes.each_zone * nodes.zones == nodes.count
        assert 1 <= nodes.zones <= 3


@pytest.mark.parametrize("today", [False, True])
def test_eksctl_knows_every_key(today: bool) -> None:
    config = cluster_config(infra.asked("eks", today=today))
    assert [error.message for error in judge(config).iter_errors(config)] == []
    config["managedNodeGroups"][0]["taint"] = []
    assert list(judge(config).iter_errors(config)) != []


@pytest.mark.parametrize(("provider", "today"), EVERY)
def test_the_api_knows_the_storage_class(provider: Provider, today: bool) -> None:
    made = storage_class(infra.asked(provider, today=today))
    assert [error.message for error in judge(made).iter_errors(made)] == []
    assert all(isinstance(value, str) for value in made["parameters"].values())


@pytest.mark.parametrize("today", [False, True])
def test_brokers_go_to_the_pool_of_eksctl_that_keeps_others_away(today: bool) -> None:
    groups = {group["name"]: group for group in cluster_config(infra.asked("eks", today=today))["managedNodeGroups"]}
    assert list(groups) == ["broker", "controller", "client"]
    pod = brokers_pod()
    [toleration] = pod["tolerations"]
    [taint] = groups["broker"]["taints"]
    assert {**taint, "operator": "Equal"} == toleration
    assert "taints" not in groups["controller"]
    assert groups["client"]["taints"] != groups["broker"]["taints"]
    [wanted] = pod["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    [expression] = wanted["preference"]["matchExpressions"]
    assert [groups["broker"]["labels"][expression["key"]]] == expression["values"]


@pytest.mark.parametrize("today", [False, True])
def test_gcloud_makes_the_same_pools(today: bool) -> None:
    create, broker, client, credentials = gcloud(infra.asked("gke", today=today))
    assert create[:5] == ["gcloud", "container", "clusters", "create", f"meshmark-{'today' if today else '2019'}"]
    assert credentials[:4] == ["gcloud", "container", "clusters", "get-credentials"]
    labels = [options(command).get("node-labels") for command in (create, broker, client)]
    assert labels == [f"{pools.LABEL}={pool}" for pool in ("controller", "broker", "client")]
    taints = [options(command).get("node-taints") for command in (create, broker, client)]
    assert taints == [None, f"{pools.LABEL}=broker:NoSchedule", f"{pools.LABEL}=client:NoSchedule"]
    for command in (create, broker, client):
        said = options(command)
        assert said["location"] == "europe-west4"
        assert all(zone.startswith("europe-west4-") for zone in said["node-locations"].split(","))
        assert ("disk-type" in said) == today, "N4 takes no persistent disk"
    assert [int(options(each)["num-nodes"]) for each in (create, broker, client)] == [1, 1, 2]


@pytest.mark.parametrize("today", [(), ("--today",)])
def test_what_is_printed_is_read_as_it_is_meant(today: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    read = YAML(typ="safe", pure=True).load
    assert app.main(["infra", "eks", *today, "--region", "eu-north-1"]) == 0
    asked = infra.asked("eks", today=bool(today), region="eu-north-1")
    assert read(capsys.readouterr().out) == cluster_config(asked)
    assert app.main(["infra", "gke", *today]) == 0
    out = capsys.readouterr().out
    lines = [line for line in out.replace("\\\n", "").splitlines() if line.startswith("gcloud")]
    assert [shlex.split(line) for line in lines] == gcloud(infra.asked("gke", today=bool(today)))
    for provider in PROVIDERS:
        assert app.main(["infra", provider, *today, "--storage-class"]) == 0
        said = capsys.readouterr()
        assert read(said.out) == storage_class(infra.asked(provider, today=bool(today)))
        assert "nothing was made" in said.err


@pytest.mark.parametrize(("provider", "today"), EVERY)
def test_it_says_how_to_go_on_and_where_figures_are_from(provider: Provider, today: bool) -> None:
    asked = infra.asked(provider, today=today)
    head = "".join(line for line in infra.cluster_text(asked).splitlines(keepends=True) if line.startswith("#"))
    disks = asked.environment.disks
    assert f"--storage-class {disks.name} --volume-size {disks.volume_size}" in head
    assert "https://" in head
    assert re.search(r"as known on \d{4}-\d\d-\d\d", head)
    assert not re.search(r"[$€]\s*\d", head)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--name", "Big"), "--name 'Big'"),
        (("--name", "a; rm"), "--name 'a; rm'"),
        (("--region", "here"), "--region 'here'"),
        (("--zones", "ab"), "--zones 'ab'"),
        (("--zones", "aab"), "--zones 'aab'"),
    ],
)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_is_no_name_is_refused(
    provider: Provider, given: tuple[str, str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert app.main(["infra", provider, *given]) == 2
    found = capsys.readouterr()
    assert said in found.err
    assert found.out == ""
