#!/bin/sh
# Fuzzes targets, each for a number of seconds: `fuzz/run.sh 600 dockerfile ignore`.
#
# What `cargo fuzz run` does, without its own installation; needs a nightly compiler and a C++ compiler. No sanitizer of
# memory: the code under test has no `unsafe`. Corpora and crashes stay below fuzz/target.
set -eu
cd "$(dirname "$0")"
seconds=$1
shift
flags='--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4'
flags="$flags -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
flags="$flags -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
place=${CARGO_TARGET_DIR:-target}
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS=$flags cargo +nightly build --release --target "$host" $(printf -- '--bin %s ' "$@")
for target in "$@"; do
    mkdir -p "$place/corpus/$target" "$place/crashes/$target"
    "$place/$host/release/$target" "$place/corpus/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
        -artifact_prefix="$place/crashes/$target/" ${FUZZ_OPTIONS:--print_final_stats=1}
done
