"""The report's page in a real browser: it shows, complains of nothing, and asks nobody for anything."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH (Debian: apt-get install chromium)"),
]


def in_browser(page: Path, profile: Path) -> tuple[str, str]:
    """The document after its scripts ran, and what the browser logged."""
    argv = [
        *(str(CHROMIUM), "--headless", "--disable-gpu", f"--user-data-dir={profile}", "--enable-logging=stderr"),
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
        *("--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom", page.as_uri()),
    ]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout, done.stderr


def test_a_run_shows_in_a_browser(tmp_path: Path) -> None:
    options = ["--quick", "--backend", "simulated", "--out", str(tmp_path / "run")]
    subprocess.run([sys.executable, "-m", "meshmark", "run", *options], cwd=ROOT, check=True, capture_output=True)
    page = tmp_path / "run" / "report.html"
    document, log = in_browser(page, tmp_path / "profile")
    assert [line for line in log.splitlines() if "CONSOLE" in line] == []
    assert "istio-mtls" in document
    assert len(re.findall(r"<svg\b", document)) >= 4
    assert re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?:https?:)?//""", document) == []


def test_a_fault_in_a_page_would_be_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<script>throw new Error('seen')</script>", encoding="utf-8")
    _, log = in_browser(page, tmp_path / "profile")
    assert any("CONSOLE" in line and "seen" in line for line in log.splitlines())
