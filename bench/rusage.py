"""Runs a command; prints one line of JSON: its last line of output, and the CPU time it took from start to end.

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
    print(json.dumps({"last_line": lines[-1] if lines else "", "cpu_s": used.ru_utime + used.ru_stime}))
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
