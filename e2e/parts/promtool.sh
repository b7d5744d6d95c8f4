#!/usr/bin/env bash
# promtool.sh ARGUMENT...: Prometheus' own checker for rules, unpacked from Debian once; its exit code is promtool's.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
folder=$PITR_CACHE/promtool
hold promtool
if outdated "$folder" "$PARTS/debs.sh" "$PARTS/promtool.sh" "$PITR_DEBIAN_SUITE"; then
  "$PARTS/debs.sh" "$folder" promtool
  built
fi
# It wants a newer libc than the machine may have, so its own loader starts it.
loader=$(echo "$folder"/usr/lib/*/ld-linux-*.so.*)
exec "$loader" --library-path "${loader%/*}" "$folder/usr/bin/promtool" "$@"
