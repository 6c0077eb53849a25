"""A file system of a broker's own: an ext4 image on a loop device, whose writes can be limited.

The device is one that the kernel frees by itself when nothing uses it any more (LO_FLAGS_AUTOCLEAR), so a mount is all
that can be left behind. A limit is the block layer's throttle on the device: `blkio` of the root group with cgroup v1
(it holds what the kernel writes back for anybody), `io.max` of the broker's group with v2. Throttle and the device's
share of dirty memory outlive mount and process, so a mark in the instance's directory, made first, says which device
has one. The device's dirty memory is bounded while the limit lasts: else a burst of many seconds would end in memory,
and the limit would not show.

Needs root, loop devices and mkfs.ext4. Limits: reads are not limited; the image lies on the machine's own disk, which
must be faster than the limit; v2 was tested on files alone.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from meshmark.backends.lab.cgroups import blkio_root
from meshmark.backends.lab.controls import V1, V2, Writes, enable, tell
from meshmark.backends.lab.link import Host
from meshmark.backends.lab.namespace import outside_uid
from meshmark.errors import LabError, MissingRequirement
from meshmark.probes import procfs

LOOP_CTL_GET_FREE = 0x4C82
LOOP_CONFIGURE = 0x4C0A
LO_FLAGS_AUTOCLEAR = 4
LO_FLAGS_DIRECT_IO = 16
LOOP_MAJOR = 7
MS_NOATIME = 1024
TRIES = 20
UNMOUNT_TIMEOUT_S = 30.0
POLL_S = 0.05

MARK = "throttled-"
BDI = Path("/sys/class/bdi")
DIRTY_SECONDS = 0.1
DIRTY_BYTES_MIN = 4_000_000
"""Writers are held up when this is dirty: what a trial's window of some seconds may hide in memory. It must hold
enough pages of some segments for writes to be large."""

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Disk:
    """A mounted image; `number` is the device's, as the kernel writes it (7:0)."""

    mount: Path
    number: str


def require_images() -> None:
    """Raises MissingRequirement where a broker cannot have a file system of its own."""
    if outside_uid() != 0:
        raise MissingRequirement(
            "storage `image` needs root: loop devices and mounts are not to be had without",
            hint="Run as root, or use storage `disk` or `ram`.",
        )
    if not shutil.which("mkfs.ext4"):
        raise MissingRequirement(
            "storage `image` needs mkfs.ext4, which is not there", hint="Install e2fsprogs, or use storage `disk`."
        )
    if not Path("/dev/loop-control").exists():
        raise MissingRequirement(
            "storage `image` needs loop devices, and this kernel has none",
            hint="`modprobe loop`, or use storage `disk`.",
        )


@contextmanager
def image_disk(mount: Path, image: Path, size_bytes: int) -> Iterator[Disk]:
    """An empty ext4 file system of that size (a sparse file) at `mount`; neither exists before or after."""
    mount.mkdir()
    try:
        with image.open("xb") as file:
            file.truncate(size_bytes)
        _format(image)
        number = _mount_image(image, mount)
        try:
            yield Disk(mount=mount, number=number)
        finally:
            _empty(mount)  # what is deleted need not be written back
            _unmount(mount)
    finally:
        image.unlink(missing_ok=True)
        mount.rmdir()


