"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

KAFKA = "kafka-4.4.0"

Kafka = Annotated[
    str, typer.Option("--kafka", metavar="LOCK", help="Another version: a lock file of its jars, or a built-in one.")
]
Offline = Annotated[bool, typer.Option("--offline", help="Download nothing; fail if something is missing.")]
LabOnly = Annotated[str, typer.Option("--backend", help="Where clusters are kept; only lab so far.")]
Keeper = Annotated[str, typer.Option("--backend", help="Where clusters are kept: lab, or kubernetes.")]

PlanFile = Annotated[
    str | None,
    typer.Option("-f", "--file", metavar="PLAN", help="Take the scenario from it; default: banzai-2019."),
]
Only = Annotated[
    str | None, typer.Option("--only", metavar="SCENARIO", help="The scenario; needed if the plan has several.")
]
Namespace = Annotated[
    str | None, typer.Option("-n", "--namespace", metavar="NAME", help="Kubernetes; default: meshmark-SCENARIO.")
]
Context = Annotated[
    list[str] | None,
    typer.Option(
        "--context",
        metavar="CTX",
        help="Kubernetes: of the kubeconfig; asked for if there is none. Repeat it for a topology's clusters.",
    ),
]
OneContext = Annotated[
    list[str] | None,
    typer.Option(
        "--context",
        metavar="CTX",
        help="Kubernetes: of the kubeconfig; asked for if there is none. It takes one: topologies are refused there.",
    ),
]
Timeout = Annotated[
    int | None,
    typer.Option("--timeout", metavar="SECONDS", min=1, help="Kubernetes: how long to wait; default: 600."),
]

Cpus = Annotated[
    int | None,
    typer.Option("--cpus", metavar="N", min=1, help="Of each broker, the sidecar's apart; default: 4."),
]
Memory = Annotated[str | None, typer.Option("--memory", metavar="SIZE", help="Of each broker; default: 12Gi.")]
Heap = Annotated[
    str | None,
    typer.Option("--heap", metavar="SIZE", help="Of each broker; default: the plan's if it says one, else 10Gi."),
]
VolumeSize = Annotated[
    str | None,
    typer.Option("--volume-size", metavar="SIZE", help="Of each broker; default: room for the plan's logs."),
]
StorageClass = Annotated[
    str | None,
    typer.Option("--storage-class", metavar="NAME", help="Of the volumes; default: the cluster's default."),
]
ShareNodes = Annotated[
    bool | None,
    typer.Option("--share-nodes", help="For a small cluster: brokers may share a node, and reserve next to no CPU."),
]
Image = Annotated[
    str | None, typer.Option("--image", metavar="IMAGE", help="Default: Apache's own, of the lock's version.")
]

Provider = Annotated[
    str | None,
    typer.Option(
        "--provider",
        metavar="NAME",
        help="Kubernetes: who makes brokers: statefulset (default), strimzi or koperator.",
    ),
]
ReplicationInMesh = Annotated[
    bool | None,
    typer.Option("--replication-in-mesh", help="Strimzi: replication, which has TLS, passes the sidecars too."),
]

Monitors = Annotated[
    bool | None,
    typer.Option("--monitors", help="Kubernetes: with monitors, alert rules and a dashboard (Prometheus Operator)."),
]
MonitorLabel = Annotated[
    list[str] | None,
    typer.Option(
        "--monitor-label", metavar="KEY=VALUE", help="By which your Prometheus chooses monitors; repeatable."
    ),
]

Quick = Annotated[bool, typer.Option("--quick", help="Within 5 minutes; overrides the plan's durations and repeats.")]
Full = Annotated[bool, typer.Option("--full", help="10 long repeats; overrides the plan's durations and repeats.")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, max=2**32 - 1, help="Seed of the order of rounds.")]
Resume = Annotated[
    Path | None,
    typer.Option("--resume", metavar="DIR", help="Go on with a run that was cut, after its last whole round."),
]

Profile = Annotated[
    str | None,
    typer.Option("--profile", metavar="NAME", help="Hardware to limit hosts to; needs root."),
]
Scale = Annotated[
    str | None,
    typer.Option("--scale", metavar="auto|X", help="Factor for a profile; auto: what fits here."),
]
Disk = Annotated[
    str | None,
    typer.Option("--disk", metavar="capped|ram|both", help="With a profile: logs on its disks, in RAM, or both ways."),
]

Versus = Annotated[
    str | None,
    typer.Option(
        "--versus",
        metavar="PLAN",
        help="Measure another plan beside it in turns, until each difference is known or the time is over.",
    ),
]
Explain = Annotated[
    bool,
    typer.Option(
        "--explain",
        help="Tell what limits by taking resources away, at the end; takes longer by what is printed; needs root.",
    ),
]
Perf = Annotated[
    bool,
    typer.Option(
        "--perf", help="Tell ciphers, copies and the kernel's network apart in the CPU figures, with perf; needs root."
    ),
]
Live = Annotated[
    bool, typer.Option("--live", help="Show the run on the whole terminal; in lines where there is none.")
]
MetricsPort = Annotated[
    int | None,
    typer.Option(
        "--metrics-port", metavar="N", min=0, max=65_535, help="Serve Prometheus metrics there; 0: a free port."
    ),
]
MetricsAddress = Annotated[
    str | None,
    typer.Option(
        "--metrics-address",
        metavar="IP",
        help="Of the metrics; others can read them on 0.0.0.0.  [default: 127.0.0.1]",
    ),
]
ClientImage = Annotated[
    str | None,
    typer.Option("--client-image", metavar="IMAGE", help="Kubernetes: of the load pods; meshmark's own, see docs."),
]
ClientNodes = Annotated[
    str | None,
    typer.Option("--client-nodes", metavar="LABEL=VALUE", help="Kubernetes: of the nodes that load pods run on."),
]
Kubelet = Annotated[
    bool | None,
    typer.Option("--kubelet", help="Kubernetes: ask the nodes' kubelets what nodes spend outside pods, too."),
]
KubeletCa = Annotated[
    str | None,
    typer.Option(
        "--kubelet-ca",
        metavar="FILE|unverified",
        help="Kubernetes: who signs the kubelets' certificates.  [default: the cluster's authority]",
    ),
]
Prometheus = Annotated[
    str | None,
    typer.Option(
        "--prometheus",
        metavar="URL|find",
        help="Kubernetes: the same from a Prometheus; find: by its service's label.",
    ),
]
RunOnly = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="SCENARIO", help="Run only this scenario (* stands for anything); repeatable."),
]
RunBackend = Annotated[
    str, typer.Option("--backend", help="lab, kubernetes, or simulated (made-up numbers, in a second).")
]
