#!/usr/bin/env bash
# tools.sh [PACKAGE...]: makes sure that the ordinary programs which the parts need are on this machine. What is missing is installed
# with apt-get where we are root on Debian; else one line says what to install. PACKAGES are welcome too, but not needed. Go and Rust are the user's own.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

declare -A package=([cc]=gcc [curl]=curl [flock]=util-linux [ip]=iproute2 [make]=make [openssl]=openssl [python3]=python3
  [readelf]=binutils [unshare]=util-linux [xargs]=findutils [dpkg-deb]=dpkg)
missing=()
for program in "${!package[@]}"; do
  command -v "$program" >/dev/null || missing+=("${package[$program]}")
done
# Rust's C dependencies want the C library's headers, not only a compiler.
[ -e /usr/include/stdlib.h ] || missing+=(libc6-dev)
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  for extra; do command -v "$extra" >/dev/null || missing+=("$extra"); done
fi

if [ ${#missing[@]} -gt 0 ]; then
  mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    die "please install: ${missing[*]}"
  fi
  say "installing ${missing[*]}"
  apt-get -q update >/dev/null
  DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "${missing[@]}" >/dev/null
fi

python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "needs Python 3.11 or newer"
command -v cargo >/dev/null || die "needs Rust 1.95 or newer: https://rustup.rs"
if [ "${CLUSTER:-none}" = node ]; then
  command -v go >/dev/null || die "needs Go 1.25 or newer for the Kubernetes node: https://go.dev/dl"
fi
