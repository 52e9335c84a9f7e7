#!/usr/bin/env bash
# Builds the cluster of the tests (e2e/controlplane: API server, controller manager, etcd and kubectl in one
# binary) into DIR/controlplane. What is there already is left as it is while its sources are the same.
# It takes 10 to 20 minutes of two cores and 4 GB of disk while it builds; what it downloads and compiles
# on the way (DIR/making) is removed once the binary is there. Without Go it says so, and the tests that need
# a cluster say that they did not run.
set -euo pipefail
dir=${1:?usage: install-controlplane.sh DIR}
sources=$(cd "$(dirname "$0")/../e2e/controlplane" && pwd)

stamp=$(cat "$sources"/{main.go,go.mod,go.sum} "$0" | sha256sum | cut -d' ' -f1)
if [ -x "$dir/controlplane" ] && [ "$(cat "$dir/stamp" 2>/dev/null)" = "$stamp" ]; then
  exit 0
fi
if ! command -v go >/dev/null; then
  echo "no Go here: the tests that need a cluster will not run" >&2
  exit 0
fi

mkdir -p "$dir/making"
export GOMODCACHE=$dir/making/mod GOCACHE=$dir/making/build CGO_ENABLED=0 GOFLAGS="-modcacherw -buildvcs=false"
cd "$sources"
version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
IFS=. read -r major minor _ <<<"${version#v}"
echo "building the cluster of the tests, Kubernetes $version, into $dir" >&2
variables="-s -w"
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
  variables+=" -X $package.gitVersion=$version -X $package.gitMajor=$major -X $package.gitMinor=$minor"
done
nice go build -mod=readonly -p 2 -trimpath -ldflags "$variables" -o "$dir/making/controlplane" .
mv "$dir/making/controlplane" "$dir/controlplane"
echo "$stamp" >"$dir/stamp"
rm -rf "$dir/making"
