"""TLS of Kafka's own at ports of an operator's brokers, and TLS of a mesh around it. No Kafka and no sidecar."""

from __future__ import annotations

from typing import Any

from meshmark.backends.kubernetes import evidence
from meshmark.backends.kubernetes.evidence import Place
from meshmark.data_plane import DataPlane
from tests.unit.kubernetes.test_measured import BROKER, Sender, at_once

__all__ = ["at_once"]


class Replicating(Sender):
    """Its sidecar encrypts what it sends, or not; Kafka's own certificate is shown through it."""

    def __init__(self, host: str, *, encrypts: bool = True) -> None:
        super().__init__(host, answers=False)
        self._encrypts = encrypts

    def ask(self, question: str, **more: Any) -> Any:
        if question == "shown":
            self.asked.append(more)
            return "a" * 64
        told = super().ask(question, **more)
        return told if self._encrypts or question != "page" else told.replace("ssl.handshake", "ssl.other")


def test_tls_in_tls_is_shown_at_the_port_of_replication_by_what_sidecars_count_there() -> None:
    brokers = [Place(host=f"broker-{n}", address=f"10.0.0.{n}", name="", port=9091) for n in (1, 2)]
    agents = [Replicating("broker-1"), Replicating("broker-2", encrypts=False)]
    found = evidence.carried(DataPlane.ISTIO_MTLS, brokers, "broker-broker", agents)  # type: ignore[arg-type]
    assert [(proof.host, proof.hop, proof.holds) for proof in found if "its sidecar made" in proof.name] == [
        ("broker-1", "broker-broker", True),
        ("broker-2", "broker-broker", False),
    ]
    assert [[more["address"] for more in agent.asked] for agent in agents] == [["10.0.0.2"], ["10.0.0.1"]]
    plain = evidence.carried(DataPlane.ISTIO, brokers, "broker-broker", agents)  # type: ignore[arg-type]
    assert [proof.holds for proof in plain if "its sidecar made" in proof.name] == [False, True]


def test_kafkas_own_tls_is_of_the_hop_whose_port_was_asked() -> None:
    agent = Replicating("broker-1")
    for hop, port in (("broker-broker", 9091), ("controller", 9090)):
        found = evidence.own_tls(BROKER._replace(port=port), hop, agent)  # type: ignore[arg-type]
        assert [(proof.hop, proof.holds) for proof in found] == [(hop, True)] * 2
    assert {more["port"] for more in agent.asked} == {9091, 9090}
