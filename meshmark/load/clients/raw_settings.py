"""What the raw client is told, by the names that librdkafka and Kafka give to settings. Pure, certificate files apart.

It takes fewer settings than librdkafka. One that it would have to ignore is an error that names it: two clients are
compared only where both do what they were told.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from meshmark.load.clients import ClientError
from meshmark.load.settings import MESSAGE_TIMEOUT_MS, PRODUCER_SETTINGS
from meshmark.plan import ConfigValue
from meshmark.worker_protocol import WorkerSpec

# Names that librdkafka takes for the same thing.
_ALIASES = {
    "compression.codec": "compression.type",
    "delivery.timeout.ms": "message.timeout.ms",
    "max.in.flight": "max.in.flight.requests.per.connection",
    "queue.buffering.max.ms": "linger.ms",
    "request.required.acks": "acks",
    "sasl.mechanisms": "sasl.mechanism",
}
# librdkafka's defaults, but for the time that records have at most, which is meshmark's.
_DEFAULTS: dict[str, ConfigValue] = {
    "acks": "all",
    "batch.num.messages": 10_000,
    "batch.size": 1_000_000,
    "compression.type": "none",
    "enable.idempotence": False,
    "enable.ssl.certificate.verification": True,
    "linger.ms": 5,
    "max.in.flight.requests.per.connection": 1_000_000,
    "message.timeout.ms": MESSAGE_TIMEOUT_MS,
    "queue.buffering.max.messages": 100_000,
    "request.timeout.ms": 30_000,
    "sasl.mechanism": "",
    "sasl.password": "",
    "sasl.username": "",
    "security.protocol": "plaintext",
    "ssl.ca.location": "",
    "ssl.ca.pem": "",
    "ssl.certificate.location": "",
    "ssl.endpoint.identification.algorithm": "https",
    "ssl.key.location": "",
    "ssl.key.password": "",
}
_ACKS = {"all": -1, "-1": -1, "1": 1}
_WHY = {
    "acks": "must be all or 1: with 0 nothing comes back to be counted",
    "compression.type": "must be none: batches are encoded once, and not compressed",
    "enable.idempotence": "must be false: batches are sent at least once, without a producer id",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class RawSettings:
    """Resolved."""

    acks: int
    batch_bytes: int
    batch_records: int
    capacity: int
    in_flight: int
    linger_ns: int
    message_timeout_ns: int
    request_timeout_ms: int
    told: dict[str, str]
    """Those of `load.settings.PRODUCER_SETTINGS` that it has, as they were given or by default."""
    tls: ssl.SSLContext | None
    credentials: tuple[str, str] | None
    """User and password of SASL's PLAIN."""


def read_settings(spec: WorkerSpec) -> RawSettings:
    """Raises ClientError, which names the key."""
    given = {**spec.client_config, **spec.config}
    named = {_ALIASES.get(key, key): value for key, value in given.items()}
    for key in sorted(named.keys() - _DEFAULTS.keys()):
        raise _refused(key, "not a setting of the raw client; remove it, or use librdkafka")
    settings = {**_DEFAULTS, **named}
    acks = _ACKS.get(str(settings["acks"]).lower())
    if acks is None:
        raise _refused("acks", _WHY["acks"])
    if str(settings["compression.type"]).lower() != "none":
        raise _refused("compression.type", _WHY["compression.type"])
    if _flag(settings, "enable.idempotence"):
        raise _refused("enable.idempotence", _WHY["enable.idempotence"])
    protocol = str(settings["security.protocol"]).lower()
    if protocol not in ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl"):
        raise _refused("security.protocol", f"there is no {protocol}")
    return RawSettings(
        acks=acks,
        batch_bytes=round(_number(settings, "batch.size", 1)),
        batch_records=round(_number(settings, "batch.num.messages", 1)),
        capacity=round(_number(settings, "queue.buffering.max.messages", 1)),
        in_flight=round(_number(settings, "max.in.flight.requests.per.connection", 1)),
        linger_ns=round(_number(settings, "linger.ms", 0) * 1e6),
        message_timeout_ns=round(_number(settings, "message.timeout.ms", 1) * 1e6),
        request_timeout_ms=round(_number(settings, "request.timeout.ms", 1)),
        told={key: str(settings[key]).lower() for key in PRODUCER_SETTINGS if key in settings},
        tls=_tls(settings) if protocol.endswith("ssl") else None,
        credentials=_credentials(settings) if protocol.startswith("sasl") else None,
    )


def _refused(key: str, why: str) -> ClientError:
    return ClientError("configuration", f"{key}: {why}")


def _number(settings: Mapping[str, ConfigValue], key: str, least: float) -> float:
    try:
        value = float(settings[key])
    except ValueError:
        raise _refused(key, f"{settings[key]} is not a number") from None
    if not least <= value < 2**31:
        raise _refused(key, f"must be at least {least}, and below 2^31")
    return value


def _flag(settings: Mapping[str, ConfigValue], key: str) -> bool:
    word = str(settings[key]).lower()
    if word not in ("true", "false"):
        raise _refused(key, "must be true or false")
    return word == "true"


def _credentials(settings: Mapping[str, ConfigValue]) -> tuple[str, str]:
    if str(settings["sasl.mechanism"]).upper() != "PLAIN":
        raise _refused("sasl.mechanism", "only PLAIN is known to the raw client; use librdkafka for others")
    return str(settings["sasl.username"]), str(settings["sasl.password"])


def _tls(settings: Mapping[str, ConfigValue]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    verified = _flag(settings, "enable.ssl.certificate.verification")
    context.check_hostname = verified and settings["ssl.endpoint.identification.algorithm"] != "none"
    if not verified:
        context.verify_mode = ssl.CERT_NONE
    location, text = str(settings["ssl.ca.location"]), str(settings["ssl.ca.pem"])
    try:
        if location or text:
            context.load_verify_locations(cafile=location or None, cadata=text or None)
        else:
            context.load_default_certs()
    except OSError as error:
        raise _refused("ssl.ca.location" if location else "ssl.ca.pem", str(error)) from None
    if certificate := str(settings["ssl.certificate.location"]):
        key, password = str(settings["ssl.key.location"]), str(settings["ssl.key.password"])
        try:
            context.load_cert_chain(certificate, key or None, password or None)
        except OSError as error:
            raise _refused("ssl.certificate.location", str(error)) from None
    return context
