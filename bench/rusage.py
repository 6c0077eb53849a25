"""Runs a command; prints one line of JSON: its last line of output, and the CPU time it took from start to end, in
user mode and in the kernel.

`python -m bench.rusage COMMAND...`, so that a command on a lab host can be measured as the kernel counts it.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys


def main() -> int:
    done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, text=True, check=False)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    lines = done.stdout.strip().splitlines()
    told = {"last_line": lines[-1] if lines else "", "user_s": used.ru_utime, "system_s": used.ru_stime}
    print(json.dumps(told))
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
