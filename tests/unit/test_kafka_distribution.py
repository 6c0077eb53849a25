"""Locks, the cache, and what is said when a jar cannot be had. The repository is a server on loopback."""

from __future__ import annotations

import hashlib
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from meshmark.dataplane.identity import Authority, Identity
from meshmark.errors import DownloadError, MissingRequirement, UsageError
from meshmark.kafka import distribution

JARS = {"alpha": b"alpha's classes", "beta": b"beta's classes"}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Maven repository's root with two jars; the cache is empty."""
    root = tmp_path / "repository"
    for name, content in JARS.items():
        jar = root / f"org/example/{name}/1.0/{name}-1.0.jar"
        jar.parent.mkdir(parents=True)
        jar.write_bytes(content)
    monkeypatch.setenv("MESHMARK_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return root


@contextmanager
def served(root: Path, identity: Identity | None = None) -> Iterator[int]:
    """The port of a server of that directory; with an identity it speaks TLS."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root)))
    if identity:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(identity.keystore)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def repository(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with served(root) as port:
        monkeypatch.setenv("MESHMARK_MAVEN_REPOSITORY", f"http://127.0.0.1:{port}/")
        yield root


@pytest.fixture
def lock(tmp_path: Path) -> str:
    path = tmp_path / "example.txt"
    lines = [f"org.example:{name}:1.0 sha256:{hashlib.sha256(content).hexdigest()}" for name, content in JARS.items()]
    path.write_text("# a comment\n\n" + "\n".join(lines) + "\n")
    return str(path)


def test_jars_come_in_the_order_of_the_lock_and_progress_counts_them(repository: Path, lock: str) -> None:
    told: list[tuple[int, int]] = []
    jars = distribution.fetch(lock, progress=lambda done, total: told.append((done, total)))
    assert [jar.read_bytes() for jar in jars] == list(JARS.values())
    assert told == [(1, 2), (2, 2)]


def test_a_full_cache_needs_no_repository(repository: Path, lock: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = distribution.fetch(lock)
    monkeypatch.setenv("MESHMARK_MAVEN_REPOSITORY", "http://127.0.0.1:1")
    assert distribution.fetch(lock, offline=True) == first


def test_a_damaged_jar_is_fetched_again(repository: Path, lock: str) -> None:
    jar = distribution.fetch(lock)[0]
    jar.write_bytes(b"damaged")
    assert distribution.fetch(lock)[0].read_bytes() == JARS["alpha"]


def test_offline_with_an_empty_cache_says_what_to_do(repository: Path, lock: str) -> None:
    with pytest.raises(DownloadError, match="meshmark fetch"):
        distribution.fetch(lock, offline=True)


def test_a_jar_that_is_not_the_locked_one_is_refused_and_not_kept(repository: Path, lock: str) -> None:
    (repository / "org/example/beta/1.0/beta-1.0.jar").write_bytes(b"something else")
    with pytest.raises(DownloadError, match=r"org\.example:beta:1\.0"):
        distribution.fetch(lock)
    left = [path.name for path in distribution.cache_dir().rglob("*") if path.is_file()]
    assert left == ["alpha-1.0.jar"]


def test_a_repository_without_the_jar_is_named(repository: Path, lock: str) -> None:
    (repository / "org/example/beta/1.0/beta-1.0.jar").unlink()
    with pytest.raises(DownloadError, match="404"):
        distribution.fetch(lock)


def test_no_repository_at_all_hints_at_proxy_and_mirror(
    repository: Path, lock: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESHMARK_MAVEN_REPOSITORY", "http://127.0.0.1:1")
    with pytest.raises(DownloadError, match="MESHMARK_MAVEN_REPOSITORY"):
        distribution.fetch(lock)


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_a_repository_of_an_authority_of_ones_own_is_trusted_where_a_variable_names_it(
    root: Path, lock: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    identity = Authority(tmp_path / "authority", "own").server_identity("repository", "127.0.0.1")
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(variable, raising=False)
    with served(root, identity) as port:
        monkeypatch.setenv("MESHMARK_MAVEN_REPOSITORY", f"https://127.0.0.1:{port}/")
        with pytest.raises(DownloadError, match="SSL_CERT_FILE"):
            distribution.fetch(lock)
        monkeypatch.setenv(name, str(identity.authority))
        assert [jar.read_bytes() for jar in distribution.fetch(lock)] == list(JARS.values())


def test_an_unknown_lock_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"kafka-4\.4\.0"):
        distribution.read_lock("kafka-9.9.9")


def test_a_line_that_is_no_artifact_is_placed(tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"
    path.write_text("org.example:alpha:1.0\n")
    with pytest.raises(UsageError, match=r"bad\.txt:1"):
        distribution.read_lock(str(path))


@pytest.mark.parametrize("name", distribution.lock_names())
def test_a_committed_lock_names_each_artifact_once(name: str) -> None:
    artifacts = distribution.read_lock(name)
    assert len({(artifact.group, artifact.name) for artifact in artifacts}) == len(artifacts)
    assert len(artifacts) > (40 if name.startswith("kafka") else 0)


def test_the_brokers_lock_holds_one_version_of_kafka() -> None:
    versions = {a.version for a in distribution.read_lock(distribution.KAFKA) if a.group == "org.apache.kafka"}
    assert versions == {"4.4.0"} == {distribution.kafka_version()}


def test_a_java_that_cannot_be_run_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHMARK_JAVA", "/nowhere/java")
    distribution.java.cache_clear()
    with pytest.raises(MissingRequirement, match="/nowhere/java"):
        distribution.java()


def test_an_old_java_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho openjdk 11.0.22 2024-01-16\n")
    java.chmod(0o700)
    monkeypatch.setenv("MESHMARK_JAVA", str(java))
    distribution.java.cache_clear()
    with pytest.raises(MissingRequirement, match=r"11\.0\.22"):
        distribution.java()
