"""Which certificate a server shows to a new connection: nothing is verified, and nothing sent beyond the handshake.

A broker that is told of a new certificate takes it when it has heard of that, a moment later.
"""

from __future__ import annotations

import hashlib
import ssl
import time
from collections.abc import Callable

from meshmark.errors import ComponentFailed

TIMEOUT_S = 5.0
POLL_S = 0.1


def shown(address: str, port: int) -> str:
    """SHA-256 of the certificate, in hexadecimal digits; of what went wrong, the text."""
    try:
        pem = ssl.get_server_certificate((address, port), timeout=TIMEOUT_S)
    except OSError as error:
        return str(error)
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def wait_until_shown(host: str, wanted: str, ask: Callable[[], str], timeout_s: float) -> None:
    """Until `ask`, which tells what is shown there, gives this certificate. Raises ComponentFailed."""
    deadline = time.monotonic() + timeout_s
    while (found := ask()) != wanted:
        if time.monotonic() > deadline:
            raise ComponentFailed(
                f"{host} does not show its new certificate after {timeout_s:g} s: {found}, not {wanted}",
                component="kafka",
                hint="The broker's log tells more.",
            )
        time.sleep(POLL_S)
