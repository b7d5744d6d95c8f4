#!/usr/bin/env bash
# cluster.sh up|down|kubeconfig: one cluster for the demo or the tests, by the name of the environment.
#   CLUSTER=node|kind     our own node (default), or kind with a Docker engine
#   CLUSTER_NAME          default demo
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/parts/env.sh"
cluster=${CLUSTER:-node}
export PITR_NODE_NAME=${CLUSTER_NAME:-demo}
case $cluster in
  node)
    case ${1:-} in
      up) exec "$PARTS/node/up.sh" ;;
      down) exec "$PARTS/node/down.sh" ;;
      kubeconfig) echo "${PITR_NODE_STATE:-$PITR_CACHE/state/$PITR_NODE_NAME}/kubeconfig" ;;
      *) die "usage: cluster.sh up|down|kubeconfig" ;;
    esac
    ;;
  kind) exec "$REPOSITORY/kind/cluster.sh" "$@" ;;
  none) [ "${1:-}" = down ] || die "there is no cluster with CLUSTER=none" ;;
  *) die "CLUSTER is node or kind, not \"$cluster\"" ;;
esac
