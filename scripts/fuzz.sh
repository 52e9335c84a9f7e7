#!/usr/bin/env bash
# Runs the fuzz targets with coverage. usage: scripts/fuzz.sh FOLDER    (or `make fuzz`)
# FUZZ_SECONDS: time of each target (600). FUZZ_TARGET: only this one. A finding ends the run with the input's path.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:?usage: scripts/fuzz.sh FOLDER}
seconds=${FUZZ_SECONDS:-600}
triple=$(rustc -vV | sed -n 's/^host: //p')

# Coverage by the passes of LLVM that the stable compiler has. With --target it stays out of build scripts.
flags="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
flags+=" -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
flags+=" -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions=on --cfg fuzzing"
RUSTFLAGS=$flags CARGO_TARGET_DIR=$folder/target CARGO_PROFILE_RELEASE_LTO=off \
  cargo build --release -p fuzz --features libfuzzer --target "$triple" --locked
binary=$folder/target/$triple/release/fuzz

targets=${FUZZ_TARGET:-$(sed -n 's/.*Target { name: "\([a-z-]*\)".*/\1/p' fuzz/src/lib.rs)}
for target in $targets; do
  mkdir -p "$folder/corpus/$target" "$folder/findings"
  echo "== $target, $seconds s"
  # The log's target writes and syncs folders: in memory it is a hundred times as fast.
  FUZZ_TARGET=$target FUZZ_CORPUS=$folder/corpus/$target TMPDIR=${FUZZ_TMPDIR:-/dev/shm} \
    "$binary" "$folder/corpus/$target" -max_total_time="$seconds" -rss_limit_mb=1024 \
    -max_len=4096 -timeout=20 -artifact_prefix="$folder/findings/$target-" -print_final_stats=1 2>&1 |
    grep -E '^(stat::|SUMMARY|==|artifact|thread|  (left|right))|ERROR|DONE|panicked' || exit 1
done
