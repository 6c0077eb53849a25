"""Who else is asked for CPU time: kubelets over TLS, and a Prometheus, both fakes here. The real ones answer in
tests/kubernetes."""

from __future__ import annotations

import json
import math
import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from meshmark.backends.kubernetes import cadvisor, contexts, kubelet, metering, prometheus
from meshmark.backends.kubernetes.api import Api
from meshmark.backends.kubernetes.backend import KubernetesBackend
from meshmark.backends.kubernetes.kinds import SERVICE
from meshmark.backends.kubernetes.measured import LoadPods
from meshmark.backends.kubernetes.metering import FIND, Metering, metered
from meshmark.cli import app
from meshmark.data_plane import DataPlane
from meshmark.dataplane.identity import Authority, named
from meshmark.errors import ClusterUnreachable, MeshmarkError, MissingRequirement, NoRights, UsageError
from meshmark.nodes import Metered, QuotaReading
from meshmark.plan import Plan, Scenario
from tests.unit.kubernetes.fake_api import TOKEN, FakeApi

HERE = "127.0.0.1"
NODES = {"n1": HERE}
SUMMARY = {
    "node": {
        "nodeName": "n1",
        "cpu": {"time": "2026-11-26T23:00:00.123456789Z", "usageNanoCores": 1, "usageCoreNanoSeconds": 12_500_000_000},
        "systemContainers": [
            {"name": "kubelet", "cpu": {"time": "2026-11-26T23:00:01Z", "usageCoreNanoSeconds": 3_000_000_000}},
            {"name": "pods", "cpu": {"time": "2026-11-26T23:00:02Z", "usageCoreNanoSeconds": 9_000_000_000}},
            {"name": "misc", "cpu": {"time": "2026-11-26T23:00:02Z", "usageCoreNanoSeconds": 1}},
        ],
    },
    "pods": [
        {
            "podRef": {"name": "broker-1", "namespace": "ours", "uid": "1"},
            "containers": [
                {"name": "kafka", "cpu": {"time": "2026-11-26T23:00:03Z", "usageCoreNanoSeconds": 5_000_000_000}},
                {"name": "new", "cpu": {"time": "2026-11-26T23:00:03Z"}},
            ],
        },
        {"podRef": {"name": "broker-1", "namespace": "theirs", "uid": "2"}, "containers": [{"name": "kafka"}]},
        {
            "podRef": {"name": "ztunnel-x", "namespace": "istio-system", "uid": "3"},
            "containers": [
                {"name": "istio-proxy", "cpu": {"time": "2026-11-26T23:00:04Z", "usageCoreNanoSeconds": 2_000_000_000}}
            ],
        },
    ],
}
LABELS = 'id="/kubepods/x",image="proxy@sha256:1",name="c1",namespace="ours",pod="broker-1"'
PAGE = f"""# HELP container_cpu_cfs_periods_total Number of elapsed enforcement period intervals.
# TYPE container_cpu_cfs_periods_total counter
container_cpu_cfs_periods_total{{container="istio-proxy",{LABELS}}} 1000 1795734001500
container_cpu_cfs_periods_total{{container="",{LABELS}}} 1200 1795734001500
container_cpu_cfs_periods_total{{container="half",{LABELS}}} 10 1795734001500
container_cpu_cfs_periods_total{{container="x",id="/kubepods/y",namespace="theirs",pod="broker-1"}} 1 1795734001500
container_cpu_cfs_throttled_periods_total{{container="istio-proxy",{LABELS}}} 250 1795734001500
container_cpu_cfs_throttled_seconds_total{{container="istio-proxy",{LABELS}}} 12.5 1795734001500
container_cpu_usage_seconds_total{{container="istio-proxy",cpu="total",{LABELS}}} 70.25 1795734001500
"""
READ_AT = 1_795_734_000.0
"""Of its whole second."""


def test_a_kubelets_summary_says_when_it_read_what() -> None:
    found = list(kubelet.readings(json.dumps(SUMMARY), "n1", "ours"))
    assert [(each.part, each.cpu_s) for each in found] == [
        ("node", 12.5),
        ("kubelet", 3.0),
        ("pods", 9.0),
        ("broker-1/kafka", 5.0),
        ("ztunnel", 2.0),
    ]
    assert found[0].read_at == pytest.approx(READ_AT + 0.123456789, abs=1e-6)
    assert found[3].read_at == READ_AT + 3


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"node": {}, "pods": [1]}', "<html>"])
def test_what_is_no_summary_is_told(text: str) -> None:
    with pytest.raises(ClusterUnreachable, match="what answers as the kubelet of n1 gives no summary"):
        list(kubelet.readings(text, "n1", "ours"))


