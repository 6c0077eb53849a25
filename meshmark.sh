#!/bin/sh
# Runs meshmark from this checkout: `./meshmark.sh VERB...`. The first call sets up .venv from requirements/run.txt.
set -eu
. "$(dirname -- "$0")/requirements/venv.sh"
set_up run
exec "$venv/bin/meshmark" "$@"
