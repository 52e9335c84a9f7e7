#!/usr/bin/env bash
# All measurements of docs/benchmarks.md, next to the peers, in one run. Takes about an hour and a half on two cores.
# usage: bench/run.sh BINARY PODS-BINARY      (or `make bench`)
# CRESCENDO_BENCH names the parts: transcription, engine, paths.
set -euo pipefail
cd "$(dirname "$0")/.."
usage='usage: bench/run.sh BINARY PODS-BINARY'
binary=${1:?$usage}
pods=${2:?$usage}
parts=${CRESCENDO_BENCH:-transcription engine paths}
cache=${CRESCENDO_CACHE:-$HOME/.cache/crescendo}
venv=$cache/bench-venv

echo "# $(date -u +%Y-%m-%d), $(nproc) cores, $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1)"
echo

if [[ " $parts " == *" transcription "* ]]; then
  if [ ! -x "$venv/bin/python" ]; then
    echo "installing faster-whisper (the peer) into $venv" >&2
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q faster-whisper==1.2.1
  fi
  "$venv/bin/python" bench/asr.py --binary "$binary" \
    --model "${CRESCENDO_MODEL_DIR:-$cache/models/tiny.en}" --audio "${CRESCENDO_AUDIO_DIR:-$cache/test-audio}"
  echo
fi

if [[ " $parts " == *" engine "* ]]; then
  for peer in prometheus victoria-metrics; do
    command -v "$peer" >/dev/null || echo "$peer is not installed (apt-get install prometheus victoria-metrics)" >&2
  done
  python3 bench/engine.py --binary "$binary" --pods-binary "$pods" --output "${CRESCENDO_BENCH_OUTPUT:-/dev/null}"
  echo
fi

if [[ " $parts " == *" paths "* ]]; then
  cargo bench -p datamodel -p promql -p tsdb -p scrape -p hpa --locked 2>/dev/null | grep -vE '^\s*$|^running|^test result'
fi
