"""The rights that are asked for are those that are used, and the ClusterRoles grant them and no more."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
from ruamel.yaml import YAML

from meshmark.backends.kubernetes import rights
from meshmark.backends.kubernetes.kinds import LISTED, NAMESPACE, SECRET
from meshmark.cli import app, reference
from tests.unit.kubernetes.fake_api import FakeApi
from tests.unit.kubernetes.test_cluster import CONFIG_MAP, main

Used = set[tuple[str, str, str]]


def plain(right: rights.Right) -> tuple[str, str, str]:
    return right.verb, right.resource, right.name


def in_use(used: Used) -> Used:
    """As rights are granted: names count of secrets that are there alone."""
    return {
        (verb, resource, name if resource == "secrets" and verb != "create" else "") for verb, resource, name in used
    }


def both_ways(fake: FakeApi, run: Callable[[str], int]) -> Used:
    """What a verb uses with a Secret and without, with objects of another scenario left over and of others."""
    found: Used = set()
    for only in ("kafka-tls", "istio"):
        fake.used.clear()
        assert run(only) in (0, 1, 3, 14)
        found |= in_use(fake.used)
    return found


def with_left_overs(fake: FakeApi, namespace: str) -> None:
    for kind in LISTED:
        fake.put(kind, "old", namespace, spec={"replicas": 0}, labels={"app.kubernetes.io/managed-by": "meshmark"})


@pytest.mark.parametrize("verb", [verb for verb in rights.VERBS if verb != "run"])
def test_rights_that_are_asked_for_are_those_that_are_used(verb: rights.Verb, fake: FakeApi) -> None:
    def run(only: str) -> int:
        if verb == "diff":
            return app.main(["diff", "--context", "fake", "--only", only, "--monitors"])
        more = {"exec": ["broker-1", "--", "ls"], "up": ["--monitors"]}
        return main(verb, *more.get(verb, []), only=only)

    used: Used = set()
    if verb in ("up", "diff"):
        used |= both_ways(fake, run)
        for only in ("kafka-tls", "istio"):
            fake.put(NAMESPACE, f"meshmark-{only}", labels={"app.kubernetes.io/managed-by": "meshmark"})
        used |= both_ways(fake, run)
    for only in ("kafka-tls", "istio"):
        assert main("up", only=only) == 0
        with_left_overs(fake, f"meshmark-{only}")
    fake.put(SECRET, "broker-tls", "meshmark-istio", labels={"app.kubernetes.io/managed-by": "meshmark"}, data={})
    if verb == "down":
        fake.put(CONFIG_MAP, "theirs", "meshmark-kafka-tls")
    if verb == "status":
        fake.brokers = "unplaced"
    used |= both_ways(fake, run)
    elsewhere = [("istio", "--provider", "strimzi"), ("istio", "--provider", "koperator")]
    elsewhere.append(("ambient-waypoint", "-f", "meshes"))
    for only, *option in elsewhere if verb in ("up", "diff") else ():
        fake.put(NAMESPACE, f"meshmark-{only}", labels={"app.kubernetes.io/managed-by": "meshmark"})
        fake.used.clear()
        more = ["--context", "fake", "--only", only, *option]
        assert app.main([verb, *(["--backend", "kubernetes"] if verb == "up" else []), *more]) in (0, 1)
        used |= in_use(fake.used)
    if verb == "up":
        fake.brokers = "unplaced"
        fake.objects = {key: value for key, value in fake.objects.items() if key[0].name != "Pod"}
        fake.used.clear()
        assert main("up", "--timeout", "1") == 6
        used |= in_use(fake.used)
    assert used == {plain(right) for right in rights.needed(verb)}


def granted() -> set[tuple[str, str, str, str]]:
    text = reference.RIGHTS.read_text(encoding="utf-8")
    return {
        (group, resource, name, verb)
        for role in YAML(typ="safe", pure=True).load_all(text)
        for rule in role["rules"]
        for group, resource, name, verb in product(
            rule["apiGroups"], rule["resources"], rule.get("resourceNames", [""]), rule["verbs"]
        )
    }


def test_the_roles_are_written_from_the_code() -> None:
    again = "write it again: python -m meshmark.cli.reference"
    assert reference.RIGHTS.read_text(encoding="utf-8") == reference.cluster_roles(), again


def test_the_roles_grant_what_the_verbs_need_and_no_more() -> None:
    options = {*rights.KUBELET, *rights.FIND_PROMETHEUS, *rights.EVICT, *rights.JOIN, *rights.ZTUNNEL}
    needed = {right for verb in rights.VERBS for right in rights.needed(verb)} | options
    assert granted() == {(right.group, right.resource, right.name, right.verb) for right in needed}
    assert not {verb for *_, verb in granted()} & {
        "*",
        "update",
        "deletecollection",
        "impersonate",
        "bind",
        "escalate",
    }


def test_what_is_done_to_a_namespace_that_is_there_can_be_granted_within_it() -> None:
    reads, makes = rights.READ_NAMESPACE.attributes("mine"), rights.MAKE_NAMESPACE.attributes("mine")
    assert (reads["namespace"], makes["namespace"]) == ("mine", "")
    assert reads["resource"] == NAMESPACE.plural
