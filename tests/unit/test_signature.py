"""`sign` and `verify --allowed-signers`, with the real ssh-keygen: who signed is told, and nothing else passes."""

from __future__ import annotations

import errno
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from meshmark import seal
from meshmark.cli import app
from meshmark.data_plane import DataPlane
from meshmark.errors import NoSpace, RecordError, UsageError
from meshmark.experiment.progress import Silent
from tests.mutants.record import Tamper, consistent, same_number
from tests.unit.test_conductor import plan_of, run

SSH_KEYGEN = shutil.which("ssh-keygen")
if SSH_KEYGEN is None:
    pytest.skip("no ssh-keygen on PATH (Debian: apt-get install openssh-client)", allow_module_level=True)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("signature") / "run"
    run(directory, plan_of(DataPlane.PLAIN, DataPlane.ISTIO_MTLS))
    return directory


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "run")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Private keys by their owners; a public one lies beside each."""
    directory = tmp_path_factory.mktemp("keys")
    for name in ("alice", "mallory"):
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(directory / name)]
        subprocess.run(argv, check=True)
    return {name: directory / name for name in ("alice", "mallory")}


@pytest.fixture
def allowed(keys: dict[str, Path], tmp_path: Path) -> Path:
    """Alice, by two names; Mallory for something else only."""
    public = {name: key.with_suffix(".pub").read_text() for name, key in keys.items()}
    file = tmp_path / "signers"
    file.write_text(
        f'alice@example.com,alice {public["alice"]}mallory@example.com namespaces="git" {public["mallory"]}'
    )
    return file


def signed_by(directory: Path, key: Path) -> None:
    assert app.main(["sign", str(directory), "--key", str(key)]) == 0


def test_who_signed_is_told(
    copy: Path, keys: dict[str, Path], allowed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    signed_by(copy, keys["alice"])
    assert f"digest     {seal.head(copy)}" in capsys.readouterr().out
    assert app.main(["verify", str(copy), "--allowed-signers", str(allowed)]) == 0
    told = capsys.readouterr().out
    assert "signed     by alice@example.com with the ED25519 key SHA256:" in told
    assert "alice@example.com signed the digest of this record" in told
    after = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    del after[copy / "digest.sig"]
    assert after == before


def test_a_signature_that_nobody_asks_for_is_a_note(
    copy: Path, keys: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    signed_by(copy, keys["alice"])
    assert app.main(["verify", str(copy), "--digest", str(seal.head(copy))]) == 0
    assert "note       digest.sig was not judged" in capsys.readouterr().out


def test_ssh_keygen_alone_can_check_it_as_the_documentation_says(
    copy: Path, keys: dict[str, Path], allowed: Path
) -> None:
    signed_by(copy, keys["alice"])
    last = (copy / "digests.jsonl").read_bytes().splitlines(keepends=True)[-1]
    signed = hashlib.sha256(last).hexdigest() + "\n"
    argv = ["ssh-keygen", "-Y", "verify", "-n", "meshmark", "-f", str(allowed), "-I", "alice"]
    done = subprocess.run([*argv, "-s", str(copy / "digest.sig")], input=signed, text=True, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("signer", "after", "says"),
    [
        pytest.param("", lambda run: None, "there is no such file", id="no signature"),
        pytest.param("mallory", lambda run: None, "does not allow", id="a key for something else"),
        pytest.param("alice", consistent, "does not hold for this run's digest", id="a consistent forgery"),
        pytest.param("alice", same_number, "None of the allowed signers has signed", id="a changed file"),
        pytest.param(
            "alice",
            lambda run: (run / "digest.sig").write_text("so it is\n"),
            "does not hold for this run's digest: Couldn't parse signature",
            id="no signature at all",
        ),
        pytest.param("alice", lambda run: (run / "digests.jsonl").unlink(), "has no digest", id="no chain"),
    ],
)
def test_what_the_allowed_signers_did_not_sign_is_not_sound(
    copy: Path,
    keys: dict[str, Path],
    allowed: Path,
    capsys: pytest.CaptureFixture[str],
    signer: str,
    after: Tamper,
    says: str,
) -> None:
    if signer:
        signed_by(copy, keys[signer])
    after(copy)
    assert app.main(["verify", str(copy), "--allowed-signers", str(allowed)]) == 1
    told = capsys.readouterr().out
    assert says in told
    assert "signed the digest of this record" not in told


def test_a_key_that_is_not_listed_is_named(
    copy: Path, keys: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    signed_by(copy, keys["mallory"])
    (tmp_path / "signers").write_text(f"alice {keys['alice'].with_suffix('.pub').read_text()}")
    capsys.readouterr()
    assert app.main(["verify", str(copy), "--allowed-signers", str(tmp_path / "signers")]) == 1
    assert "it is by the ED25519 key SHA256:" in capsys.readouterr().out


def public(key: Path) -> str:
    return key.with_suffix(".pub").read_text().strip()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param('git namespaces="git" {key}\nalice {key}', "alice", id="a line for something else before"),
        pytest.param('git valid-before="20010101" {key}\nalice {key}', "alice", id="an old line before"),
        pytest.param("# {key}\n\n  # git {key}\nalice {key}", "alice", id="comments before"),
        pytest.param("!bob@example.com,*@example.com {key}", "*@example.com", id="an excluded name first"),
    ],
)
def test_a_key_may_have_several_lines_and_no_excluded_name_is_told(
    copy: Path, keys: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, told: str
) -> None:
    signed_by(copy, keys["alice"])
    (tmp_path / "signers").write_text(text.format(key=public(keys["alice"])) + "\n")
    capsys.readouterr()
    assert app.main(["verify", str(copy), "--allowed-signers", str(tmp_path / "signers")]) == 0
    assert f"signed     by {told} with the ED25519 key SHA256:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('alice namespaces="git" {key}', "line 1: key is not permitted for use in signature namespace"),
        ("!alice {key}", "no line has a name for this key"),
    ],
)
def test_a_line_that_does_not_allow_it_says_why(
    copy: Path, keys: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, says: str
) -> None:
    signed_by(copy, keys["alice"])
    (tmp_path / "signers").write_text(line.format(key=public(keys["alice"])) + "\n")
    capsys.readouterr()
    assert app.main(["verify", str(copy), "--allowed-signers", str(tmp_path / "signers")]) == 1
    assert says in capsys.readouterr().out


def test_allowed_signers_that_cannot_be_read_are_a_mistake_of_the_command_line(
    copy: Path, keys: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    signed_by(copy, keys["alice"])
    for file in (tmp_path, tmp_path / "none", Path("/proc/self/mem")):  # that one opens, and has nothing to read
        assert app.main(["verify", str(copy), "--allowed-signers", str(file)]) == UsageError.exit_code
        assert f"cannot read {file}" in capsys.readouterr().err


class Stopped(Silent):
    def phase(self, text: str) -> None:
        if "search, " in text:
            raise KeyboardInterrupt


def test_a_run_that_was_interrupted_is_sealed_and_not_signed(
    tmp_path: Path, keys: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", plan_of(DataPlane.PLAIN), progress=Stopped())
    assert seal.check(tmp_path / "run").complete
    assert app.main(["sign", str(tmp_path / "run"), "--key", str(keys["alice"])]) == RecordError.exit_code
    assert "is interrupted, and only a complete one is signed" in capsys.readouterr().err
    assert not (tmp_path / "run" / "digest.sig").exists()


def test_a_link_that_leads_nowhere_is_not_written_through(copy: Path, keys: dict[str, Path], tmp_path: Path) -> None:
    (copy / "digest.sig").symlink_to(tmp_path / "elsewhere")
    assert app.main(["sign", str(copy), "--key", str(keys["alice"])]) == UsageError.exit_code
    assert not (tmp_path / "elsewhere").exists()


def test_a_full_disk_is_told_and_leaves_no_part_of_a_signature(
    copy: Path, keys: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.open

    def full(path: Path, mode: str = "r", **named: Any) -> Any:
        file = real(path, mode, **named)
        if path.name == seal.SIGNATURE and "r" not in mode:

            def write(text: str) -> int:
                raise OSError(errno.ENOSPC, "full")

            monkeypatch.setattr(file, "write", write, raising=False)
        return file

    monkeypatch.setattr(Path, "open", full)
    assert app.main(["sign", str(copy), "--key", str(keys["alice"])]) == NoSpace.exit_code
    assert not (copy / "digest.sig").exists()


def test_a_person_sees_what_ssh_keygen_says_while_it_waits(
    copy: Path, keys: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    signed_by(copy, keys["alice"])
    assert "Signing data" not in capfd.readouterr().err
    (copy / "digest.sig").unlink()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    signed_by(copy, keys["alice"])
    assert "Signing data" in capfd.readouterr().err
    (copy / "digest.sig").unlink()
    assert app.main(["sign", str(copy), "--key", "none"]) == UsageError.exit_code
    assert "No such file or directory" in capfd.readouterr().err


@pytest.mark.parametrize("change", [same_number, lambda run: (run / "finished.json").unlink()])
def test_what_is_not_as_it_was_sealed_is_not_signed(copy: Path, keys: dict[str, Path], change: Tamper) -> None:
    change(copy)
    assert app.main(["sign", str(copy), "--key", str(keys["alice"])]) == RecordError.exit_code
    assert not (copy / "digest.sig").exists()


def test_what_cannot_be_signed_says_why(
    copy: Path, keys: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = str(keys["alice"])
    assert app.main(["sign", str(copy), "--key", str(tmp_path / "none")]) == UsageError.exit_code
    assert "No such file or directory" in capsys.readouterr().err
    assert app.main(["sign", str(tmp_path / "none"), "--key", key]) == RecordError.exit_code
    (tmp_path / "empty").mkdir()
    assert app.main(["sign", str(tmp_path / "empty"), "--key", key]) == RecordError.exit_code
    assert "nothing to sign" in capsys.readouterr().err
    signed_by(copy, keys["alice"])
    assert app.main(["sign", str(copy), "--key", key]) == UsageError.exit_code
    assert "is there already" in capsys.readouterr().err
    assert app.main(["verify", str(copy), "--allowed-signers", str(tmp_path / "none")]) == UsageError.exit_code


def test_without_ssh_keygen_that_is_what_is_missing(
    copy: Path,
    keys: dict[str, Path],
    allowed: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    signed_by(copy, keys["alice"])
    monkeypatch.setenv("PATH", "/nowhere")
    for argv in (["verify", str(copy), "--allowed-signers", str(allowed)], ["verify", str(copy)]):
        app.main(argv)
    said = capsys.readouterr()
    assert said.err.count("there is no ssh-keygen on PATH") == 1
    (copy / "digest.sig").unlink()
    assert app.main(["sign", str(copy), "--key", str(keys["alice"])]) == 1
