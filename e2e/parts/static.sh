#!/usr/bin/env bash
# static.sh PROGRAM...: fails unless each program is static, so that it runs in an empty image and on any Linux.
set -euo pipefail
for program; do
  # An interpreter segment is what asks for a loader; a static-pie program has none.
  if ! headers=$(readelf --program-headers --wide "$program"); then exit 1; fi
  if grep -q INTERP <<<"$headers"; then
    echo "static.sh: $program is not static: it asks for $(sed -n 's/.*interpreter: \(.*\)]/\1/p' <<<"$headers")" >&2
    exit 1
  fi
done
