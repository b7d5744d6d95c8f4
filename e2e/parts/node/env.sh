# Sourced by the node's scripts: which cluster is meant, and how to find it.
# shellcheck shell=bash disable=SC2034
. "$(dirname "${BASH_SOURCE[0]}")/../env.sh"
NODE=$PARTS/node
PITR_NODE_NAME=${PITR_NODE_NAME:-demo}
PITR_NODE_STATE=$(realpath -m "${PITR_NODE_STATE:-$PITR_CACHE/state/$PITR_NODE_NAME}")
export PITR_NODE_STATE
node_id=$(cksum <<<"$PITR_NODE_STATE" | cut -d' ' -f1) # names the cluster's cgroups and its lock

# These addresses exist inside the node's own network namespace only, so all clusters can have the same. The files in
# conf/ know them too.
node_address=10.244.0.1
pod_network=10.244.0.0/24
service_network=10.96.0.0/16
api_service_address=10.96.0.1

# The node is up as long as its first process, as the host sees it, has the pid namespace that was noted at its start.
node_pid() {
  [ -s "$PITR_NODE_STATE/node.pid" ] || return 1
  local pid namespace
  read -r pid namespace <"$PITR_NODE_STATE/node.pid"
  [ "$(readlink "/proc/$pid/ns/pid" 2>/dev/null)" = "$namespace" ] && printf '%s\n' "$pid"
}

# One line "CONTROLLERS FOLDER" for each cgroup v1 hierarchy: this cluster's group, below the group of the caller.
node_cgroups() {
  local mount type options controllers path
  while read -r _ mount type options _; do
    [ "$type" = cgroup ] || continue
    while IFS=: read -r _ controllers path; do
      if [ -n "$controllers" ] && [[ ",$options," == *,"${controllers%%,*}",* ]]; then
        printf '%s %s\n' "$controllers" "$mount${path%/}/pitr-$node_id"
      fi
    done </proc/self/cgroup
  done </proc/mounts | sort -u
}

# Why a node cannot run on this machine, in one line; nothing if it can.
node_obstacle() {
  if [ "$(uname -s)" != Linux ]; then
    echo "the built-in Kubernetes node needs Linux"
  elif [ "$(id -u)" != 0 ]; then
    echo "the built-in Kubernetes node needs root"
  elif ! node_cgroups | grep -q '^memory '; then
    echo "the built-in Kubernetes node needs cgroup v1 (this machine has cgroup v2)"
  elif ! unshare --mount --net --pid --uts --ipc --cgroup --fork true 2>/dev/null; then
    echo "the built-in Kubernetes node needs to make namespaces, and this machine does not let it"
  fi
}
