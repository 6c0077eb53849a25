"""Who a host is: certificates of one lab's life, as a mesh or a Kafka administrator would issue them.

A mesh identity is a SPIFFE URI (`spiffe://cluster.local/ns/kafka/sa/broker`) in an RSA-2048 certificate of 24 hours,
as istiod issues; Kafka's own TLS gets certificates with the host's name and address. An Issuer holds keys in memory
alone; an Authority writes them as files with mode 0600, which never leave the instance's directory.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meshmark.topology import TRUST_DOMAIN

NAMESPACE = "kafka"
LIFE = datetime.timedelta(hours=24)
SLACK = datetime.timedelta(minutes=2)  # as istiod: a certificate is valid a moment before it is issued


def spiffe_id(account: str) -> str:
    """The identity of a Kubernetes service account under Istio."""
    return f"spiffe://{TRUST_DOMAIN}/ns/{NAMESPACE}/sa/{account}"


def named(common_name: str) -> x509.Name:
    """A subject that is a common name and nothing else."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """PEM files of one leaf: key, its chain, and the CA to trust. `keystore` holds key and chain together."""

    key: Path
    chain: Path
    keystore: Path
    authority: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaf:
    """PEM: the private key (PKCS#8), and the certificate followed by its issuer's."""

    key: bytes
    chain: bytes


def fingerprint(chain: bytes) -> str:
    """SHA-256 of the first certificate of a chain in PEM, in hexadecimal digits."""
    return x509.load_pem_x509_certificates(chain)[0].fingerprint(hashes.SHA256()).hex()


class Issuer:
    """A certificate authority in memory: its key is gone with it. Making one takes an RSA key: some 50 ms."""

    def __init__(self, name: str, life: datetime.timedelta = LIFE) -> None:
        """`life` is that of its own certificate and of those that it issues."""
        self._key = _new_key()
        self._life = life
        self._name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, name)])
        certificate = (
            _builder(self._name, self._name, self._key, life)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(ca=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate = _pem(certificate)

    def issue(self, names: Sequence[x509.GeneralName], subject: x509.Name) -> Leaf:
        """For server and client alike."""
        key = _new_key()
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        issuer_key = self._key.public_key()
        certificate = (
            _builder(subject, self._name, key, self._life)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            # RFC 5280: critical when the subject is empty, as it is in a SPIFFE certificate.
            .add_extension(x509.SubjectAlternativeName(names), critical=not list(subject))
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Leaf(key=secret, chain=_pem(certificate) + self.certificate)


class Authority:
    """An Issuer that lives in a directory."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        directory.mkdir(parents=True, mode=0o700, exist_ok=True)
        self._issuer = Issuer(name)
        self.path = directory / "ca.pem"
        self.path.write_bytes(self._issuer.certificate)

    def mesh_identity(self, host: str, account: str) -> Identity:
        """For a sidecar: the account's SPIFFE URI alone, as istiod issues."""
        return self.issue(host, "mesh", [x509.UniformResourceIdentifier(spiffe_id(account))], x509.Name([]))

    def server_identity(self, host: str, address: str) -> Identity:
        """For a Kafka listener: name and address of the host, which its clients verify."""
        names = [x509.DNSName(host), x509.IPAddress(ipaddress.ip_address(address))]
        return self.issue(host, "server", names, named(host))

    def issue(self, host: str, use: str, names: Sequence[x509.GeneralName], subject: x509.Name) -> Identity:
        """`host` and `use` name its files."""
        leaf = self._issuer.issue(names, subject)
        base = self._directory / f"{host}-{use}"
        identity = Identity(
            key=base.with_suffix(".key"),
            chain=base.with_suffix(".pem"),
            keystore=base.with_suffix(".keystore.pem"),
            authority=self.path,
        )
        _write_secret(identity.key, leaf.key)
        _write_secret(identity.keystore, leaf.key + leaf.chain)
        identity.chain.write_bytes(leaf.chain)
        return identity


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: rsa.RSAPrivateKey, life: datetime.timedelta
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SLACK)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        key_encipherment=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _write_secret(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
