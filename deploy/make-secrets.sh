#!/bin/sh
# Writes .env beside docker-compose.yml with a fresh secret for every variable of deploy/env.example that has none.
# Secrets that .env has already are kept: a role's password cannot change behind the database's back.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
target=${1:-$root/.env}
umask 077
touch "$target"
chmod 600 "$target"

sed -n 's/^\([A-Z_]*\)=$/\1/p' "$root/deploy/env.example" | while read -r name; do
    if ! grep -q "^$name=." "$target"; then
        # Hexadecimal: it stands in URLs. 24 bytes from the kernel.
        printf '%s=%s\n' "$name" "$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')" >>"$target"
    fi
done
echo "secrets are in $target (mode 600)"
