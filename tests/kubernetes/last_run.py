"""When, and at which commit, tests of this directory last passed against a real Kubernetes.

    python -m tests.kubernetes.last_run     takes this machine's last passes into the checkout, to be committed

There is a note of all of them together, one of the path from `run` to its report, and one of that on Strimzi's
brokers. Each pass is noted in the cache; the committed notes (`last_run.json`, ...) tell it where there is no such
cache.
"""

from __future__ import annotations

import datetime
import json
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.kubernetes import build

ROOT = Path(__file__).parents[2]
KEYS = {"when", "commit", "changed", "kubernetes"}


@dataclass(frozen=True)
class Note:
    """Of a pass, in a file of this name. `more`: the keys that it has beside when, where and with what."""

    name: str
    more: frozenset[str] = frozenset()

    @property
    def committed(self) -> Path:
        return Path(__file__).with_name(self.name)

    @property
    def noted(self) -> Path:
        """In the cache."""
        return build.home() / self.name

    def note(self, **more: int) -> None:
        """It passed just now. A cache that cannot be written keeps no note."""
        content = {
            "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "commit": _git("rev-parse", "HEAD"),
            "changed": bool(_git("status", "--porcelain")),
            "kubernetes": build.version(),
            **more,
        }
        with suppress(OSError):
            self.noted.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def text(self) -> str:
        """For people; the later of what was noted here and what is committed. A damaged note is none."""
        notes = [found for path in (self.noted, self.committed) if (found := self._read(path))]
        if not notes:
            return "never passed, as far as is known here"
        last = max(notes, key=lambda each: str(each["when"]))
        skipped = f", {last['skipped']} skipped" if last.get("skipped") else ""
        counted = f" ({last['passed']} passed{skipped})" if "passed" in last else ""
        changed = " with changes that were not committed" if last["changed"] else ""
        where = f"at commit {last['commit'][:12]}{changed} with Kubernetes {last['kubernetes']}"
        return f"last passed on {last['when']} {where}{counted}"

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) and found.keys() >= KEYS | self.more else {}


ALL = Note("last_run.json", frozenset({"passed", "skipped"}))
"""None of them failed or was left out by the command."""
WHOLE_PATH = Note("last_whole_path.json")
STRIMZI = Note("last_strimzi.json")
"""From `run` to its report on brokers that Strimzi's own operator made."""


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() or ("unknown" if done.returncode else "")


if __name__ == "__main__":
    for each in (ALL, WHOLE_PATH, STRIMZI):
        with suppress(FileNotFoundError):
            shutil.copyfile(each.noted, each.committed)
