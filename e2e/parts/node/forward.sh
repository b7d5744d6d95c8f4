#!/usr/bin/env bash
# forward.sh to-host PORT              pods reach the host's 127.0.0.1:PORT as host.pitr.local:PORT
# forward.sh from-host ADDRESS:PORT    prints 127.0.0.1:N, which leads from the host to a pod's or service's address
# No interface, route or rule is added on the host, and the forwarder ends with the cluster.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
pid=$(node_pid) || die "no cluster is up in $PITR_NODE_STATE"
inside=/proc/$pid/ns/net
file=$(mktemp "$PITR_NODE_STATE/forward.XXXXXX")
trap 'rm -f "$file"' EXIT
case "${1:-} ${2:-}" in
  "to-host "?*) way=("$inside" "$node_address:$2" - "127.0.0.1:$2") ;;
  "from-host "?*:?*) way=(- 127.0.0.1:0 "$inside" "$2") ;;
  *) die "usage: forward.sh to-host PORT | from-host ADDRESS:PORT" ;;
esac
# In the node's pid namespace, so that it ends with the node.
setsid nsenter -t "$pid" --pid -- "$PITR_CACHE/bin/netfwd" "${way[@]}" "$file" </dev/null >>"$PITR_NODE_STATE/log/netfwd.log" 2>&1 &
for _ in $(seq 50); do
  if [ -s "$file" ]; then break; fi
  sleep 0.1
done
[ -s "$file" ] || die "the forwarder did not start; see $PITR_NODE_STATE/log/netfwd.log"
cat "$file"
