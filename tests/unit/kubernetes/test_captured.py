"""That ready pods have the proxies of their data plane, and `up` of other meshes, against a fake API server."""

from __future__ import annotations

from typing import Any

import pytest

from meshmark.backends.kubernetes.captured import REDIRECTION, amiss, gateway_amiss
from meshmark.backends.kubernetes.kinds import LISTED, NAMESPACE, SERVICE
from meshmark.cli import app
from meshmark.data_plane import DataPlane
from meshmark.errors import ComponentFailed, NotOurs, ObjectRefused
from tests.unit.kubernetes.fake_api import FakeApi

Capture = pytest.CaptureFixture[str]


PORTS = {"config.linkerd.io/opaque-ports": "9092", "config.linkerd.io/skip-inbound-ports": "9092,9093"}


def pod(*proxies: str, name: str = "broker-1", key: str = "initContainers") -> dict[str, Any]:
    annotations = {**PORTS, **({REDIRECTION: "enabled"} if "ztunnel" in proxies else {})}
    inside = [{"name": proxy} for proxy in proxies if proxy != "ztunnel"]
    return {
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"containers": [{"name": "kafka"}], key: inside},
    }


@pytest.mark.parametrize(
    ("data_plane", "proxies"),
    [
        ("plain", ()),
        ("kafka-tls", ()),
        ("istio", ("istio-proxy",)),
        ("istio-mtls", ("istio-proxy",)),
        ("ambient", ("ztunnel",)),
        ("ambient-waypoint", ("ztunnel",)),
        ("linkerd", ("linkerd-proxy",)),
        ("linkerd-skip", ("linkerd-proxy",)),
    ],
)
def test_each_data_plane_has_its_proxy_and_no_other(data_plane: str, proxies: tuple[str, ...]) -> None:
    plane = DataPlane(data_plane)
    every = {"istio-proxy", "linkerd-proxy", "ztunnel"}
    assert amiss(plane, pod(*proxies)) == ""
    assert amiss(plane, pod(*proxies, key="containers")) == ""
    for other in sorted(every - set(proxies)):
        assert f"has {other}, which {data_plane} has not" in amiss(plane, pod(*proxies, other))
    for proxy in proxies:
        assert f"has no {proxy}: " in amiss(plane, pod())
        assert f"has no {proxy}: " in amiss(plane, pod(*every - {proxy}))


def test_the_pod_outside_the_mesh_is_outside() -> None:
    mtls = DataPlane.ISTIO_MTLS
    assert amiss(mtls, pod(name="stranger-1")) == ""
    assert "has istio-proxy" in amiss(mtls, pod("istio-proxy", name="stranger-1"))


def test_a_pod_whose_ports_linkerd_is_not_told_of_is_found() -> None:
    found = pod("linkerd-proxy")
    found["metadata"]["annotations"] = {}
    assert amiss(DataPlane.LINKERD, found) == "has no port 9092 in config.linkerd.io/opaque-ports"


def test_a_waypoint_is_there_once_istio_says_so() -> None:
    assert gateway_amiss({}) == "is not programmed: Istio has not looked at it"
    refused = {"type": "Programmed", "status": "False", "message": "no such class"}
    assert gateway_amiss({"status": {"conditions": [refused]}}) == "is not programmed: no such class"
    assert gateway_amiss({"status": {"conditions": [{**refused, "status": "True"}]}}) == ""


def test_where_only_clients_are_in_the_mesh_brokers_are_not() -> None:
    clients = DataPlane.ISTIO_CLIENTS
    assert amiss(clients, pod("istio-proxy", name="client-1")) == ""
    assert amiss(clients, pod(name="broker-1")) == ""
    assert "has no istio-proxy" in amiss(clients, pod(name="client-1"))
    assert "has istio-proxy, which istio-clients has not" in amiss(clients, pod("istio-proxy"))
    assert amiss(DataPlane.ISTIO_MTLS_EXCLUDE_REPLICATION, pod("istio-proxy")) == ""


def up(*more: str, only: str = "istio-mtls") -> int:
    return app.main(["up", "-f", "meshes", "--backend", "kubernetes", "--context", "fake", "--only", only, *more])


@pytest.mark.parametrize("plane", ["ambient", "ambient-waypoint", "linkerd", "linkerd-skip"])
def test_up_brings_up_another_mesh(plane: str, fake: FakeApi, capsys: Capture) -> None:
    fake.more = ("policy.linkerd.io/v1beta3",)
    assert up(only=plane) == 0
    assert f"data plane: {plane}" in capsys.readouterr().out
    assert ("gateway/waypoint" in fake.names()) == (plane == "ambient-waypoint")


@pytest.mark.parametrize(
    ("only", "more", "said"),
    [
        ("istio-mtls", (), "broker-2 has no istio-proxy: Istio's injector did not see it"),
        ("ambient", (), "broker-2 has no ztunnel: Istio's CNI plugin did not redirect it"),
        ("ambient-waypoint", (), "waypoint is not programmed: Istio has not looked at it"),
        ("linkerd", (), "broker-2 has no linkerd-proxy: Linkerd's injector did not see it"),
        ("istio-mtls", ("--provider", "strimzi"), "kafka-broker-2 has no istio-proxy"),
    ],
)
def test_ready_pods_that_no_mesh_took_are_told(
    only: str, more: tuple[str, ...], said: str, fake: FakeApi, capsys: Capture
) -> None:
    fake.more, fake.captures = ("policy.linkerd.io/v1beta3",), False
    assert up(*more, "--timeout", "1", only=only) == ComponentFailed.exit_code
    told = capsys.readouterr().err
    assert "are ready, and not as" in told
    assert f"| {said}" in told
    assert "`meshmark down` removes it" in told


def test_a_policy_of_somebody_else_beside_ours_is_refused(fake: FakeApi, capsys: Capture) -> None:
    policy = next(kind for kind in LISTED if kind.name == "PeerAuthentication")
    fake.put(NAMESPACE, "meshmark-istio-mtls", labels={"app.kubernetes.io/managed-by": "meshmark"})
    fake.put(policy, "lenient", "meshmark-istio-mtls")
    assert up() == NotOurs.exit_code
    assert "policies of others hold for the same pods: peerauthentication/lenient" in capsys.readouterr().err
    assert fake.writes == []


def test_without_linkerd_nothing_is_changed(fake: FakeApi, capsys: Capture) -> None:
    assert up(only="linkerd") == ObjectRefused.exit_code
    assert "has no Linkerd: no API group policy.linkerd.io" in capsys.readouterr().err
    assert fake.names() == []


def test_what_istio_makes_for_the_waypoint_goes_with_it(fake: FakeApi) -> None:
    assert up(only="ambient-waypoint") == 0
    made = {"gateway.networking.k8s.io/gateway-name": "waypoint"}
    fake.put(SERVICE, "waypoint", "meshmark-ambient-waypoint", labels=made)
    down = ["down", "-f", "meshes", "--backend", "kubernetes", "--context", "fake", "--only", "ambient-waypoint"]
    assert app.main(down) == 0
    assert fake.names() == []
