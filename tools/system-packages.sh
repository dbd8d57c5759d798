#!/bin/sh
# Installs the programs that tests and benches use and that are not Python packages. Says one clear line a program; never asks.
#   tools/system-packages.sh program=package …      e.g. chromium=chromium wrk=wrk java=default-jre-headless mvn=maven
set -eu
missing=""
for pair in "$@"; do
    program=${pair%%=*}
    if ! command -v "$program" >/dev/null 2>&1 && ! [ -x "/usr/sbin/$program" ]; then missing="$missing ${pair#*=}"; fi
done
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null 2>&1; then
    echo "system packages: missing$missing; install them with your system's package manager (tests that need them are skipped until then)"
    exit 0
fi
if [ "$(id -u)" = 0 ]; then as_root=""; elif sudo -n true 2>/dev/null; then as_root="sudo -n"; else
    echo "system packages: missing$missing; run: sudo apt-get install$missing (tests that need them are skipped until then)"
    exit 0
fi
echo "system packages: installing$missing"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
{ $as_root apt-get update -q && $as_root apt-get install -q -y --no-install-recommends $missing; } >/dev/null 2>&1 \
    || echo "system packages: apt-get install$missing failed; run it by hand to see why (tests that need them are skipped until then)"
