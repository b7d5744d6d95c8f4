#!/usr/bin/env bash
# version.sh [TAG]: the version of the workspace. With a tag it fails unless the tag is that version's.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
version=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"/\1/p' Cargo.toml)
[ -n "$version" ] || { echo "version.sh: Cargo.toml has no version" >&2; exit 1; }
if [ $# -gt 0 ] && [ "$1" != "v$version" ]; then
  echo "version.sh: the tag is $1, and Cargo.toml says $version" >&2
  exit 1
fi
echo "$version"