HELD_BACK = QuotaReading(
    node="n1",
    part="broker-1/istio-proxy",
    read_at=READ_AT + 1.5,
    periods=1_000,
    throttled_periods=250,
    throttled_s=12.5,
)


def test_cadvisors_page_says_how_containers_with_a_limit_were_held_back() -> None:
    assert list(cadvisor.quotas(cadvisor.samples(PAGE), lambda _: "n1", "ours")) == [HELD_BACK]
    assert list(cadvisor.quotas(cadvisor.samples(PAGE), lambda _: None, "ours")) == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_what_is_no_count_of_a_limit_is_passed_over(value: float) -> None:
    found = [each._replace(value=value) for each in cadvisor.samples(PAGE)]
    assert list(cadvisor.quotas(found, lambda _: "n1", "ours")) == []


def test_a_page_without_the_times_of_its_readings_is_told(node: Answers, authority: Authority, api: Api) -> None:
    node.page = PAGE.replace(" 1795734001500", "")
    with pytest.raises(ClusterUnreachable, match="the kubelet of n1 has no page of cAdvisor: no sample with a time"):
        read(api, Metering(kubelet=True, authority=str(authority.path)))


@dataclass
class Answers:
    """What a fake server gives, and what it was asked."""

    code: int = 200
    text: str = json.dumps(SUMMARY)
    page: str = PAGE
    """At /metrics/cadvisor."""
    forbidden: str = ""
    """A path that is answered with 403."""
    asked: list[tuple[str, str | None]] = field(default_factory=list)


