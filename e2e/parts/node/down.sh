#!/usr/bin/env bash
# down.sh [--keep]: ends a cluster: processes, mounts, cgroups and state. --keep leaves the state (etcd, volumes,
# certificates) for the next up.sh: a power cut.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
if [ -z "${PITR_NODE_LOCKED:-}" ]; then hold "node-$node_id"; fi

gone() { # gone COMMAND...: waits until the command fails
  local _
  for _ in $(seq 300); do
    "$@" >/dev/null 2>&1 || return 0
    sleep 0.1
  done
  return 1
}
remove_groups() { # fails as long as the folder is there; its last processes may take the kernel a moment
  find "$1" -depth -type d -exec rmdir {} + 2>/dev/null || true
  [ -d "$1" ]
}

if pid=$(node_pid); then
  kill -9 "$pid" # with the first process of a pid namespace go all others, and with them the mounts
  gone node_pid || die "the node's first process, $pid, does not end"
fi
while read -r _ folder; do
  gone remove_groups "$folder" || die "cgroup $folder does not go away"
done < <(cat "$PITR_NODE_STATE/cgroups" 2>/dev/null || node_cgroups)
if [ "${1:-}" = --keep ]; then
  rm -f "$PITR_NODE_STATE"/{node.pid,ready,kubeconfig,api.address,cgroups}
else
  rm -rf --one-file-system "$PITR_NODE_STATE"
fi
