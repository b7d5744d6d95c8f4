#!/usr/bin/env bash
# build.sh STORE...: builds object stores of the world, as far as they are missing or out of date.
#   rgw       Ceph's object gateway with a monitor and one OSD, from Debian packages: $PITR_CACHE/rgw (40 s once, 520 MB)
#   garage    Garage, from its crates: $PITR_CACHE/garage (15 min on 2 cores once, 60 MB)
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../env.sh"

build_rgw() {
  local root=$PITR_CACHE/rgw name
  local packages=(base-files bash coreutils radosgw ceph-mon ceph-osd ceph-common -- debconf 'perl*' 'libperl*')
  hold rgw
  if ! outdated "$root" "$PITR_DEBIAN_SUITE" "${packages[@]}" "$PARTS/stores/build.sh" "$PARTS/debs.sh"; then
    return
  fi
  "$PARTS/debs.sh" "$root.new" "${packages[@]}"
  echo 'root:x:0:0::/root:/bin/bash' >"$root.new/etc/passwd"
  echo '127.0.0.1 localhost' >"$root.new/etc/hosts"
  mkdir "$root.new/state"
  for name in null zero full random urandom; do : >"$root.new/dev/$name"; done
  say "$(sed -n 's/^\(radosgw_[^_]*\)_.*/\1/p' "$root.new/etc/debs.txt")"
  rm -rf "$root"
  mv "$root.new" "$root"
  built
}

build_garage() {
  local root=$PITR_CACHE/garage version=2.5.0
  hold garage
  if ! outdated "$root" "garage $version"; then return; fi
  need cargo cc
  CARGO_TARGET_DIR=$root.target cargo install garage --quiet --locked --version "$version" --root "$root.new" \
    --no-default-features --features bundled-libs,sqlite >&2
  rm -rf "$root" "$root.target"
  mv "$root.new" "$root"
  built
}

[ $# -gt 0 ] || die "usage: build.sh rgw|garage..."
for store; do
  case $store in
    rgw) build_rgw ;;
    garage) build_garage ;;
    *) die "there is no store \"$store\": rgw, garage" ;;
  esac
done