@contextmanager
def serving(answers: Answers, trusted: ssl.SSLContext | None = None) -> Iterator[int]:
    """Its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers.asked.append((self.path, self.headers.get("Authorization")))
            text = answers.page if self.path == kubelet.CADVISOR and answers.code == 200 else answers.text
            self.send_response(403 if self.path == answers.forbidden else answers.code)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *arguments: Any) -> None:
            """Nothing on the screen."""

    server = ThreadingHTTPServer((HERE, 0), Handler)
    if trusted:
        server.socket = trusted.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki", "nodes")


@pytest.fixture
def node(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[Answers]:
    """A kubelet whose certificate that authority signed, for its address."""
    import ipaddress

    from cryptography import x509

    own = authority.issue("n1", "component", [x509.IPAddress(ipaddress.ip_address(HERE))], named("n1"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.chain, own.key)
    answers = Answers()
    with serving(answers, context) as port:
        monkeypatch.setattr(kubelet, "PORT", port)
        yield answers


@pytest.fixture
def api(fake: FakeApi) -> Api:
    return contexts.connect(contexts.contexts(), "fake")


def read(api: Api, asked: Metering) -> Metered:
    with metered(api, asked, NODES, "ours", required=True) as meter:
        assert meter is not None
        return meter.read(READ_AT + 60)


def test_a_kubelet_is_asked_as_the_contexts_user_and_a_reading_counts_once(
    node: Answers, authority: Authority, api: Api
) -> None:
    told = read(api, Metering(kubelet=True, authority=str(authority.path)))
    assert [each.part for each in told.cpu] == ["node", "kubelet", "pods", "broker-1/kafka", "ztunnel"]
    assert [each.part for each in told.quotas] == ["broker-1/istio-proxy"]
    assert told.problems == ()
    assert len(node.asked) >= 4
    assert set(node.asked) == {(path, f"Bearer {TOKEN}") for path in (kubelet.SUMMARY, kubelet.CADVISOR)}


def test_a_kubelet_that_is_not_who_it_should_be_is_shown_no_token(node: Answers, api: Api, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other", "others")
    with pytest.raises(ClusterUnreachable, match="cannot be asked") as failed:
        read(api, Metering(kubelet=True, authority=str(other.path)))
    assert "--kubelet-ca FILE" in str(failed.value.hint)
    assert node.asked == []
    assert read(api, Metering(kubelet=True, authority=None)).cpu


@pytest.mark.parametrize(("code", "error"), [(401, NoRights), (403, NoRights), (503, ClusterUnreachable)])
def test_what_a_kubelet_refuses_is_told_before_a_run(
    node: Answers, authority: Authority, api: Api, code: int, error: type[MeshmarkError]
) -> None:
    node.code, node.text = code, "Forbidden (user=u, verb=get, resource=nodes, subresource=stats)"
    with pytest.raises(error, match=f"answered {code}: Forbidden"):
        read(api, Metering(kubelet=True, authority=str(authority.path)))


@pytest.mark.parametrize("path", [kubelet.SUMMARY, kubelet.CADVISOR])
def test_each_right_that_lacks_is_told_by_the_role_that_has_it(
    node: Answers, authority: Authority, api: Api, path: str
) -> None:
    node.forbidden = path
    with pytest.raises(NoRights, match="answered 403") as refused:
        read(api, Metering(kubelet=True, authority=str(authority.path)))
    assert "the ClusterRole meshmark-nodes has the rights" in refused.value.hint


def test_a_kubelet_that_fails_later_is_told_with_what_was_read(node: Answers, authority: Authority, api: Api) -> None:
    with metered(api, Metering(kubelet=True, authority=str(authority.path)), NODES, "ours") as meter:
        assert meter is not None
        before = meter.read(READ_AT)
        node.code, node.text = 503, "busy"
        after = meter.read(READ_AT)
    assert (after.cpu, after.quotas) == (before.cpu, before.quotas)
    assert (len(before.cpu), len(before.quotas)) == (5, 1)
    [problem] = after.problems
    assert re.match(r"the kubelet of n1 did not answer \d+ times, at last: ", problem)
    with metered(api, Metering(kubelet=True, authority=str(authority.path)), NODES, "ours") as meter:
        assert meter is not None
        told = meter.read(READ_AT)
    assert (told.cpu, told.quotas) == ((), ())
    assert "503: busy" in told.problems[0]


def test_an_authority_that_cannot_be_read_is_told(node: Answers, api: Api, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--kubelet-ca .* is no file"):
        Metering(kubelet=True, authority=str(tmp_path / "none"))
    (tmp_path / "empty").touch()
    with pytest.raises(UsageError, match=r"--kubelet-ca .* cannot be used"):
        read(api, Metering(kubelet=True, authority=str(tmp_path / "empty")))


def series(labels: dict[str, str], *points: tuple[float, str]) -> dict[str, Any]:
    return {"metric": {"__name__": prometheus.METRIC, **labels}, "values": [list(point) for point in points]}


def matrix(*found: dict[str, Any]) -> str:
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": list(found)}})


def test_samples_of_a_prometheus_are_known_by_node_and_control_group() -> None:
    text = matrix(
        series({"id": "/", "node": "n1"}, (1, "10"), (11, "12")),
        series({"id": "/kubepods.slice", "instance": "10.0.0.1:10250"}, (2, "5")),
        series({"id": "/kubepods", "instance": "10.0.0.1:10250"}, (2, "50")),  # of a second scrape
        series({"id": "/system.slice/kubelet.service", "kubernetes_io_hostname": "n1"}, (3, "1")),
        series({"id": "/system.slice/containerd.service", "node": "n1"}, (3, "2")),
        series({"id": "/system.slice/cron.service", "node": "n1"}, (3, "7")),
        series({"id": "/kubepods.slice/x", "node": "n1", "pod": "broker-1", "container": "kafka"}, (4, "3")),
        series({"namespace": "istio-system", "pod": "ztunnel-x", "container": "istio-proxy", "node": "n1"}, (5, "4")),
        series({"id": "/", "node": "n2"}, (1, "99")),
    )
    found = [(each.part, each.read_at, each.cpu_s) for each in prometheus.readings(text, {"n1": "10.0.0.1"})]
    assert found == [
        ("node", 1, 10),
        ("node", 11, 12),
        ("pods", 2, 5),
        ("kubelet", 3, 1),
        ("runtime", 3, 2),
        ("broker-1/kafka", 4, 3),
        ("ztunnel", 5, 4),
    ]


def test_a_prometheus_has_what_a_kubelets_page_says(api: Api) -> None:
    labels = {"namespace": "ours", "pod": "broker-1", "container": "istio-proxy", "node": "n1", "id": "/kubepods/x"}
    values = dict(zip(cadvisor.SERIES, ("1000", "250", "12.5"), strict=True))
    found = [series({**labels, "__name__": name}, (READ_AT + 1.5, value)) for name, value in values.items()]
    with serving(Answers(text=matrix(series({"id": "/", "node": "n1"}, (1, "10")), *found))) as port:
        assert read(api, Metering(prometheus=f"http://{HERE}:{port}/")).quotas == (HELD_BACK,)


def test_a_prometheus_is_asked_for_samples_and_not_for_values_at_steps(api: Api) -> None:
    answers = Answers(text=matrix(series({"id": "/", "node": "n1"}, (1, "10"))))
    with serving(answers) as port:
        told = read(api, Metering(prometheus=f"http://{HERE}:{port}/"))
    assert ([each.part for each in told.cpu], told.quotas, told.problems) == (["node"] * 3, (), ())
    paths = [urlsplit(path) for path, _ in answers.asked]
    assert {each.path for each in paths} == {"/api/v1/query"}
    queries = [parse_qs(each.query)["query"][0] for each in paths]
    assert [query.endswith("s]") for query in queries] == [True] * len(queries)
    assert any('namespace="ours"' in query for query in queries)
    assert any('namespace="istio-system",pod=~"ztunnel-.*"' in query for query in queries)
    assert [header for _, header in answers.asked] == [None] * len(queries)


def test_a_prometheus_without_the_nodes_is_refused_before_a_run_and_told_after_one(api: Api) -> None:
    answers = Answers(text=matrix(series({"id": "/", "node": "n1"}, (1, "10"))))
    with serving(answers) as port:
        url = f"http://{HERE}:{port}"
        with metered(api, Metering(prometheus=url), NODES, "ours") as meter:
            assert meter is not None
            answers.text = matrix()
            told = meter.read(READ_AT)
        assert told.cpu == ()
        [problem] = told.problems
        assert "has no series container_cpu_usage_seconds_total of the whole node n1" in problem
        with pytest.raises(MissingRequirement, match=r"has no series .* of n1 in the last 300 s"):
            read(api, Metering(prometheus=url))
        answers.text = "<html>"
        with pytest.raises(ClusterUnreachable, match="what answers is no Prometheus"):
            read(api, Metering(prometheus=url))
        answers.code = 503
        with pytest.raises(ClusterUnreachable, match="answered 503"):
            read(api, Metering(prometheus=url))
    with pytest.raises(ClusterUnreachable, match="cannot be reached"):
        read(api, Metering(prometheus=url))


def service(fake: FakeApi, name: str, port: str = "web", address: str = "10.96.0.20") -> None:
    spec = {"clusterIP": address, "ports": [{"name": "reloader", "port": 8080}, {"name": port, "port": 80}]}
    fake.put(SERVICE, name, "monitoring", labels=dict(metering.LABELS), spec=spec)


def test_a_prometheus_is_found_by_its_services_label(fake: FakeApi, api: Api) -> None:
    with pytest.raises(UsageError, match=r"no service has the label app\.kubernetes\.io/name=prometheus"):
        metering.found(api)
    service(fake, "headless", address="None")
    service(fake, "other", port="grpc")
    service(fake, "main")
    assert metering.found(api) == "http://10.96.0.20:80"
    service(fake, "second", address="fd00::1")
    with pytest.raises(
        UsageError, match=r"several services .*main \(http.*\), monitoring/second \(http://\[fd00::1\]"
    ):
        metering.found(api)


def test_a_prometheus_is_found_once_for_all_rounds(fake: FakeApi, api: Api) -> None:
    service(fake, "main")
    asked = Metering(prometheus=FIND)
    plan = Plan(name="it", scenarios=(Scenario(name="plain", data_plane=DataPlane.PLAIN),))
    load, nothing = LoadPods(image="meshmark:1"), lambda _: pytest.fail("nothing is brought up")
    backend = KubernetesBackend({"": api}, plan, nothing, load, tell=print, timeout_s=1, metering=asked)
    assert backend.sources == {"": Metering(prometheus="http://10.96.0.20:80")}
    service(fake, "second")
    assert backend.sources == {"": Metering(prometheus="http://10.96.0.20:80")}


@pytest.mark.parametrize(
    "asked",
    [
        {"kubelet": True, "prometheus": FIND},
        {"authority": "ca.crt"},
        {"prometheus": "prometheus:9090"},
        {"prometheus": "http://user:secret@host:9090"},
        {"prometheus": "ftp://host"},
    ],
)
def test_what_cannot_be_meant_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as refused:
        Metering(**asked)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("option", "denied", "told"),
    [
        (["--kubelet"], ("get", "nodes/stats"), "get nodes/stats"),
        (["--kubelet"], ("get", "nodes/metrics"), "get nodes/metrics"),
        (["--prometheus", "find"], ("list", "services"), "list services in all namespaces"),
    ],
)
def test_rights_of_a_source_are_asked_for_only_with_it(
    fake: FakeApi, capsys: pytest.CaptureFixture[str], option: list[str], denied: tuple[str, str], told: str
) -> None:
    fake.denied = {denied, ("create", "pods/exec")}
    run = ["run", "--backend", "kubernetes", "--context", "fake", "--client-image", "x", "--only", "plain"]
    assert app.main([*run, *option]) == NoRights.exit_code
    assert told in capsys.readouterr().err
    assert app.main(run) == NoRights.exit_code
    assert told not in capsys.readouterr().err
    assert fake.writes == []
