"""The script that makes one mesh of clusters: run with stand-ins for kubectl and istioctl, and with real openssl."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from ruamel.yaml import YAML

from meshmark.cli import app
from meshmark.errors import UsageError
from tests.lab.ground import ROOT

Capture = pytest.CaptureFixture[str]
STAND_IN = """#!/bin/sh
echo "$(basename "$0") $*" >> "$LOG"
case "$*" in *" -f -"*) cat >> "$LOG.input"; echo "---" >> "$LOG.input";; esac
"""
CONTEXTS = ("--context", "one=a b", "--context", "two=second")


def printed(example: str, capsys: Capture) -> str:
    assert app.main(["infra", "istio", "-f", str(ROOT / "examples" / example), *CONTEXTS]) == 0
    told = capsys.readouterr()
    assert "nothing was made" in told.err
    return told.out


def installed(text: str) -> list[Any]:
    """Objects of the script, in their order."""
    parts = [part.partition("EOF\n")[0] for part in text.split("<<'EOF'\n")[1:]]
    return [YAML(typ="safe", pure=True).load(part) for part in parts]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the script itself needs openssl")
def test_each_cluster_gets_an_authority_of_the_same_root(tmp_path: Path, capsys: Capture) -> None:
    script = tmp_path / "mesh.sh"
    script.write_text(printed("stretched-24ms.yaml", capsys), encoding="utf-8")
    for name in ("kubectl", "istioctl"):
        (tmp_path / name).write_text(STAND_IN, encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    log = tmp_path / "log"
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "LOG": str(log)}
    for _ in range(2):  # the second time, authorities that are there stay
        done = subprocess.run(
            ["sh", str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    made = tmp_path / "mesh-authorities"
    root = x509.load_pem_x509_certificate((made / "root-cert.pem").read_bytes())
    for name in ("one", "two"):
        own, above = x509.load_pem_x509_certificates((made / name / "cert-chain.pem").read_bytes())
        assert above == root
        own.verify_directly_issued_by(root)
        constraints = own.extensions.get_extension_for_class(x509.BasicConstraints).value
        assert (constraints.ca, constraints.path_length) == (True, 0)
        assert (made / name / "ca-key.pem").stat().st_mode & 0o077 == 0
    calls = log.read_text(encoding="utf-8").splitlines()
    remote = [call for call in calls if "create-remote-secret" in call]
    assert (
        remote
        == [
            "istioctl create-remote-secret --context a b --name one",
            "istioctl create-remote-secret --context second --name two",
        ]
        * 2
    )
    secrets = [call for call in calls if "create secret generic cacerts" in call]
    assert [call.split()[2] for call in secrets[:2]] == ["a", "second"]


def test_control_planes_are_of_one_mesh_and_one_flat_network(capsys: Capture) -> None:
    found = installed(printed("stretched-24ms.yaml", capsys))
    assert [each["spec"]["values"]["global"] for each in found] == [
        {"meshID": "meshmark", "multiCluster": {"clusterName": name}, "network": "meshmark"} for name in ("one", "two")
    ]


def test_a_cluster_behind_a_gateway_gets_one_and_a_network_of_its_own(capsys: Capture) -> None:
    text = printed("mixed-gateway.yaml", capsys)
    found = installed(text)
    networks = [each["spec"]["values"]["global"]["network"] for each in found if each["kind"] == "IstioOperator"]
    behind = [network for network in networks if network != "meshmark"]
    assert (len(networks), len(behind)) == (3, 2)
    assert len(set(behind)) == 1
    [deployed] = [each for each in found if "components" in each["spec"]]
    [gateway] = deployed["spec"]["components"]["ingressGateways"]
    assert gateway["label"]["topology.istio.io/network"] == behind[0]
    [exposed] = [each for each in found if each["kind"] == "Gateway"]
    assert exposed["spec"]["servers"][0]["tls"] == {"mode": "AUTO_PASSTHROUGH"}
    assert exposed["spec"]["selector"].items() <= gateway["label"].items()
    assert "have to be reached at their own addresses" in text


def test_a_scenario_of_one_cluster_has_no_such_steps(capsys: Capture) -> None:
    assert app.main(["infra", "istio", "--only", "istio-mtls", "--context", "x"]) == UsageError.exit_code
    assert "has no topology" in capsys.readouterr().err
