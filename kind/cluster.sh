#!/usr/bin/env bash
# cluster.sh up|down|kubeconfig: the same cluster for the demo and the tests, by kind and a Docker engine.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/parts/env.sh"
name=pitr-${CLUSTER_NAME:-demo}
kubeconfig=$PITR_CACHE/state/$name.kubeconfig
need kind docker
case ${1:-} in
  up)
    docker info >/dev/null 2>&1 || die "no Docker engine answers; CLUSTER=node needs none (root, cgroup v1)"
    mkdir -p "${kubeconfig%/*}"
    if ! kind get clusters 2>/dev/null | grep -qx "$name"; then
      kind create cluster --name "$name" --config "$REPOSITORY/kind/cluster.yaml" --kubeconfig "$kubeconfig" --wait 120s
    fi
    for image in "$PITR_CACHE"/images/*.tar; do
      kind load image-archive --name "$name" "$image"
    done
    ;;
  down)
    kind delete cluster --name "$name" --kubeconfig "$kubeconfig"
    rm -f "$kubeconfig"
    ;;
  kubeconfig) echo "$kubeconfig" ;;
  *) die "usage: cluster.sh up|down|kubeconfig" ;;
esac