def _format(image: Path) -> None:
    # Few inodes and nothing left for the kernel to initialize later: that would write in the middle of a trial.
    options = ["-q", "-F", "-m", "0", "-T", "largefile", "-E", "lazy_itable_init=0,lazy_journal_init=0"]
    done = subprocess.run(["mkfs.ext4", *options, str(image)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"mkfs.ext4 failed: {(done.stderr or done.stdout).strip()}")


def _mount_image(image: Path, mount: Path) -> str:
    """Returns the device's number. The device lives from its configuration on by our descriptor, then by the mount."""
    try:
        with image.open("r+b") as file:
            device = _loop_device(file.fileno())
            try:
                minor = os.minor(os.fstat(device).st_rdev)
                _mount(f"/dev/loop{minor}", mount)
            finally:
                os.close(device)
    except OSError as error:
        raise LabError(
            f"a broker's file system cannot be mounted: {error}",
            hint="Containers need --privileged for it; storage `disk` works without.",
        ) from error
    return f"{LOOP_MAJOR}:{minor}"


def _loop_device(file: int) -> int:
    """A descriptor of a free loop device that stands for `file` now."""
    for _ in range(TRIES):
        with open("/dev/loop-control", "rb", buffering=0) as control:  # noqa: PTH123 - a device
            minor = fcntl.ioctl(control, LOOP_CTL_GET_FREE)
        device = os.open(f"/dev/loop{minor}", os.O_RDWR | os.O_CLOEXEC)
        # struct loop_config of linux/loop.h: file, block size, loop_info64 (of it only lo_flags), reserved.
        flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO
        config = struct.pack("=II52xI240x", file, 0, flags)
        try:
            fcntl.ioctl(device, LOOP_CONFIGURE, config)
            return device
        except OSError as error:
            os.close(device)
            if error.errno != errno.EBUSY:  # somebody else took it between the two calls
                raise
    raise OSError(errno.EBUSY, "no free loop device")


def _mount(source: str, mount: Path) -> None:
    if _libc.mount(source.encode(), os.fsencode(mount), b"ext4", MS_NOATIME, None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(mount))


def _unmount(mount: Path) -> None:
    """A process that was killed may hold a file for a moment longer."""
    deadline = time.monotonic() + UNMOUNT_TIMEOUT_S
    while _libc.umount2(os.fsencode(mount), 0) != 0:
        number = ctypes.get_errno()
        if number in (errno.EINVAL, errno.ENOENT):  # it is no mount point any more
            return
        if number != errno.EBUSY or time.monotonic() > deadline:
            raise LabError(f"{mount} cannot be unmounted: {os.strerror(number)}")
        time.sleep(POLL_S)


def _empty(directory: Path) -> None:
    for entry in directory.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


@contextmanager
def write_limit(disk: Disk, host: Host, kind: Writes, per_second: float, instance: Path) -> Iterator[None]:
    """At most so many bytes, or operations, a second to the device. Of bytes, only a tenth of a second's worth may be
    in memory, or DIRTY_BYTES_MIN where that is more."""
    mark = instance / f"{MARK}{disk.number}-{kind}"
    mark.touch()
    try:
        _throttle(disk.number, host.group("kafka"), kind, round(per_second))
        if kind == "bytes":
            _bound_dirty(disk.number, max(DIRTY_BYTES_MIN, round(per_second * DIRTY_SECONDS)))
        yield
    finally:
        _relax(disk.number, host.group("kafka"), kind)
        mark.unlink(missing_ok=True)


def _throttle(number: str, group: Path | None, kind: Writes, per_second: int | None) -> None:
    """In the root group with v1, in the broker's with v2."""
    root = blkio_root()
    try:
        if root is not None:
            tell(root, V1.writes(number, kind, per_second))
            return
        if group is not None and enable(group, "io"):
            tell(group, V2.writes(number, kind, per_second))
            return
    except OSError as error:
        raise LabError(f"the kernel refused to throttle device {number}: {error}") from error
    raise MissingRequirement(
        "the disk cannot be limited here: no cgroup with the controller `blkio` or `io` that meshmark may write",
        hint="Run as root, with blkio.throttle in cgroup v1 or a delegated `io` in v2.",
    )


def require_dirty_bounds() -> None:
    """Raises MissingRequirement where a device's dirty memory cannot be bounded. A probe of the limit would not tell:
    it waits until all is on the device, and a trial does not."""
    if not any(BDI.glob("*/max_bytes")):
        raise MissingRequirement(
            "limiting disks needs a bound on the dirty memory of one device (`strict_limit` and `max_bytes` in "
            f"{BDI}), which this kernel does not have",
            hint="Use Linux 6.2 or later, or logs in RAM (--disk ram); or leave out the profile.",
        )


def _bound_dirty(number: str, max_bytes: int) -> None:
    require_dirty_bounds()
    try:
        (BDI / number / "strict_limit").write_text("1", encoding="ascii")
        (BDI / number / "max_bytes").write_text(str(max_bytes), encoding="ascii")
    except OSError as error:
        raise LabError(f"the kernel refused to bound the dirty memory of device {number}: {error}") from error


def _relax(number: str, group: Path | None, kind: Writes) -> None:
    """As the kernel makes a device."""
    with suppress(OSError, MissingRequirement, LabError):
        _throttle(number, group, kind, None)
    if kind == "bytes":
        with suppress(OSError):
            (BDI / number / "strict_limit").write_text("0", encoding="ascii")
            (BDI / number / "max_ratio").write_text("100", encoding="ascii")


def release_disks(instance: Path) -> None:
    """What a killed process left of an instance: throttles first, since unmounting has to write."""
    for mark in instance.glob(f"{MARK}*"):
        number, _, kind = mark.name.removeprefix(MARK).partition("-")
        _relax(number, None, "operations" if kind == "operations" else "bytes")
        mark.unlink()
    try:
        text = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return
    for mount in procfs.mounts(text):
        if Path(mount.point).is_relative_to(instance):
            _empty(Path(mount.point))
            _unmount(Path(mount.point))
