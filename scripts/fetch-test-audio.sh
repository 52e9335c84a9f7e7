#!/usr/bin/env bash
# Fetches the reference recordings of the speech tests, with the texts that were read.
#
#   usage: scripts/fetch-test-audio.sh DIR
#
# Into DIR: *.wav and, for each, *.txt. Nothing is installed into the system; what comes from where:
#   - Debian package pocketsphinx-testdata (apt-get download): five sentences of a public domain
#     LibriVox reading, 25 s;
#   - crate transcribe-rs 0.3.12 (cargo fetch): jfk.wav, 11 s, a work of the US government.
# Runs again without doing anything once all files are there.
set -euo pipefail
[ $# -eq 1 ] || { sed -n '2,5p' "$0" >&2; exit 2; }
mkdir -p "$1"
dir=$(cd "$1" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

fetch_librivox() {
  echo "fetching Debian package pocketsphinx-testdata (2 MB) with apt-get download" >&2
  cd "$tmp"
  # A fresh machine knows no packages yet.
  apt-get download pocketsphinx-testdata >&2 2>/dev/null || {
    echo "updating the list of Debian packages first" >&2
    if [ "$(id -u)" -eq 0 ]; then apt-get update -q >&2; else sudo -n apt-get update -q >&2; fi
    apt-get download pocketsphinx-testdata >&2
  }
  dpkg-deb -x pocketsphinx-testdata_*.deb files
  local data=files/usr/share/pocketsphinx/test/data/librivox wav id
  for wav in "$data"/*.wav; do
    id=$(basename "$wav" .wav)
    # A line: <s> the text </s> (id)
    sed -n "s|^<s> \(.*\) </s> ($id)\$|\1|p" "$data/transcription" > "$tmp/text"
    [ -s "$tmp/text" ] || continue
    cp "$tmp/text" "$dir/librivox-${id##*-}.txt"
    cp "$wav" "$dir/librivox-${id##*-}.wav"
  done
}

fetch_jfk() {
  echo "fetching crate transcribe-rs 0.3.12 with cargo fetch" >&2
  mkdir -p "$tmp/crate/src"
  cd "$tmp/crate"
  : > src/lib.rs
  printf '%s\n' '[package]' 'name = "fetch"' 'version = "0.0.0"' 'edition = "2021"' '[workspace]' \
    '[dependencies]' 'transcribe-rs = { version = "=0.3.12", default-features = false }' > Cargo.toml
  cargo fetch --quiet >&2
  local manifest
  manifest=$(cargo metadata --format-version 1 --quiet |
    grep -o '"manifest_path":"[^"]*/transcribe-rs-0.3.12/Cargo.toml"' | cut -d'"' -f4)
  echo "and so my fellow americans ask not what your country can do for you ask what you can do for your country" \
    > "$dir/jfk.txt"
  cp "$(dirname "$manifest")/samples/jfk.wav" "$dir/jfk.wav"
}

[ "$(find "$dir" -name 'librivox-*.wav' | wc -l)" -eq 5 ] || (fetch_librivox)
[ -f "$dir/jfk.wav" ] || (fetch_jfk)
echo "reference audio: $(find "$dir" -name '*.wav' | wc -l) recordings in $dir" >&2
