"""The Secret that the brokers of `kafka-tls` take key and certificates from: made at `up`, in memory.

The authority's key is gone when it has issued the brokers' certificate, or, where meshmark itself measures, with that
cluster; the brokers' is in the Secret and nowhere else: not in a file, a record, a message or a diff. Certificates
hold for a month, and nothing but `operate rotate` renews them.
"""

from __future__ import annotations

import base64
import datetime
from collections.abc import Mapping

from cryptography import x509

from meshmark.backends.kubernetes import manifest
from meshmark.backends.kubernetes.api import Api
from meshmark.backends.kubernetes.kinds import SECRET
from meshmark.backends.kubernetes.manifest import Body
from meshmark.backends.kubernetes.ownership import is_ours
from meshmark.dataplane.identity import Issuer, fingerprint, named
from meshmark.errors import NotOurs, ObjectRefused

LIFE = datetime.timedelta(days=30)
END = b"-----END PRIVATE KEY-----\n"


def wanting(api: Api, namespace: str) -> bool:
    """Is there no Secret yet? Raises NotOurs where there is somebody else's, so that none of it is replaced, and
    ObjectRefused where ours has expired."""
    found = api.get(SECRET, manifest.TLS_SECRET, namespace)
    if found is None:
        return True
    if not is_ours(found):
        raise NotOurs(
            f"the Secret {manifest.TLS_SECRET} in the namespace {namespace} is not ours",
            hint="Nothing was changed. Remove it, or give another namespace with -n.",
        )
    ends = _ends(found)
    if ends <= datetime.datetime.now(datetime.UTC):
        raise ObjectRefused(
            f"the brokers' certificate in the namespace {namespace} has expired at {ends:%Y-%m-%d %H:%M} UTC",
            hint="`meshmark down`, then `meshmark up`, makes another; the cluster's data go with it.",
        )
    return False


def issuer() -> Issuer:
    """With a key that nothing keeps but itself."""
    return Issuer("meshmark", LIFE)


def fingerprint_of(secret: Body) -> str:
    """Of the brokers' certificate there."""
    return fingerprint(base64.b64decode(secret["data"][manifest.TLS_KEYSTORE]).partition(END)[2])


def secret(namespace: str, labels: Mapping[str, str], issuer: Issuer) -> Body:
    """With new keys, for the service's name and each broker's."""
    host = manifest.host(namespace)
    leaf = issuer.issue([x509.DNSName(host), x509.DNSName(f"*.{host}")], named(manifest.SERVICE))
    texts = {manifest.TLS_KEYSTORE: leaf.key + leaf.chain, manifest.TLS_AUTHORITY: issuer.certificate}
    return {
        "apiVersion": SECRET.api_version,
        "kind": SECRET.name,
        "metadata": {"name": manifest.TLS_SECRET, "namespace": namespace, "labels": dict(labels)},
        "type": "Opaque",
        "data": {name: base64.b64encode(text).decode() for name, text in texts.items()},
    }


def _ends(found: Body) -> datetime.datetime:
    """When the certificate of a Secret that `secret` made is over; that of one that somebody emptied already is."""
    try:
        text = base64.b64decode(found["data"][manifest.TLS_KEYSTORE])
        return x509.load_pem_x509_certificate(text.partition(END)[2]).not_valid_after_utc
    except (KeyError, TypeError, ValueError):
        return datetime.datetime.fromtimestamp(0, datetime.UTC)
