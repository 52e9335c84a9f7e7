#!/usr/bin/env bash
# Both commands of the README on a fresh machine: a new clone, an empty HOME, empty caches.
# The Rust toolchain is taken as it is; nothing else that lies outside the new directory is used.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
log=$work/up.log
up=
finish() {
  if [ -n "$up" ]; then kill -INT "$up" 2>/dev/null || true; wait "$up" 2>/dev/null || true; fi
  rm -rf "$work"
}
trap finish EXIT

git clone -q . "$work/crescendo"
ln -s "$(cd .. && pwd)/shared" "$work/shared"
export RUSTUP_HOME=${RUSTUP_HOME:-$HOME/.rustup} RUSTUP_BIN=${CARGO_HOME:-$HOME/.cargo}/bin
export PATH=$RUSTUP_BIN:$PATH HOME=$work/home CARGO_HOME=$work/home/.cargo
unset CRESCENDO_CACHE CARGO_TARGET_DIR XDG_CACHE_HOME
mkdir -p "$HOME"
cd "$work/crescendo"

echo "== cargo run --release -- up"
cargo build --release
started=$SECONDS
cargo run --release -- up >"$log" 2>&1 &
up=$!
until curl -sf http://127.0.0.1:2269/ready >/dev/null; do
  kill -0 "$up" || { cat "$log"; exit 1; }
  [ $((SECONDS - started)) -lt 300 ] || { cat "$log"; echo "not ready after 300 s" >&2; exit 1; }
  sleep 1
done
echo "ready $((SECONDS - started)) s after the build; it printed:"
cat "$log"
curl -sf http://127.0.0.1:9090/api/v1/autoscaling >/dev/null
kill -INT "$up"
wait "$up"
up=
echo "== make test"
make test
