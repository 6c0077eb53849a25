"""Settings of a plan as readers are told them: what is too long for a line by its size and digest. Pure."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

_PAYLOAD = "payloadBase64"
_DIGITS = 16
"""Of the SHA-256 in hexadecimal: enough to tell two payloads apart."""


def brief(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Of a workload, or of another part of a scenario, which stays as it is."""
    payload = settings.get(_PAYLOAD)
    if not payload:
        return dict(settings)
    content = base64.b64decode(payload)
    digest = hashlib.sha256(content).hexdigest()[:_DIGITS]
    return {**settings, _PAYLOAD: f"{len(content):,} bytes, SHA-256 {digest}..."}
