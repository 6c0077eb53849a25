"""The table of data planes: rows that contradict themselves, and backends that lack one."""

from __future__ import annotations

import pytest

from meshmark.data_plane import BETWEEN_HOSTS, BROKER_BROKER, CLIENT_BROKER, HOPS, DataPlane, require
from meshmark.errors import UsageError
from tests.planes import EVERYWHERE


@pytest.mark.parametrize("plane", DataPlane)
def test_every_hop_is_either_encrypted_by_somebody_or_plain(plane: DataPlane) -> None:
    encrypted, plain = set(plane.encrypted_hops), set(plane.plain_hops)
    assert not encrypted & plain
    assert encrypted | plain >= set(HOPS)
    assert encrypted == {hop for hop in HOPS if plane.encrypts(hop)} == plane.encrypted_by.keys()
    assert len({plane.sidecars, "application-sidecar" not in plain}) == 2


@pytest.mark.parametrize("plane", DataPlane)
def test_a_mesh_encrypts_only_what_passes_its_proxies(plane: DataPlane) -> None:
    assert plane.mtls + plane.kafka_tls <= 1
    assert (plane.mesh == "none") is (plane.row.proxies == ())
    if plane.mesh != "none":
        assert all(plane.carries(hop) for hop in plane.encrypted_hops)
    assert (plane.path == "direct") is not plane.carries(CLIENT_BROKER)


def test_selective_ones_leave_out_what_their_names_say() -> None:
    clients, excluded = DataPlane.ISTIO_CLIENTS, DataPlane.ISTIO_MTLS_EXCLUDE_REPLICATION
    assert (clients.has_sidecar("client"), clients.has_sidecar("broker")) == (True, False)
    assert clients.encrypted_hops == ()
    assert excluded.has_sidecar("broker")
    assert excluded.encrypted_by == {CLIENT_BROKER: "envoy"}
    assert not excluded.carries(BROKER_BROKER)
    assert [plane for plane in DataPlane if plane.own_replication] == [excluded]
    assert [plane for plane in DataPlane if plane.gateways] == [DataPlane.ISTIO_MTLS]
    assert [plane for plane in EVERYWHERE if plane.encrypted_hops == BETWEEN_HOSTS] == [
        DataPlane.KAFKA_TLS,
        DataPlane.ISTIO_MTLS,
    ]


@pytest.mark.parametrize("backend", ["lab", "simulated"])
@pytest.mark.parametrize("plane", [plane for plane in DataPlane if plane not in EVERYWHERE])
def test_a_backend_without_a_data_plane_says_who_has_it(plane: DataPlane, backend: str) -> None:
    with pytest.raises(
        UsageError, match=rf"the backend {backend} has no data plane {plane} \(there: kubernetes\)"
    ) as told:
        require([DataPlane.PLAIN, plane, plane], backend)
    assert "leave these scenarios out" in told.value.hint
    require([*EVERYWHERE], backend)
    require(DataPlane, "kubernetes")
