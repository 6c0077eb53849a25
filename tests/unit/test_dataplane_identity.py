"""Certificates: whom they name, whom they are for, and who may read their keys."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa

from meshmark.dataplane.identity import Authority, Identity


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("identity") / "ca", "cluster.local")


@pytest.fixture(scope="module")
def member(authority: Authority) -> Identity:
    return authority.mesh_identity("broker-1", "broker")


def leaf(identity: Identity) -> x509.Certificate:
    return x509.load_pem_x509_certificates(identity.chain.read_bytes())[0]


def names(certificate: x509.Certificate) -> x509.Extension[x509.SubjectAlternativeName]:
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)


def test_a_mesh_identity_is_its_spiffe_uri_alone(member: Identity) -> None:
    found = names(leaf(member))
    assert list(found.value) == [x509.UniformResourceIdentifier("spiffe://cluster.local/ns/kafka/sa/broker")]
    assert found.critical
    assert not list(leaf(member).subject)


def test_it_is_an_rsa_2048_certificate_of_a_day_signed_by_the_authority(
    authority: Authority, member: Identity
) -> None:
    certificate = leaf(member)
    key = certificate.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.key_size == 2048
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert datetime.timedelta(hours=24) <= life < datetime.timedelta(hours=25)
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.path.read_bytes()))


def test_a_server_certificate_names_host_and_address(authority: Authority) -> None:
    found = names(leaf(authority.server_identity("broker-2", "10.77.0.12"))).value
    assert found.get_values_for_type(x509.DNSName) == ["broker-2"]
    assert found.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("10.77.0.12")]


def test_another_authority_of_the_same_name_did_not_sign_it(member: Identity, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "stranger", "cluster.local")
    certificate = x509.load_pem_x509_certificate(stranger.path.read_bytes())
    with pytest.raises(InvalidSignature):
        leaf(member).verify_directly_issued_by(certificate)


def test_private_keys_are_readable_by_their_owner_alone(member: Identity) -> None:
    secrets = [path for path in member.key.parent.iterdir() if b"PRIVATE KEY" in path.read_bytes()]
    assert {path.name for path in secrets} >= {member.key.name, member.keystore.name}
    assert {path.stat().st_mode & 0o777 for path in secrets} == {0o600}
    assert member.key.parent.stat().st_mode & 0o777 == 0o700
