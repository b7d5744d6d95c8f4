#!/usr/bin/env bash
# enter.sh COMMAND...         runs a command of the node inside the node (ctr, nft, bash)
# enter.sh --net COMMAND...   runs a program of the host in the node's network
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
pid=$(node_pid) || die "no cluster is up in $PITR_NODE_STATE"
if [ "${1:-}" = --net ]; then
  exec nsenter -t "$pid" --net -- "${@:2}"
fi
exec nsenter -t "$pid" --mount --uts --ipc --net --pid --cgroup --root --wd -- \
  env -i HOME=/root TERM="${TERM:-dumb}" PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
