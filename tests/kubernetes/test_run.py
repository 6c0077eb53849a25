"""The whole path of a measurement, from `run` to its report: brokers and load pods on a real node, sidecars of a real
istiod."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from meshmark import nodes, store
from meshmark.analysis.path import unexplained
from meshmark.data_plane import DataPlane
from meshmark.errors import Inconclusive
from meshmark.store import RoundData
from tests.kubernetes import images, verbs
from tests.kubernetes.controlplane import ControlPlane
from tests.kubernetes.scraping import Scraping
from tests.lab.runs import meshmark

SCENARIOS = (DataPlane.PLAIN, DataPlane.ISTIO_MTLS, DataPlane.ISTIO_MTLS_EXCLUDE_REPLICATION)
PLAN = """
name: small
repeats: 1
logBudgetBytes: 1000000000
environment: {diskSeconds: 0, networkSeconds: 0}
cluster:
  brokers: 2
  heapBytes: 268435456
  sidecarConcurrency: 1
  jvmOptions: [-XX:+UseSerialGC, -XX:TieredStopAtLevel=1]
workload: {topics: 1, replicationFactor: 2, workers: 2, subscriptionsPerTopic: 1}
method: {warmupSeconds: 1, warmupMaxSeconds: 2, windowSeconds: 1.5, trials: 1}
scenarios: [plain, istio-mtls, istio-mtls-exclude-replication]
"""
BROKERS = ["broker-1", "broker-2"]
PODS = ("--backend", "kubernetes", "--share-nodes", "--cpus", "1", "--memory", "768Mi", "--timeout", "240")
IMAGES = ("--image", images.KAFKA, "--client-image", images.MESHMARK)
OURS = "--selector=app.kubernetes.io/managed-by=meshmark"
TIMEOUT_S = 900


@pytest.mark.whole_path
def test_a_run_measures_each_scenario_and_leaves_a_clean_cluster(
    sidecars: ControlPlane, node_user: Path, prometheus: Scraping | None, tmp_path: Path
) -> None:
    plan, out = tmp_path / "small.yaml", tmp_path / "out"
    plan.write_text(PLAN, encoding="utf-8")
    by = ("--prometheus", prometheus.url) if prometheus else ()
    arguments = ("run", str(plan), "--out", str(out), *PODS, *IMAGES, *by)
    done = verbs.meshmark(sidecars, node_user, *arguments, timeout_s=TIMEOUT_S)
    # On a busy machine the load generator may be late, and then nothing counts.
    assert done.returncode in (0, Inconclusive.exit_code), done.stderr
    assert "WHAT EACH SETUP CARRIED" in done.stdout
    record = store.load(out)
    assert record.finished is not None
    assert record.finished.outcome == "complete"
    rounds = {part.started.data_plane: part for part in record.rounds}
    assert rounds.keys() == set(SCENARIOS)
    for plane, part in rounds.items():
        [trial] = part.trials
        assert 0 < trial.total.acknowledged <= trial.total.consumed
        assert unexplained(trial.path) == ()
        assert [proof for proof in part.proofs if not proof.holds] == []
        assert part.finished is not None
        assert part.finished.encrypted_hops == plane.encrypted_hops
        if prometheus:
            require_metered(part, plane)
    assert rounds[DataPlane.PLAIN].proofs == ()
    for plane in SCENARIOS[1:]:
        proofs = rounds[plane].proofs
        assert sorted(proof.host for proof in proofs if "STRICT: a plaintext client" in proof.name) == BROKERS
        assert sorted(proof.host for proof in proofs if "is TLS" in proof.name) == [*BROKERS, "client-1"]
    excluded = rounds[DataPlane.ISTIO_MTLS_EXCLUDE_REPLICATION]
    assert sorted(proof.host for proof in excluded.proofs if "at port 9091" in proof.name) == BROKERS
    past = [check for check in excluded.trials[0].path if not check.expected_bytes]
    assert [(check.host, check.counted_bytes) for check in past] == [
        (host, 0) for host in BROKERS for _ in ("rx", "tx")
    ]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert [plane.value in page for plane in SCENARIOS] == [True] * len(SCENARIOS)
    assert_nothing_is_left(sidecars)
    [digest] = [line.removeprefix("digest: ") for line in done.stdout.splitlines() if line.startswith("digest: ")]
    verified = meshmark("verify", str(out), "--digest", digest)
    assert verified.returncode == 0, verified.stdout
    assert "This is the record that the digest was printed for" in verified.stdout


def require_metered(part: RoundData, plane: DataPlane) -> None:
    """Prometheus had the node's CPU time and that of containers, and what the CPU limits of these did. Not of all: on
    a busy machine cAdvisor lacked one."""
    limited = {f"{broker}/{name}" for broker in BROKERS for name in ("kafka", *(["istio-proxy"] * plane.sidecars))}
    assert part.nodes is not None
    assert (part.nodes.source, part.nodes.problems) == ("prometheus", ())
    assert {each.part for each in part.nodes.cpu} >= {nodes.NODE, nodes.PODS}
    assert {each.part for each in part.nodes.cpu} & limited
    assert {each.part for each in part.nodes.quotas} & limited


def assert_nothing_is_left(cluster: ControlPlane) -> None:
    for kind in ("namespaces", "pods", "persistentvolumeclaims"):
        listed = cluster.kubectl("get", kind, "--all-namespaces", OURS, "--output=json").stdout
        assert json.loads(listed)["items"] == []
