#!/usr/bin/env bash
# down.sh [local]: ends the demo on every kind of cluster, or (local) only one without a cluster. Nothing is left but the cache.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../parts/env.sh"
if [ "${1:-}" != local ]; then
  CLUSTER=node CLUSTER_NAME=demo "$REPOSITORY/e2e/cluster.sh" down
  if [ "${CLUSTER:-}" = kind ]; then CLUSTER_NAME=demo "$REPOSITORY/e2e/cluster.sh" down; fi
fi
for file in "$PITR_CACHE"/state/local/*.pid; do # a local demo that was cut off
  [ -s "$file" ] || continue
  pid=$(cat "$file")
  # The pid may be another's by now: only a process that works in our folder is ours.
  if tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF "$PITR_CACHE/state/local"; then kill -- "-$pid" 2>/dev/null || true; fi
done
rm -rf "$PITR_CACHE/state/local"
