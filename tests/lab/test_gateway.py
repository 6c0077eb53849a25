"""Clusters of a mesh behind east-west gateways, by what the gateways themselves counted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshmark.backends.lab import wan
from meshmark.backends.lab.backend import LabBackend, lab
from meshmark.backends.lab.cluster import LabCluster
from meshmark.data_plane import DataPlane
from meshmark.errors import MissingRequirement
from meshmark.plan import ClusterSpec, Plan, Scenario, Workload
from meshmark.topology import Link, MeshCluster, Topology

pytestmark = pytest.mark.lab

ROUND_TRIP = Path(__file__).with_name("round_trip.py")
RECORDS = 3_000
SIZE = 500
"""So many bytes each: what is sent besides records is little then."""


def behind(*gateways: str) -> Scenario:
    """These of the two clusters are behind a gateway."""
    topology = Topology(
        clusters=(
            MeshCluster(name="near", brokers=2, clients=1, gateway="near" in gateways),
            MeshCluster(name="far", brokers=1, gateway="far" in gateways),
        ),
        links=(Link(ends=("near", "far"), rtt_ms=2),),
    )
    return Scenario(
        name="-".join(gateways),
        data_plane=DataPlane.ISTIO_MTLS,
        cluster=ClusterSpec(heap_bytes=268_435_456, topology=topology),
        workload=Workload(topics=1, partitions_per_topic=3, topic_config={"min.insync.replicas": 3}),
    )


@pytest.fixture(scope="module")
def backend() -> Iterator[LabBackend]:
    try:
        wan.require_links()
    except MissingRequirement as error:
        pytest.skip(f"root: {error.message}")
    with lab("test") as made:
        made.prepare(Plan(name="test", log_budget_bytes=1_000_000_000, scenarios=(behind("far"),)))
        yield made


def counters(cluster: LabCluster) -> dict[str, float]:
    return {key: value for probe in cluster.probes() for key, value in probe.read().items()}


@pytest.mark.parametrize("gateways", [("far",), ("near", "far")])
def test_what_goes_to_a_cluster_behind_a_gateway_passes_it_encrypted_and_what_it_fetches_itself_does_not(
    backend: LabBackend, gateways: tuple[str, ...]
) -> None:
    with backend.cluster(behind(*gateways)) as cluster:
        proofs = cluster.prove()
        assert [proof.detail for proof in proofs if not proof.holds] == []
        # The client is in `near`, so it meets the gateway of `far` alone, with one broker behind it.
        assert {proof.host for proof in proofs if proof.name.startswith("gateway")} == {"broker-3"}
        layout = cluster.create_topics(cluster.scenario.workload, "round-trip")
        start = counters(cluster)
        assert start["gateway-far/gateway/refused_connections"] >= 2, "plaintext and an unknown name"
        config = {"bootstrap.servers": cluster.bootstrap_servers, **cluster.client_config}
        topics = json.dumps(sorted(layout.topics))
        argv = ["python", str(ROUND_TRIP), json.dumps(config), topics, str(RECORDS), str(SIZE)]
        with cluster.spawn("client-1", argv, name="round-trip") as process:
            told = json.loads(process.read_line(90) or "{}")
        assert told["complete"], told
        grown = {key: value - start.get(key, 0.0) for key, value in counters(cluster).items()}

        led = grown["broker-3/kafka/leader_log_bytes"]
        assert led > 0
        # In come the producer's records; back go two copies, and what the consumer reads.
        assert grown["gateway-far/gateway/forwarded_rx_bytes"] > led
        assert grown["gateway-far/gateway/forwarded_tx_bytes"] > 3 * led
        assert sum(grown[f"gateway-far/gateway/cpu_{kind}_s"] for kind in ("user", "system")) > 0
        # What the broker behind it fetches itself goes out past it, and so do the answers.
        followed = grown["broker-3/kafka/log_bytes"] - led
        assert followed > led / 2, "too little is copied there to see which way it goes"
        assert grown["gateway-far/gateway/forwarded_rx_bytes"] < led + followed
        if "near" in gateways:
            assert grown["gateway-near/gateway/forwarded_tx_bytes"] > followed
        else:
            assert not any(key.startswith("gateway-near") for key in grown)
        configurations = cluster.configurations()
        assert all("tls_certificates" not in configurations[f"gateway-{name}.envoy.json"] for name in gateways)
