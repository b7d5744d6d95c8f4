#!/usr/bin/env bash
# programs.sh [PACKAGE...]: builds our programs as static files that run on any Linux of this architecture, whatever its C library, and
# prints their folder: kubectl-pitr, pitr-sidecar, and the test's s3-server. With PITR_BIN_DIR it builds nothing and prints that.
#   PITR_PROFILE    cargo's profile: release (default), or dist or dist-plugin, what is shipped: smaller, and slower to build
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
if [ -n "${PITR_BIN_DIR:-}" ]; then
  echo "$PITR_BIN_DIR"
  exit
fi
need cargo readelf
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PITR_CACHE/target}
triple=$(uname -m)-unknown-linux-gnu
# With --target these flags count for our programs only and not for what runs during the build.
flags=CARGO_TARGET_$(tr 'a-z-' 'A-Z_' <<<"$triple")_RUSTFLAGS
export "$flags=-C target-feature=+crt-static"
cd "$REPOSITORY"
[ $# -gt 0 ] || set -- kubectl-pitr pitr-sidecar pitr-s3-server
profile=${PITR_PROFILE:-release}
cargo build --profile "$profile" --locked --target "$triple" "${@/#/--package=}" >&2
folder=$CARGO_TARGET_DIR/$triple/$profile
for package; do "$PARTS/static.sh" "$folder/${package/pitr-s3-/s3-}"; done
echo "$folder"
