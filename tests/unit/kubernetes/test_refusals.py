"""What a cluster cannot be told is refused before anything is written, all of it at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from meshmark import planfile
from meshmark.backends.kubernetes import manifests, refuse_inexpressible, target, targets
from meshmark.backends.kubernetes.asked import GIB, HEAP_BYTES_MIN, MIB
from meshmark.cli import app
from meshmark.data_plane import DataPlane
from meshmark.errors import UsageError
from meshmark.plan import ClusterSpec, Plan, Scenario
from meshmark.topology import Backward, Flap, Link, MeshCluster, Topology
from tests.planes import SELECTIVE

FAR = Topology(
    clusters=(MeshCluster(name="near", brokers=2, clients=1), MeshCluster(name="far", brokers=1)),
    links=(Link(ends=("near", "far"), rtt_ms=7),),
)
LOSSY = FAR.model_copy(
    update={
        "links": (
            Link(
                ends=("near", "far"),
                rtt_ms=7,
                jitter_ms=1,
                back=Backward(loss=0.1, bandwidth_bytes_s=1e6),
                flap=Flap(down_seconds=1),
            ),
        )
    }
)
EMPTY = Topology(
    clusters=(MeshCluster(name="near", brokers=3), MeshCluster(name="far", clients=1)),
    links=(Link(ends=("near", "far"), rtt_ms=7),),
)
DASHED = Topology(
    clusters=(MeshCluster(name="near", brokers=2, clients=1), MeshCluster(name="far-", brokers=1)),
    links=(Link(ends=("near", "far-"), rtt_ms=7),),
)


def plan(name: str = "it", profile: str = "", **cluster: Any) -> Plan:
    scenario = Scenario(name=name, data_plane=DataPlane.PLAIN, cluster=ClusterSpec(**cluster))
    return Plan(name="small", profile=profile, scenarios=(scenario,))


@pytest.mark.parametrize(
    ("of", "said"),
    [
        (plan(topology=FAR), "with the data plane plain nobody resolves the brokers' names in other clusters"),
        (plan(topology=LOSSY), "the link near-far says jitterMs, loss, bandwidthBytesS, flap, and what lies between"),
        (plan(topology=EMPTY), "the cluster far of its topology has no brokers"),
        (plan(topology=DASHED), "the name far- ends with a dash"),
        (plan(profile="eks-r5.4xlarge-io1"), "the profile eks-r5.4xlarge-io1 limits hosts"),
        (plan(profile="unlimited", disk_write_bytes_s=1e7), "diskWriteBytesS limits a disk"),
        (plan(storage="ram"), "storage is ram"),
        (plan(storage="image"), "storage is image"),
        (plan(broker_config={"node.id": 7, "ssl.protocol": "x"}), "brokerConfig sets node.id, ssl.protocol"),
        (plan(jvm_options=("-XX:OnError=a b",)), "jvmOptions with blanks"),
        (plan(jvm_options=("-Dx=$HOME",)), "jvmOptions with blanks or dollar signs"),
        (plan(name="it-"), "the name it- ends with a dash"),
    ],
)
def test_what_cannot_be_expressed_is_refused(of: Plan, said: str) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        refuse_inexpressible(of, of.scenarios[0])
    assert refused.value.exit_code == 2
    fine = plan()
    with pytest.raises(UsageError, match=said):
        manifests(of, of.scenarios[0], target(fine, fine.scenarios[0], kafka_version="4.4.0"))


def test_everything_is_told_at_once() -> None:
    of = plan(topology=FAR, storage="ram")
    with pytest.raises(UsageError, match=r"data plane plain.*storage"):
        refuse_inexpressible(of, of.scenarios[0])


def test_a_profile_without_limits_is_none() -> None:
    of = plan(profile="unlimited")
    refuse_inexpressible(of, of.scenarios[0])


@pytest.mark.parametrize("data_plane", SELECTIVE)
@pytest.mark.parametrize(
    ("cluster", "said"),
    [
        ({"operator": "strimzi"}, "{} is for meshmark's own brokers"),
        ({"operator": "koperator"}, "{} is for meshmark's own brokers"),
        ({"topology": FAR}, "with the data plane {} nobody resolves the brokers' names in other clusters"),
    ],
    ids=["strimzi", "koperator", "several clusters"],
)
def test_what_meshes_a_part_of_kafka_is_for_brokers_of_one_cluster_and_meshmarks_own(
    data_plane: DataPlane, cluster: dict[str, Any], said: str
) -> None:
    of = plan(**cluster)
    meshed = of.scenarios[0].model_copy(update={"data_plane": data_plane})

    def asked() -> None:
        refuse_inexpressible(of, meshed)
        manifests(of, meshed, target(of, meshed, kafka_version="4.4.0"))

    with pytest.raises(UsageError, match=said.format(data_plane)):
        asked()


def test_open_replication_is_told_by_who_applies_or_writes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text("name: it\nscenarios:\n" + "".join(f"- dataPlane: {plane}\n" for plane in SELECTIVE))
    for verb in (["export", "-d", str(tmp_path / "out")], ["up", "--backend", "kubernetes", "--dry-run", "client"]):
        for plane in SELECTIVE:
            assert app.main([verb[0], "-f", str(file), *verb[1:], "--only", plane]) == 0
            assert ("port 9091" in capsys.readouterr().err) is plane.own_replication


def test_each_limit_is_blamed_alone() -> None:
    profile = "eks-r5.4xlarge-io1"
    for of, blamed in (
        (plan(profile=profile), {"profile"}),
        (plan(profile="unlimited", disk_write_bytes_s=1e7), {"disk"}),
        (plan(profile=profile, disk_write_bytes_s=1e7), {"profile", "disk"}),
    ):
        with pytest.raises(UsageError) as refused:
            refuse_inexpressible(of, of.scenarios[0])
        said = {"profile": f"the profile {profile} limits hosts", "disk": "diskWriteBytesS limits"}
        assert {name for name, text in said.items() if text in refused.value.message} == blamed
        assert ("the profile" in refused.value.message) is ("profile" in blamed)


def test_another_scenarios_disk_is_no_matter() -> None:
    [capped] = plan(name="capped", profile="unlimited", disk_write_bytes_s=1e7).scenarios
    of = plan(profile="unlimited")
    of = of.model_copy(update={"scenarios": (*of.scenarios, capped)})
    refuse_inexpressible(of, of.scenarios[0])
    with pytest.raises(UsageError, match="diskWriteBytesS"):
        refuse_inexpressible(of, of.scenarios[1])


@pytest.mark.parametrize("name", planfile.builtin_names())
def test_built_in_plans_of_one_place_on_disks_can_be_exported(name: str) -> None:
    of = planfile.builtin(name)
    for scenario in of.scenarios:
        spec = scenario.cluster
        asked = target(of, scenario, kafka_version="4.4.0")
        told = [way for link in spec.topology.links for way in link.ways() if way.loss or way.bandwidth_bytes_s]
        far = spec.topology and (not scenario.data_plane.sidecars or told)
        if far or spec.storage != "disk" or spec.disk_write_bytes_s:
            with pytest.raises(UsageError, match="cannot be put into Kubernetes"):
                manifests(of, scenario, asked)
        else:
            assert all(manifests(of, scenario, each) for each in targets(scenario, asked))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"namespace": "Mine"}, "'Mine' is no name of a namespace"),
        ({"namespace": "x" * 64}, "is no name of a namespace"),
        ({"namespace": "default"}, "the namespace default is not ours alone"),
        ({"namespace": "kube-system"}, "not ours alone"),
        ({"namespace": "istio-system"}, "not ours alone"),
        ({"image": "a b"}, "'a b' is no name of an image"),
        ({"storage_class": "Fast!"}, "no name of a storage class"),
        ({"kafka_version": "4.4 beta"}, "no version that a label can hold"),
        ({"cpus": 0}, "1 CPU at least"),
        ({"memory_bytes": 10 * GIB}, r"memory of a broker \(10Gi\) must be above its heap \(10Gi\)"),
        ({"heap_bytes": 255 * MIB}, "a heap of 255Mi is too small for a broker: 256Mi at least"),
        ({"volume_bytes": 11 * GIB}, "a volume of 11Gi is too small: 3 brokers share .* each must have 12Gi"),
    ],
)
def test_a_target_that_cannot_be_meant_is_refused(options: dict[str, Any], said: str) -> None:
    of = plan()
    with pytest.raises(UsageError, match=said):
        target(of, of.scenarios[0], **{"kafka_version": "4.4.0", **options})


def test_the_smallest_broker_is_the_one_of_a_plan() -> None:
    of = plan(heap_bytes=HEAP_BYTES_MIN)
    assert target(of, of.scenarios[0], kafka_version="4.4.0", volume_bytes=12 * GIB).heap_bytes == HEAP_BYTES_MIN
    with pytest.raises(ValidationError):
        plan(heap_bytes=HEAP_BYTES_MIN - 1)


def test_an_image_may_be_named_by_digest() -> None:
    of = plan()
    image = "docker.io/apache/kafka@sha256:" + "0" * 64
    assert target(of, of.scenarios[0], kafka_version="4.4.0", image=image).image == image
