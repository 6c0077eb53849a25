"""Which settings may hold a secret, or say where one lies: by their names alone, whatever their values.

Names are those of Kafka's brokers and clients, of librdkafka, and of Java's system properties. A plan with such a
setting is refused (`planfile`), since plans are recorded and shown; a report tells no more than that one is set.

Limits: a setting of a plugin that calls its secret by none of these words is not known.
"""

from __future__ import annotations

import re

_SECRET = re.compile(
    r"passw|passphrase|secret|jaas|credential|token|oauthbearer|keytab|kinit|private|certificate"
    r"|[._]key(?![a-z])|key[._]?store|trust[._]?store",
    re.IGNORECASE,
)
_ABOUT_ONE = re.compile(r"\.(type|ms|algorithm|iterations|length|verification)$")
"""How long a token lives, what type a key store is."""


def holds_secret(setting: str) -> bool:
    return bool(_SECRET.search(setting)) and not _ABOUT_ONE.search(setting)
