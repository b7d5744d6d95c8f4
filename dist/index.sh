#!/usr/bin/env bash
# index.sh FOLDER: for a folder with the archives of all architectures: SHA256SUMS, the manifest for krew (pitr.yaml) and the formula for
# Homebrew (kubectl-pitr.rb), which both name the archives by their hashes.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ $# = 1 ] || { echo "usage: index.sh FOLDER" >&2; exit 2; }
version=$("$here/version.sh")
cd "$1"
hash_of() { # hash_of FILE
  [ -f "$1" ] || { echo "index.sh: $1 is missing" >&2; exit 1; }
  sha256sum "$1" | cut -d' ' -f1
}
amd64=$(hash_of "kubectl-pitr-$version-linux-amd64.tar.gz")
arm64=$(hash_of "kubectl-pitr-$version-linux-arm64.tar.gz")
fill() { sed -e "s/@VERSION@/$version/g" -e "s/@AMD64@/$amd64/g" -e "s/@ARM64@/$arm64/g" "$here/$1"; }
fill krew.yaml.in >pitr.yaml
fill homebrew.rb.in >kubectl-pitr.rb
sums=$(find . -maxdepth 1 -type f -not -name 'SHA256SUMS*' -printf '%f\n' | LC_ALL=C sort | xargs -d '\n' sha256sum)
printf '%s\n' "$sums" >SHA256SUMS
