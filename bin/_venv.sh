# shellcheck shell=sh
# Shared by bin/dev and bin/test, which source it from the repository's root: finds a Python and makes .venv with it.

# Prints the first Python that is new enough and can make virtual environments. Each is run, not only looked up: a shim may be
# there for a version that is not.
find_python() {
    unfit=
    for candidate in "${PYTHON:-}" python3.14 python3.13 python3.12 python3.11 python3 python; do
        [ -n "$candidate" ] || continue
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' </dev/null >/dev/null 2>&1 || continue
        if "$candidate" -c 'import ensurepip, venv' </dev/null >/dev/null 2>&1; then
            printf '%s\n' "$candidate"
            return 0
        fi
        unfit=${unfit:-$candidate}
    done
    if [ -n "$unfit" ]; then
        echo "chatrelay: $unfit has no venv module: install it (on Debian and Ubuntu the package python3-venv), or set PYTHON." >&2
    else
        echo "chatrelay: no Python 3.11 or later was found: install one, or set PYTHON to its path." >&2
    fi
    return 1
}

# ensure_venv LOCK_FILE...: makes .venv hold the first one; the others are part of it.
ensure_venv() {
    python=$(find_python) || exit 1
    "$python" -I dev/installation.py "$@" </dev/null || exit 1
    PATH=$PWD/.venv/bin:$PATH
    export PATH
}
