"""When, and at which commit, the tests of this directory last passed against a real Kubernetes.

    python -m tests.kubernetes.last_run     takes this machine's last pass into the checkout, to be committed

Each pass is noted in the cache; the committed note (`last_run.json`) tells it where there is no such cache.
"""

from __future__ import annotations

import datetime
import json
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.kubernetes import build

COMMITTED = Path(__file__).with_suffix(".json")
ROOT = Path(__file__).parents[2]
KEYS = {"when", "commit", "changed", "kubernetes", "passed", "skipped"}


def note(passed: int, skipped: int) -> None:
    """So many passed just now, the others were skipped, and none failed or was left out. A cache that cannot be
    written keeps no note."""
    content = {
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "HEAD"),
        "changed": bool(_git("status", "--porcelain")),
        "kubernetes": build.version(),
        "passed": passed,
        "skipped": skipped,
    }
    with suppress(OSError):
        _noted().write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def text() -> str:
    """For people; the later of what was noted here and what is committed. A damaged note is none."""
    notes = [found for path in (_noted(), COMMITTED) if (found := _read(path))]
    if not notes:
        return "these tests never passed with one, as far as is known here"
    last = max(notes, key=lambda each: str(each["when"]))
    changed = " with changes that were not committed" if last["changed"] else ""
    skipped = f" ({last['skipped']} skipped)" if last["skipped"] else ""
    tests = f"{last['passed']} tests passed{skipped} with {last['kubernetes']}"
    return f"last {tests} on {last['when']} at commit {last['commit'][:12]}{changed}"


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and found.keys() >= KEYS else {}


def _noted() -> Path:
    return build.home() / COMMITTED.name


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() or ("unknown" if done.returncode else "")


if __name__ == "__main__":
    COMMITTED.write_text(_noted().read_text(encoding="utf-8"), encoding="utf-8")
