#!/usr/bin/env bash
# Builds the image without a container engine: buildah in a chroot, as root. The base is Debian 12 with its Python 3.11
# in place of python:3.11-slim-bookworm. All files are written below the given directory.
#   ops/image/build_without_engine.sh /var/tmp/image     then: buildah --root /var/tmp/image/storage images
set -euo pipefail
cd "$(dirname "$0")/../.."
directory=${1:?usage: build_without_engine.sh DIRECTORY}
mkdir -p "$directory"
# A separate storage leaves the images of the machine unchanged. vfs works without overlay mounts.
driver=overlay
[[ $(stat -f -c %T "$directory") == overlayfs ]] && driver=vfs
buildah() { command buildah --root "$directory/storage" --runroot "$directory/run" --storage-driver "$driver" "$@"; }

base=localhost/python:3.11-slim-bookworm
if ! buildah inspect --type image "$base" >/dev/null 2>&1; then
  container=$(buildah from scratch)
  root=$(buildah mount "$container")
  debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$root" >"$directory/debootstrap.log"
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
  rm -rf "$root"/usr/share/{doc,info,locale,man}/* # as Debian's slim images do
  ln -sf python3 "$root/usr/bin/python"
  buildah umount "$container" >/dev/null
  buildah commit --quiet --rm --disable-compression "$container" "$base" >/dev/null
fi

revision=$(git rev-parse HEAD 2>/dev/null || true)
version=$(git describe --tags --always --dirty 2>/dev/null || echo development)

# The private package index and certificates that pip uses on this machine, if any.
volumes=()
for file in /etc/pip.conf "${PIP_CERT:-}" "$(python3 -m pip config get global.cert 2>/dev/null || true)"; do
  [[ -f $file ]] && volumes+=(--volume "$file:$file:ro")
done
buildah bud --quiet --isolation chroot --layers --target platform --build-arg BASE="$base" "${volumes[@]}" \
  --build-arg VERSION="$version" --build-arg REVISION="$revision" \
  --format docker -f ops/Dockerfile -t localhost/coursebus .
