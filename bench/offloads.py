"""Switches an interface's segmentation offloads, so that it carries and counts TCP segments as a wire would."""

from __future__ import annotations

import array
import fcntl
import socket
import struct

SIOCETHTOOL = 0x8946
SET_TSO, SET_GSO, SET_GRO = 0x1F, 0x24, 0x2C
"""The kernel's include/uapi/linux/ethtool.h."""


def set_offloads(interface: str, *, on: bool) -> None:
    """Of an interface in the calling thread's network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for command in (SET_TSO, SET_GSO, SET_GRO):
            value = array.array("I", [command, int(on)])
            request = struct.pack("16sP16x", interface.encode(), value.buffer_info()[0])
            fcntl.ioctl(control, SIOCETHTOOL, request)
