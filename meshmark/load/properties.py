"""A Kafka client's properties file, as its command line tools take it with --command-config, in librdkafka's terms.

Most names are the same. What differs is translated: a JAAS configuration of PLAIN or SCRAM becomes user name and
password; key and trust stores must be PEM (PKCS12 is taken for keys), since librdkafka reads no Java key stores.
Names that librdkafka does not know are refused by it, by name. Values are never printed: they hold passwords.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from meshmark.errors import UsageError

_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_PEM = "convert it to PEM, and set {kind}.type=PEM"
# Java class names that have no meaning outside Java, and what Kafka's tools ignore as well.
_JAVA_ONLY = re.compile(r"^(key|value)\.(de)?serializer$|^sasl\.(client|login)\.callback\.handler\.class$|\.provider$")
# Key and trust stores, by what Kafka calls them.
_STORES = {
    "ssl.keystore.certificate.chain": "ssl.certificate.pem",
    "ssl.keystore.key": "ssl.key.pem",
    "ssl.truststore.certificates": "ssl.ca.pem",
}


def client_properties(path: Path) -> dict[str, str]:
    """Settings for librdkafka. Raises UsageError, which names the file and the key, never a value."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    try:
        return translated(dict(pairs(text)))
    except UsageError as error:
        raise UsageError(f"{path}: {error.message}", hint=error.hint) from None


def pairs(text: str) -> Iterator[tuple[str, str]]:
    """Keys and values of Java's properties format."""
    for line in _logical_lines(text):
        # A separator is the first =, : or white space that is not escaped.
        found = re.match(r"((?:\\.|[^\\=:\s])*)\s*[=:]?\s*(.*)", line, re.DOTALL)
        if found:
            yield _unescaped(found[1]), _unescaped(found[2])


def translated(given: Mapping[str, str]) -> dict[str, str]:
    settings = {key: value for key, value in given.items() if not _JAVA_ONLY.search(key)}
    settings |= _credentials(settings.pop("sasl.jaas.config", None))
    settings |= _key_store(settings)
    settings |= _trust_store(settings)
    for name, own in _STORES.items():
        if name in settings:
            settings[own] = settings.pop(name)
    if settings.get("ssl.endpoint.identification.algorithm") == "":
        settings["ssl.endpoint.identification.algorithm"] = "none"
    return settings


def _logical_lines(text: str) -> Iterator[str]:
    """Without comments; a line that ends with a backslash goes on in the next one."""
    held = ""
    for raw in text.splitlines():
        line = raw.lstrip()
        if not held and (not line or line[0] in "#!"):
            continue
        whole = held + line
        held = ""
        if (len(whole) - len(whole.rstrip("\\"))) % 2:
            held = whole[:-1]
        else:
            yield whole
    if held:
        yield held


def _unescaped(text: str) -> str:
    def plain(found: re.Match[str]) -> str:
        code, single = found.groups()
        return chr(int(code, 16)) if code else _ESCAPES.get(single, single)

    return re.sub(r"\\(?:u([0-9a-fA-F]{4})|(.))", plain, text, flags=re.DOTALL)


def _credentials(jaas: str | None) -> dict[str, str]:
    """Of `org.apache.kafka.common.security.(plain|scram).XLoginModule required username="..." password="...";`"""
    if jaas is None:
        return {}
    options = {key: quoted or bare for key, quoted, bare in re.findall(r'(\w+)\s*=\s*(?:"([^"]*)"|([^\s;"]+))', jaas)}
    if not re.search(r"(Plain|Scram)LoginModule", jaas) or not {"username", "password"} <= options.keys():
        raise UsageError(
            "sasl.jaas.config: only PlainLoginModule and ScramLoginModule with username and password are understood"
        )
    return {"sasl.username": options["username"], "sasl.password": options["password"]}


def _key_store(settings: dict[str, str]) -> dict[str, str]:
    kind = settings.pop("ssl.keystore.type", "JKS").upper()
    location = settings.get("ssl.keystore.location")
    if location is None or kind == "PKCS12":
        return {}
    if kind != "PEM":
        raise UsageError(f"ssl.keystore.location: a store of type {kind} cannot be read", hint=_hint("ssl.keystore"))
    del settings["ssl.keystore.location"]
    return {"ssl.certificate.location": location, "ssl.key.location": location}


def _trust_store(settings: dict[str, str]) -> dict[str, str]:
    kind = settings.pop("ssl.truststore.type", "JKS").upper()
    location = settings.pop("ssl.truststore.location", None)
    settings.pop("ssl.truststore.password", None)
    if location is None:
        return {}
    if kind != "PEM":
        raise UsageError(
            f"ssl.truststore.location: a store of type {kind} cannot be read", hint=_hint("ssl.truststore")
        )
    return {"ssl.ca.location": location}


def _hint(kind: str) -> str:
    return _PEM.format(kind=kind)
