#!/bin/sh
# Makes .venv and installs one profile of requirements into it (hashes checked). Quick when nothing has changed.
#   tools/setup.sh stack|dev
set -eu
cd "$(dirname "$0")/.."
profile=${1:?usage: tools/setup.sh stack|dev}
wanted="requirements/$profile.txt"
[ -f "$wanted" ] || { echo "setup: no $wanted; profiles: stack, dev" >&2; exit 2; }

fail() { echo "setup: $1" >&2; exit 1; }

# uv brings its own list of certificate authorities; pip, which fetches it, asks the system (two names: uv renamed it).
export UV_NATIVE_TLS="${UV_NATIVE_TLS:-true}" UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-true}"

stamp=".venv/.installed-$profile"
sum=$(cat "$wanted" requirements/tools.txt pyproject.toml | cksum)
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$sum" ] && [ -x .venv/bin/banyan ] && exit 0

if [ ! -x .venv/bin/python ]; then
    python=""
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python3.14; do
        if command -v "$candidate" >/dev/null 2>&1 && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python=$candidate
            break
        fi
    done
    [ -n "$python" ] || fail "needs Python 3.11 or newer; install it, or name it: make setup PYTHON=/path/to/python3"
    echo "setup: making .venv with $($python --version)"
    "$python" -m venv .venv || { rm -rf .venv; fail "could not make a virtual environment: install your system's python3-venv package"; }
fi
if ! .venv/bin/python -m uv --version >/dev/null 2>&1; then
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/tools.txt \
        || fail "could not install uv: is a package index within reach (pip config list)?"
fi
echo "setup: installing $(grep -c '==' "$wanted") packages ($profile)"
.venv/bin/python -m uv pip install --quiet --python .venv/bin/python --require-hashes -r "$wanted" || fail "could not install $wanted: see the lines above"
.venv/bin/python -m uv pip install --quiet --python .venv/bin/python --no-deps -e . || fail "could not install Banyan itself"
printf '%s\n' "$sum" > "$stamp"
# dev holds all of stack.
[ "$profile" = dev ] && cat requirements/stack.txt requirements/tools.txt pyproject.toml | cksum > .venv/.installed-stack
echo "setup: done"
