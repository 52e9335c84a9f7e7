#!/usr/bin/env bash
# All measurements of docs/benchmarks.md, next to the peers, in one run. Takes about an hour on two cores.
# usage: bench/run.sh BINARY      (or `make bench`)
set -euo pipefail
cd "$(dirname "$0")/.."
binary=${1:?usage: bench/run.sh BINARY}
cache=${CRESCENDO_CACHE:-$HOME/.cache/crescendo}
venv=$cache/bench-venv

if [ ! -x "$venv/bin/python" ]; then
  echo "installing faster-whisper (the peer) into $venv" >&2
  python3 -m venv "$venv"
  "$venv/bin/pip" install -q faster-whisper==1.2.1
fi

echo "# $(date -u +%Y-%m-%d), $(nproc) cores, $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1)"
echo
"$venv/bin/python" bench/asr.py --binary "$binary" \
  --model "${CRESCENDO_MODEL_DIR:-$cache/models/tiny.en}" --audio "${CRESCENDO_AUDIO_DIR:-$cache/test-audio}"
echo
cargo bench -p hpa -p scrape --locked 2>/dev/null | grep -vE '^\s*$|^running|^test result'
