#!/bin/sh
# Pins each extra of pyproject.toml into requirements/<extra>.txt, with hashes and without index addresses.
set -eu
cd "$(dirname "$0")/.."
for extra in legacy gateway compile service pricing devices cdc plan console agent load stack dev; do
    .venv/bin/python -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
        --no-header --extra "$extra" pyproject.toml -o "requirements/$extra.txt"
    echo "requirements/$extra.txt"
done
