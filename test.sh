#!/bin/sh
# Runs every check and test: `./test.sh`. With arguments, pytest alone gets them: `./test.sh tests/unit -k plan`.
# The first call sets up .venv from requirements/dev.txt. Tests that this machine cannot run are skipped with the
# reason; MESHMARK_CI=1 makes such a skip a failure.
set -eu
. "$(dirname -- "$0")/requirements/venv.sh"
set_up dev
cd "$here"
PATH=$venv/bin:$PATH

if [ $# -gt 0 ]; then
    exec pytest "$@"
fi

# CI's machine may be fresh; a person's machine is left as it is, and tests that need one of these skip.
if [ "${CI:-}" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    missing=
    command -v chromium >/dev/null || missing=chromium
    command -v promtool >/dev/null || missing="$missing prometheus"
    command -v ssh-keygen >/dev/null || missing="$missing openssh-client"
    if [ "$missing" ]; then
        say "installing with apt-get: $missing"
        quietly apt-get -q update
        quietly env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install $missing
        rm -f "$venv_log"
    fi
fi

step() {
    printf '\n== %s\n' "$*"
    "$@"
}

step ruff check .
step ruff format --check .
step mypy
step lint-imports
# Tests share the CPUs, neighbours with their fixtures in one process; those of the lab have the machine for themselves.
step pytest tests/unit tests/docs --numprocesses logical --maxprocesses 8 --dist worksteal --durations 15
step pytest tests/lab --durations 15
step pytest tests/kubernetes --durations 15
