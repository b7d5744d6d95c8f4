#!/usr/bin/env bash
# up.sh [IMAGE.tar...]: brings a cluster up and loads images into it (default: all in $PITR_CACHE/images). Programs on
# the host reach it with $PITR_NODE_STATE/kubeconfig. In a cluster that is up only images that changed are loaded.
#   PITR_NODE_NAME    which cluster (default demo); several can be up side by side
#   PITR_NODE_STATE   its folder (default $PITR_CACHE/state/NAME): etcd, volumes, logs
#   PITR_NODE_PORT    the API server's port on 127.0.0.1 (default 0: any free one)
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
. "$NODE/certificates.sh"
obstacle=$(node_obstacle)
[ -z "$obstacle" ] || die "$obstacle"
need openssl unshare nsenter ip mount flock
for built in bin/kubeall bin/kubedns bin/netfwd node/bin/bash images/pause.tar; do
  [ -e "$PITR_CACHE/$built" ] || die "$PITR_CACHE/$built is missing: run e2e/parts/node/build.sh and e2e/parts/images/build.sh"
done

[ $# -gt 0 ] || set -- "$PITR_CACHE"/images/*.tar
hold "node-$node_id"
# Nothing that stays behind may hold the lock, so all children are started without it.
kubectl() { "$PITR_CACHE/bin/kubectl" --kubeconfig "$PITR_NODE_STATE/kubeconfig" "$@" {held_lock}>&-; }
if node_pid >/dev/null && kubectl get --raw /readyz >/dev/null 2>&1; then
  say "cluster \"${PITR_NODE_STATE##*/}\" is up already"
  "$NODE/load.sh" "$@" {held_lock}>&-
  exit 0
fi
PITR_NODE_LOCKED=1 "$NODE/down.sh" --keep # what a run that was cut off may have left

begun=$SECONDS
state=$PITR_NODE_STATE
conf=$state/conf
mkdir -p "$conf" "$state"/{log,etcd,containerd,kubelet,volumes,podlog,upper,work,root}
make_certificates
cp "$NODE"/conf/* "$NODE/init.sh" "$conf/"
printf '%s\n' "node_address=$node_address" "service_network=$service_network" "pod_network=$pod_network" \
  "api_listen=127.0.0.1:${PITR_NODE_PORT:-0}" >"$conf/node.env"

enter_cgroups() {
  local controllers folder
  node_cgroups >"$state/cgroups" # down.sh may be called from another group
  while read -r controllers folder; do
    mkdir -p "$folder"
    if [[ ,$controllers, == *,cpuset,* ]]; then # a new cpuset takes no process before it has cpus and memory
      cat "$folder/../cpuset.cpus" >"$folder/cpuset.cpus"
      cat "$folder/../cpuset.mems" >"$folder/cpuset.mems"
    fi
    echo "$BASHPID" >"$folder/cgroup.procs"
  done <"$state/cgroups"
}
(
  enter_cgroups
  exec 8</proc/self/ns/net
  exec setsid unshare --mount --propagation private --net --pid --uts --ipc --cgroup --fork --kill-child \
    "$NODE/init.sh" outside "$state" "$PITR_CACHE" </dev/null >"$state/log/node.log" 2>&1 {held_lock}>&-
) &
for _ in $(seq 900); do
  if [ -e "$state/ready" ] || ! kill -0 $! 2>/dev/null; then break; fi
  sleep 0.1
done
if [ ! -e "$state/ready" ]; then
  tail -n 20 "$state/log/node.log" >&2
  die "the node did not start; its logs are in $state/log"
fi
address=$(cat "$state/api.address")
write_kubeconfig "$state/kubeconfig" admin "https://$address"
say "API server answers at $address after $((SECONDS - begun)) s"

"$NODE/load.sh" "$@" {held_lock}>&-
kubectl wait --for=condition=Ready node/node1 --timeout=90s >/dev/null
until kubectl get serviceaccount default >/dev/null 2>&1; do sleep 0.2; done
say "cluster \"${state##*/}\" is ready after $((SECONDS - begun)) s: export KUBECONFIG=$state/kubeconfig"
