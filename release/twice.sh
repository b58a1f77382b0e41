#!/usr/bin/env bash
# Builds the release binary twice from the last commit, in directories of different names, and compares the bytes.
set -euo pipefail
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
case $(uname -m) in x86_64) architecture=amd64 ;; *) architecture=arm64 ;; esac
for place in first another/and-longer; do
    mkdir -p "$scratch/$place"
    git archive HEAD | tar -x -C "$scratch/$place"
    (
        unset CARGO_TARGET_DIR
        cd "$scratch/$place"
        YADOKARI_COMMIT=${YADOKARI_COMMIT:-none} OUTPUT="$scratch/$place/dist" bash release/release.sh build "$architecture"
    )
    sha256sum "$scratch/$place/dist/bin/yadokari-$architecture"
done
cmp "$scratch/first/dist/bin/yadokari-$architecture" "$scratch/another/and-longer/dist/bin/yadokari-$architecture"
echo "twice: the same bytes"
