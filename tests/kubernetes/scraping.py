"""A real Prometheus that scrapes a test node's kubelet, as a cluster has one; Debian's package."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.kubernetes.controlplane import ControlPlane, free_ports
from tests.kubernetes.place import HERE, LOOPBACK

TOOL = "prometheus"
SETTINGS = """
global: {{scrape_interval: 5s, scrape_timeout: 5s}}
scrape_configs:
- job_name: cadvisor
  scheme: https
  metrics_path: /metrics/cadvisor
  authorization: {{credentials_file: {token}}}
  tls_config: {{ca_file: {authority}}}
  static_configs: [{{targets: ["{address}:10250"]}}]
"""


class Scraping(NamedTuple):
    url: str
    begun_at: float


def installed() -> bool:
    return shutil.which(TOOL) is not None


@contextmanager
def scraping(cluster: ControlPlane, home: Path) -> Iterator[Scraping]:
    """As a user who may read the kubelets' metrics and nothing else; its files are in that directory."""
    cluster.kubectl("create", "clusterrole", "scraper", "--verb=get", "--resource=nodes/metrics")
    scraper = json.loads(cluster.account("scraper", "default", everywhere=["scraper"]).read_text(encoding="utf-8"))
    token, settings, authority = home / "token", home / "prometheus.yml", cluster.credentials.authority
    token.write_text(scraper["users"][0]["user"]["token"], encoding="ascii")
    settings.write_text(SETTINGS.format(token=token, authority=authority, address=HERE.address), encoding="utf-8")
    [port] = free_ports(1)
    argv = [TOOL, f"--config.file={settings}", f"--storage.tsdb.path={home / 'data'}"]
    argv += [f"--web.listen-address={LOOPBACK}:{port}", "--log.level=error"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield Scraping(f"http://{LOOPBACK}:{port}", time.time())
        finally:
            process.kill()
