#!/bin/sh
# Writes the locks anew from pyproject.toml. Needs uv. Whatever index uv is set to use, no address is written.
set -eu
cd "$(dirname "$0")/.."

lock() {
    out=$1
    shift
    uv pip compile pyproject.toml "$@" --group build --universal --python-version 3.11 \
        --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate \
        --custom-compile-command requirements/update.sh --quiet --upgrade --output-file "requirements/$out"
}

lock run.txt --extra lab --extra k8s --extra report --extra metrics --extra live
# One environment can hold both: whatever both name has one version.
lock dev.txt --extra lab --extra k8s --extra report --extra metrics --extra live --extra parquet --extra dev \
    --constraint requirements/run.txt
