"""Starts one command on a host: binds its life to its parent's, enters the namespace, becomes the command.

Run as `python -I -S launch.py NETNS_FD PARENT_PID GROUP_FDS CPUS COMMAND...`; GROUP_FDS are the open cgroup.procs of
its control groups, or `-`; CPUS are the numbers of those that it may run on; both with commas. A program of its own
rather than a function between fork and exec, where the parent's threads and locks would matter; the standard library
only, for a quick start.
"""

import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1
CLONE_NEWNET = 0x40000000
NOT_RUN = 127


def main() -> None:
    netns, parent, groups, cpus, *command = sys.argv[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(parent):  # it died before the line above
        sys.exit(NOT_RUN)
    if libc.setns(int(netns), CLONE_NEWNET) != 0:
        sys.exit(f"cannot enter the host's network namespace: {os.strerror(ctypes.get_errno())}")
    os.close(int(netns))
    for group in map(int, groups.split(",") if groups != "-" else ()):
        os.write(group, b"0")  # the writer itself
        os.close(group)
    os.sched_setaffinity(0, map(int, cpus.split(",")))
    # Python ignores these; an ignored signal stays ignored across exec, and the command expects the default.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    # A sidecar needs two open files for each connection; Envoy, unlike a JVM, does not raise its own limit.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"cannot run {command[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(NOT_RUN)


if __name__ == "__main__":
    main()
