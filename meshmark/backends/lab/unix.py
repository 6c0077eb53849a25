"""Unix sockets of components, whatever directory a person works in.

The kernel takes 107 bytes of a socket's path. So a component, which runs in its host's directory, is told the name
alone, and who asks it goes through a descriptor of that directory.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path


def connected(path: Path, timeout_s: float) -> socket.socket:
    """A connection to the socket at `path`. Raises OSError when nobody listens there."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            made.settimeout(timeout_s)
            made.connect(f"/proc/self/fd/{directory}/{path.name}")
        finally:
            os.close(directory)
    except OSError:
        made.close()
        raise
    return made
