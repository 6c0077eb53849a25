"""What is left of limits and of file systems of brokers' own when a process is killed: nothing, at the next start."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from meshmark.backends.lab.cgroups import CPUSET_LINK, LINK, QUOTA_LINK, THROTTLE_V1, blkio_root
from meshmark.backends.lab.disk import require_images
from meshmark.backends.lab.instance import reclaim, stored_instances
from meshmark.errors import MissingRequirement
from tests.lab.ground import script

pytestmark = pytest.mark.lab

KILLED = """
import os, signal
from contextlib import ExitStack
from meshmark.backends.lab.backend import lab
from meshmark.backends.lab.limits import cpu_quota
from meshmark.record import Limit
from tests.lab.ground import python, run_on
from tests.lab.test_limits import IMAGES
spec = IMAGES.cluster.model_copy(update={"client_cpus": min(1, os.cpu_count() - 1)})
SCENARIO = IMAGES.model_copy(update={"cluster": spec})
with ExitStack() as stack:
    bed = stack.enter_context(stack.enter_context(lab("test")).testbed(SCENARIO))
    for resource in ("disk", "operations", "network"):
        stack.enter_context(bed.limit(Limit(host="broker-1", resource=resource, amount=1e6)))
    host = bed.network.hosts["broker-1"]
    process = stack.enter_context(run_on(host, "sleep", "600"))
    try:
        stack.enter_context(cpu_quota(host, "kafka", [process.pid], 0.5, bed.ground.instance))
    except Exception:
        pass
    print(bed.ground.instance, bed.ground.disks["broker-1"].number, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_limited_and_mounted_is_reclaimed() -> None:
    try:
        require_images()
    except MissingRequirement as error:
        pytest.skip(f"root: {error.message}")
    with script(KILLED) as process:
        told, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, errors
    directory, device = told.split()
    assert directory in Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    links = [link for name in (LINK, QUOTA_LINK, CPUSET_LINK) if (link := Path(directory) / name).is_symlink()]
    groups = [link.readlink() for link in links]
    assert all(group.is_dir() for group in groups)
    assert directory in "".join(reclaim())
    assert stored_instances() == []
    assert directory not in Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    backing = [path.read_text(encoding="utf-8") for path in Path("/sys/block").glob("loop*/loop/backing_file")]
    assert not [text for text in backing if directory in text]
    throttles = blkio_root()
    for file in (THROTTLE_V1, "blkio.throttle.write_iops_device"):
        assert throttles is None or f"{device} " not in (throttles / file).read_text(encoding="ascii")
    assert Path(f"/sys/class/bdi/{device}/strict_limit").read_text(encoding="ascii").strip() == "0"
    assert not [group for group in groups if group.exists()]
