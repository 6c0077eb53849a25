# Sourced by meshmark.sh and test.sh: keeps a virtual environment that holds what a lock file of this directory names.
# Needs a POSIX shell and Python 3.11+; where Python cannot make environments itself, uv or (as root) apt-get helps.
# Everything it says goes to standard error.
#
# MESHMARK_VENV    where the environment is; default: .venv in the checkout
# MESHMARK_PYTHON  the Python to use; default: python3, else the newest python3.x

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
venv=${MESHMARK_VENV:-$here/.venv}
venv_log=$venv.log

say() { printf 'meshmark: %s\n' "$*" >&2; }

# $1: what is wrong; $2: what to do. Exit code 1: something needed is missing.
die() {
    printf 'meshmark: %s\n  %s\n' "$1" "$2" >&2
    exit 1
}

quietly() {
    "$@" >>"$venv_log" 2>&1 && return
    tail -n 15 "$venv_log" | sed 's/^/    | /' >&2
    die "set-up failed at: $*" "the whole log: $venv_log; this command tries again from where it stopped"
}

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
can_make_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

# Sets $python: a new enough one that can make environments, else a new enough one.
find_python() {
    python=
    for candidate in ${MESHMARK_PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        command -v "$candidate" >/dev/null && is_new_enough "$candidate" || continue
        python=${python:-$candidate}
        if can_make_venv "$candidate"; then
            python=$candidate
            return
        fi
    done
    [ "$python" ] || die "no Python 3.11 or newer (${MESHMARK_PYTHON:-python3} is $(
        "${MESHMARK_PYTHON:-python3}" -c 'import platform; print(platform.python_version())' 2>/dev/null || echo missing))" \
        "install one (Debian 12, Ubuntu 24.04 and later: apt-get install python3 python3-venv), or name it in MESHMARK_PYTHON"
}

# Debian's bare python3 has no ensurepip.
make_venv() {
    if ! can_make_venv "$python" && ! command -v uv >/dev/null; then
        package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
        if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
            die "this Python cannot make virtual environments" "install $package (as root: apt-get install $package), or uv"
        fi
        say "installing $package with apt-get"
        quietly apt-get -q update
        quietly env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install "$package"
    fi
    if can_make_venv "$python"; then
        quietly "$python" -m venv --clear "$venv"
    else
        quietly uv venv --quiet --clear --seed --no-project --python "$python" "$venv"
    fi
}

# What an environment must have been made from: lock, package, place of checkout.
wanted() { printf '%s %s %s\n' "$1" "$(cat "$here/pyproject.toml" "$here/requirements/$1.txt" | cksum)" "$here"; }

is_current() { grep -qxF "$(wanted "$1")" "$venv/.made-from" 2>/dev/null && "$venv/bin/python" -c '' 2>/dev/null; }

# $1: run or dev. The environment of dev serves run as well.
set_up() {
    is_current "$1" && return
    parent=$(dirname -- "$venv")
    [ -d "$parent" ] || mkdir -p -- "$parent"
    if ! [ -w "$parent" ] || { [ -d "$venv" ] && ! [ -w "$venv" ]; }; then
        die "$venv is missing or out of date, and cannot be written by $(id -un)" \
            "set MESHMARK_VENV to a directory of yours, e.g. MESHMARK_VENV=\$HOME/.cache/meshmark/venv"
    fi
    find_python
    # The lock lasts as long as descriptor 9 is open in this shell, so a killed set-up blocks nobody.
    exec 9>"$venv.lock"
    "$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)'
    if ! is_current "$1"; then
        : >"$venv_log"
        if [ -d "$venv" ] && ! [ -f "$venv/pyvenv.cfg" ] && [ "$(ls -A "$venv")" ]; then
            die "$venv is not a virtual environment" "set MESHMARK_VENV to another directory, or to none"
        fi
        say "setting up $venv (once; about 120 MB to download)"
        rm -f "$venv/.made-from"
        "$venv/bin/python" -m pip --version >/dev/null 2>&1 && is_new_enough "$venv/bin/python" || make_venv
        set -- "$1" "$venv/bin/python" -m pip --quiet --disable-pip-version-check install --no-deps
        lock=$1
        shift
        quietly "$@" --only-binary :all: --require-hashes -r "$here/requirements/$lock.txt"
        quietly "$@" --no-build-isolation --no-index --editable "$here"
        wanted run >"$venv/.made-from"
        [ "$lock" = run ] || wanted "$lock" >>"$venv/.made-from"
        rm -f "$venv_log"
    fi
    exec 9>&-
}
