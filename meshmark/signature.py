"""A signature over the digest of a run, made and checked by OpenSSH's `ssh-keygen`: who vouches for a record.

    printf '%s\\n' DIGEST | ssh-keygen -Y sign -n meshmark -f KEY > DIR/digest.sig
    printf '%s\\n' DIGEST | ssh-keygen -Y verify -n meshmark -f ALLOWED -I WHO -s DIR/digest.sig

The digest is that of the last line of the hash chain (`seal.py`), and the file lies beside the record without being a
part of it. Keys are given to `ssh-keygen` by their path, and never read here.

Limits: a signature tells who had the key, not when, and not that the run was honest.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from meshmark import seal
from meshmark.errors import MissingRequirement, NoSpace, RecordError, UsageError
from meshmark.store import GrowingRun

NAMESPACE = "meshmark"
"""A signature that was made for something else does not hold for a run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Signature:
    """What was found beside a record. `key`: kind and fingerprint, where the signature is over this digest; `signer`:
    the first name that the allowed signers have for it; `problem`: why there is none, empty where there is one."""

    key: str | None = None
    signer: str | None = None
    problem: str = ""


def sign(directory: Path, key: Path) -> Signature:
    """Signs the digest of a complete run that is as it was sealed. `key` is a private one, or a public one whose
    private one ssh-agent holds; `ssh-keygen` itself asks for a passphrase, or to touch the key. Raises
    MissingRequirement without `ssh-keygen`, UsageError where it cannot sign or a signature is there, RecordError where
    there is nothing to stand for, NoSpace."""
    if not directory.is_dir():
        raise RecordError(f"there is no directory {directory}", hint="give the directory that `meshmark run` printed")
    path = directory / seal.SIGNATURE
    if os.path.lexists(path):
        raise UsageError(f"{path} is there already", hint="remove it to sign anew")
    digest = _digest_to_sign(directory)
    done = _ssh_keygen("sign", digest, "-f", str(key), aloud=sys.stderr.isatty())
    if done.returncode:
        raise UsageError(
            f"ssh-keygen cannot sign with {key}: {_reason(done)}",
            hint="give a private key, or a public one whose private one ssh-agent holds",
        )
    _write(path, done.stdout)
    return Signature(key=_key(path, digest)[0])


def _write(path: Path, text: str) -> None:
    """A new file, or none: a part of a signature is none. Beside the record no other name is free of its chain."""
    try:
        with path.open("x", encoding="utf-8") as file:
            try:
                file.write(text)
                file.flush()
            except OSError:
                path.unlink()
                raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace(f"no space left for {path}", hint="free some, and sign again") from error
        raise RecordError(f"cannot write {path}: {error.strerror}", hint="make the directory writable") from error


def check(directory: Path, digest: str | None, allowed_signers: Path) -> Signature:
    """Who signed this digest, of those in a file as ssh-keygen(1) has it under ALLOWED SIGNERS. Raises
    MissingRequirement without `ssh-keygen`, UsageError where that file cannot be read."""
    try:
        lines = allowed_signers.read_bytes().split(b"\n")
    except OSError as error:
        raise UsageError(
            f"cannot read {allowed_signers}: {error.strerror}",
            hint="give a file whose lines are `NAME KEY`, KEY as in a public key's file",
        ) from error
    path = directory / seal.SIGNATURE
    if not path.is_file():
        return Signature(problem="there is no such file: nobody has signed the run, or the file was left behind")
    if digest is None:
        return Signature(problem="the run has no digest that could be signed")
    key, reason = _key(path, digest)
    if key is None:
        return Signature(problem=f"it does not hold for this run's digest: {reason}")
    reason = "no line has a name for this key"
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith(b"#"):
            continue
        signer, why = _signer(line, digest, path)
        if signer is not None:
            return Signature(key=key, signer=signer)
        reason = f"line {number}: {why}" if why else reason
    return Signature(key=key, problem=f"it is by the {key}, which {allowed_signers} does not allow: {reason}")


def _signer(line: bytes, digest: str, path: Path) -> tuple[str | None, str]:
    """The first name that a line of allowed signers has for the signature, if the line allows it; or else what is
    wrong with the line, if anything is. Line by line, since ssh-keygen names those of the first line with the key
    alone, whatever that is for. A name that is excluded is none."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(line + b"\n")
        file.flush()
        found = _ssh_keygen("find-principals", digest, "-f", file.name, "-s", str(path))
        names = found.stdout.split("\n")[:-1] if found.returncode == 0 else []
        said = [_reason(found)]
        for name in names:
            if name.startswith("!"):
                continue
            held = _ssh_keygen("verify", digest, "-f", file.name, "-I", name, "-s", str(path))
            if held.returncode == 0:
                return name, ""
            said.append(_reason(held))
        here = f"{file.name}:1: "
        return None, next((text.removeprefix(here) for text in reversed(said) if text.startswith(here)), "")


def _digest_to_sign(directory: Path) -> str:
    try:
        integrity = seal.check(directory)
    except OSError as error:
        raise RecordError(
            f"{error.filename} cannot be read: {error.strerror}", hint="the record is damaged"
        ) from error
    if integrity.head is None:
        raise RecordError(
            f"{directory} has no {seal.NAME}, so there is nothing to sign",
            hint="give the directory that `meshmark run` printed",
        )
    changed = [each.file for each in integrity.breaks] + list(integrity.unsealed)
    if changed or not integrity.complete:
        why = f"not as it was sealed: {changed[0]}" if changed else "not sealed to its end"
        raise RecordError(f"the record in {directory} is {why}", hint=f"`meshmark verify {directory}` tells more")
    finished = GrowingRun(directory).finished()
    if finished is None or finished.outcome != "complete":
        outcome = finished.outcome if finished else "not over"
        raise RecordError(
            f"the run in {directory} is {outcome}, and only a complete one is signed", hint="sign another run"
        )
    return integrity.head


def _key(path: Path, digest: str) -> tuple[str | None, str]:
    """The key by which the signature holds, whoever has it; without one, why."""
    done = _ssh_keygen("check-novalidate", digest, "-s", str(path))
    said = re.search(r"with (\S+ key \S+)", done.stdout)
    return (said[1] if said and done.returncode == 0 else None), _reason(done)


def _ssh_keygen(verb: str, digest: str, *options: str, aloud: bool = False) -> subprocess.CompletedProcess[str]:
    """`aloud`: what it says goes to the person at once, since a FIDO key waits until it is touched."""
    program = shutil.which("ssh-keygen")
    if program is None:
        raise MissingRequirement(
            "there is no ssh-keygen on PATH, which makes and checks signatures",
            hint="install OpenSSH's client (Debian: apt-get install openssh-client)",
        )
    argv = [program, "-Y", verb, "-n", NAMESPACE, *options]
    return subprocess.run(
        argv,
        input=f"{digest}\n",
        stdout=subprocess.PIPE,
        stderr=None if aloud else subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
    )


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """The first thing that was said about an error."""
    told = [line for line in (done.stderr or "").splitlines() if line and not line.startswith("Signing data")]
    return told[0] if told else f"ssh-keygen ended with {done.returncode}"
