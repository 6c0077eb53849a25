"""Brokers that Strimzi's own operator makes on a real node, from `up` to `down` and from `run` to its report."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from meshmark import store
from meshmark.analysis.path import unexplained
from meshmark.data_plane import DataPlane
from meshmark.errors import Inconclusive
from tests.kubernetes import images, strimzi, verbs
from tests.kubernetes.controlplane import ControlPlane
from tests.kubernetes.test_run import PLAN, assert_nothing_is_left
from tests.lab.runs import meshmark

PODS = ("--share-nodes", "--cpus", "1", "--memory", "768Mi", "--timeout", "300")
BROKERS = ["broker-1", "broker-2"]
TIMEOUT_S = 1_200
ASKED = "MESHMARK_TEST_STRIMZI"
RUN = ("--provider", "strimzi", "--client-image", images.MESHMARK)

pytestmark = pytest.mark.skipif(os.environ.get(ASKED) != "1", reason=f"not asked for: {ASKED}=1 runs these")


@pytest.fixture
def small(tmp_path: Path) -> str:
    file = tmp_path / "small.yaml"
    file.write_text(PLAN, encoding="utf-8")
    return str(file)


def test_strimzi_makes_brokers_that_are_seen_and_go_again(
    strimzis: ControlPlane, strimzis_user: Path, small: str
) -> None:
    of = ("--backend", "kubernetes", "-f", small, "--only", "plain")
    up = verbs.meshmark(strimzis, strimzis_user, "up", *of, "--provider", "strimzi", *PODS, timeout_s=TIMEOUT_S)
    assert up.returncode == 0, up.stderr
    status = verbs.meshmark(strimzis, strimzis_user, "status", *of)
    assert "replication: kafka-tls, by the operator's choice" in " ".join(status.stdout.split())
    assert [line.split()[:3] for line in status.stdout.splitlines() if line.startswith("  kafka-broker-")] == [
        ["kafka-broker-1", "Running", "yes"],
        ["kafka-broker-2", "Running", "yes"],
    ]
    inside = verbs.meshmark(strimzis, strimzis_user, "exec", *of, "kafka-broker-1", "--", "ls", "/opt/kafka/libs")
    assert f"kafka-clients-{strimzi.KAFKA_VERSION}.jar" in inside.stdout, inside.stderr
    down = verbs.meshmark(strimzis, strimzis_user, "down", *of)
    assert down.returncode == 0, down.stderr
    assert_nothing_is_left(strimzis)
    listed = strimzis.kubectl(
        "get", "kafkas,kafkanodepools,strimzipodsets", "--all-namespaces", "--output=json"
    ).stdout
    assert json.loads(listed)["items"] == []


@pytest.mark.strimzi
def test_a_run_on_strimzis_brokers_tells_who_encrypts_and_leaves_a_clean_cluster(
    strimzis: ControlPlane, strimzis_user: Path, small: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    planes = ("--only", "plain", "--only", "istio-mtls")
    arguments = ("run", small, "--out", str(out), "--backend", "kubernetes", *PODS, *RUN, *planes)
    done = verbs.meshmark(strimzis, strimzis_user, *arguments, timeout_s=TIMEOUT_S)
    assert done.returncode in (0, Inconclusive.exit_code), done.stderr
    record = store.load(out)
    assert record.finished is not None
    assert record.finished.outcome == "complete"
    versions = record.started.versions
    assert (versions.operator, versions.kafka) == (f"strimzi {strimzi.VERSION}", strimzi.KAFKA_VERSION)
    rounds = {part.started.data_plane: part for part in record.rounds}
    assert rounds.keys() == {DataPlane.PLAIN, DataPlane.ISTIO_MTLS}
    for part in rounds.values():
        [trial] = part.trials
        assert 0 < trial.total.acknowledged <= trial.total.consumed
        assert unexplained(trial.path) == ()
        assert [proof for proof in part.proofs if not proof.holds] == []
        assert (
            sorted(proof.host for proof in part.proofs if "of replication shows a certificate" in proof.name)
            == BROKERS
        )
        assert {"broker-1/kafka/cpu_user_s", "broker-1/kafka/log_bytes"} <= trial.counters_end.keys()
    sidecars = {f"{host}/sidecar/cpu_user_s" for host in (*BROKERS, "client-1")}
    [trial] = rounds[DataPlane.ISTIO_MTLS].trials
    assert sidecars <= trial.counters_end.keys()
    told = {plane: part.finished.encrypted_by for plane, part in rounds.items() if part.finished}
    between = {"broker-broker": "kafka", "controller": "kafka"}
    assert told == {DataPlane.PLAIN: between, DataPlane.ISTIO_MTLS: {"client-broker": "envoy", **between}}
    assert "not like for like" in " ".join(done.stdout.split())
    assert_nothing_is_left(strimzis)
    verified = meshmark("verify", str(out))
    assert verified.returncode == 0, verified.stdout


def test_replication_that_passes_the_mesh_is_encrypted_twice_and_told(
    strimzis: ControlPlane, strimzis_user: Path, small: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    more = ("--replication-in-mesh", "--only", "istio-mtls")
    arguments = ("run", small, "--out", str(out), "--backend", "kubernetes", *PODS, *RUN, *more)
    done = verbs.meshmark(strimzis, strimzis_user, *arguments, timeout_s=TIMEOUT_S)
    assert done.returncode in (0, Inconclusive.exit_code), done.stderr
    [part] = store.load(out).rounds
    assert part.finished is not None
    assert part.finished.encrypted_by["broker-broker"] == "kafka in envoy"
    [trial] = part.trials
    assert unexplained(trial.path) == ()
    assert trial.counters_end["broker-1/sidecar/outbound_rx_bytes"] > 0
    assert "broker-broker is encrypted twice (kafka in envoy)" in " ".join(done.stdout.split())
    assert_nothing_is_left(strimzis)
