#!/usr/bin/env bash
# Builds the image where no container engine runs: buildah in a chroot, as root, on a Debian base that stands in for
# python:3.11-slim (Debian 12 has Python 3.11). What it makes stays in the directory that is given.
#   ops/image/build_without_engine.sh /var/tmp/image     then: buildah --root /var/tmp/image/storage images
set -euo pipefail
cd "$(dirname "$0")/../.."
directory=${1:?where to put the storage}
mkdir -p "$directory"
# A storage of its own: the machine's images are left alone. vfs works without overlay mounts.
driver=overlay
[[ $(stat -f -c %T "$directory") == overlayfs ]] && driver=vfs
buildah() { command buildah --root "$directory/storage" --runroot "$directory/run" --storage-driver "$driver" "$@"; }

base=localhost/python:3.11-slim
if ! buildah inspect --type image "$base" >/dev/null 2>&1; then
  container=$(buildah from scratch)
  root=$(buildah mount "$container")
  debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$root" >"$directory/debootstrap.log"
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
  ln -sf python3 "$root/usr/bin/python"
  buildah umount "$container" >/dev/null
  buildah commit --quiet --rm --disable-compression "$container" "$base" >/dev/null
fi

# A company's own index and certificates, where this machine's pip is set up for them.
volumes=()
for file in /etc/pip.conf "${PIP_CERT:-}" "$(python3 -m pip config get global.cert 2>/dev/null || true)"; do
  [[ -f $file ]] && volumes+=(--volume "$file:$file:ro")
done
buildah bud --quiet --isolation chroot --layers=false --target platform --build-arg BASE="$base" "${volumes[@]}" \
  --format docker -f ops/Dockerfile -t localhost/coursebus .
