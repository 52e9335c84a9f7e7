#!/usr/bin/env bash
# Makes the root folder of the image: the binary, the libraries that it is linked with, what TLS and Unix need. The
# Dockerfile runs it, and so does the test that starts the binary in such a root.
set -euo pipefail
binary=${1:?usage: image-root.sh BINARY DIR}
root=${2:?usage: image-root.sh BINARY DIR}

install -D -m 755 "$binary" "$root/usr/bin/crescendo"
# Paths of the loader and of each library; the kernel's own has none.
ldd "$binary" | grep -oE '/[^ ]+' | sort -u | while read -r library; do
  install -D -m 755 "$library" "$root$library"
done
install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
mkdir -p "$root/etc" "$root/data" "$root/models" "$root/tmp"
chmod 1777 "$root/tmp"
echo 'crescendo:x:65532:65532::/data:/' >"$root/etc/passwd"
echo 'crescendo:x:65532:' >"$root/etc/group"
if [ "$(id -u)" = 0 ]; then
  chown 65532:65532 "$root/data" "$root/models"
fi
