"""A network namespace for the whole test process: nothing but loopback. Without root, a user namespace before that."""

from __future__ import annotations

import ctypes
import os

import pytest
from pyroute2 import IPRoute

from meshmark.backends.lab.link import LOOPBACK_INDEX
from meshmark.backends.lab.namespace import CLONE_NEWNET, enter_user_namespace
from meshmark.errors import MissingRequirement


def enter_own_network() -> None:
    """Skips where the kernel refuses one."""
    if os.geteuid() != 0:
        try:
            enter_user_namespace()
        except MissingRequirement as error:
            pytest.skip(f"kernel: {error}")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        pytest.skip(f"kernel: no network namespace: {os.strerror(ctypes.get_errno())}")
    with IPRoute() as netlink:
        netlink.link("set", index=LOOPBACK_INDEX, state="up")
