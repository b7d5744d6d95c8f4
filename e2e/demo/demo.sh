#!/usr/bin/env bash
# demo.sh: on a real Kubernetes, a dropped table comes back. CLUSTER=node (default) or kind.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../parts/env.sh"
. "$REPOSITORY/e2e/demo/narration.sh"
export CLUSTER=${CLUSTER:-node} CLUSTER_NAME=demo
here=$REPOSITORY/e2e/demo

case $CLUSTER in
  node)
    obstacle=$("$PARTS/node/possible.sh") || die "$obstacle. Instead: make demo CLUSTER=kind (Docker and kind), or make demo-local (no Kubernetes)"
    ;;
  kind) need kind docker ;;
  *) die "the demo needs CLUSTER=node or CLUSTER=kind; make demo-local needs no Kubernetes" ;;
esac

chapter "1. Build what is missing, and bring up a cluster"
"$PARTS/tools.sh"
mkdir -p "$PITR_CACHE/log"
# Go's build and cargo's do not wait for the same things.
nice "$PARTS/node/build.sh" >"$PITR_CACHE/log/node-build.log" 2>&1 &
building=$!
programs=$("$PARTS/programs.sh")
wait "$building" || { tail -n 20 "$PITR_CACHE/log/node-build.log" >&2; die "the node's programs could not be built"; }
"$PARTS/images/build.sh"
"$REPOSITORY/e2e/cluster.sh" up
KUBECONFIG=$("$REPOSITORY/e2e/cluster.sh" kubeconfig)
export KUBECONFIG PATH=$programs:$PITR_CACHE/bin:$PATH
# What else could end in the middle is this shell's own; the cluster stays until make demo-down.
kubectl delete namespace shop store --ignore-not-found --wait >/dev/null 2>&1

chapter "2. A shop, as anybody has one: MySQL 9.7 in a StatefulSet, and a bucket"
run kubectl apply -f "$here/manifests/store.yaml" -f "$here/manifests/shop.yaml"
kubectl -n store rollout status deployment/s3 --timeout=120s
kubectl -n shop rollout status statefulset/mysql --timeout=180s
sql() { # sql POD: SQL from stdin; the password goes through the pod's environment
  # shellcheck disable=SC2016 # it expands there
  kubectl -n shop exec -i "$1" -c mysql -- sh -c 'MYSQL_PWD="$MYSQL_ROOT_PASSWORD" mysql -h127.0.0.1 -uroot -N -B --force'
}
sql mysql-0 <"$here/schema.sql"
start_sales() { # the shop's customers: they come again when the database has restarted
  kubectl -n shop delete pod sales --ignore-not-found --wait >/dev/null
  kubectl -n shop create configmap sales --from-file="$here/sales.sh" --dry-run=client -o yaml | kubectl apply -f - >/dev/null
  kubectl apply -f "$here/manifests/sales.yaml" >/dev/null
}
start_sales
tell "50000 orders are in it, and customers buy about ten times a second."

chapter "3. Give it point-in-time recovery: one command, no operator, no CRD"
run kubectl apply -f "$here/manifests/archive-access.yaml"
version=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"/\1/p' "$REPOSITORY/Cargo.toml")
run kubectl pitr inject mysql -n shop --archive s3://backups/shop/mysql --endpoint http://s3.store:9000 \
  --region us-east-1 --set s3.path_style=true --secret pitr-s3 --mysql-secret pitr-mysql \
  --image "pitr-sidecar:$version" --live --confirm mysql
kubectl -n shop rollout status statefulset/mysql --timeout=180s
run kubectl pitr backup mysql -n shop
tell "The base backup is stored. The shop goes on selling."
sleep 10
run kubectl pitr status mysql -n shop

chapter "4. The accident"
tell "mysql> DROP TABLE shop.invoices;"
mapfile -t before < <(sql mysql-0 <"$here/accident.sql")
tell "Gone: ${before[1]} invoices. Nobody notices for a while; customers go on buying."
sleep 8
binlogs=$(kubectl -n shop exec mysql-0 -c mysql -- sh -c 'cat /var/lib/mysql/binlog.index' | tail -n 3)
dropped=$(for binlog in $binlogs; do
  kubectl -n shop exec mysql-0 -c mysql -- sh -c "cd /var/lib/mysql && mysqlbinlog --no-defaults --base64-output=decode-rows $binlog"
done | drop_instant)
target=$(rfc3339 $((dropped - 1)))
tell "The binlog says that the DROP was committed at $(rfc3339 "$dropped"). We want the microsecond before it."

chapter "5. What would a restore do?"
wait_for 30 "the archive to reach the target" kubectl pitr restore mysql -n shop --to "$target" --plan
run kubectl pitr restore mysql -n shop --to "$target" --plan

chapter "6. Restore, beside the running shop"
run kubectl pitr restore mysql -n shop --to "$target" --new-name before-the-drop
run kubectl pitr restores -n shop

chapter "7. Proof: a server on the restored volume"
kubectl apply -f "$here/manifests/look.yaml" >/dev/null
kubectl -n shop wait --for=condition=Ready pod/look --timeout=120s >/dev/null
mapfile -t after < <(sql look <<<'SELECT COUNT(*) FROM shop.orders; SELECT COUNT(*) FROM shop.invoices; CHECKSUM TABLE shop.orders, shop.invoices;')
sold_since() { now=$(sql mysql-0 <<<'SELECT COUNT(*) FROM shop.orders') && [ "$now" -gt "${before[0]}" ]; }
wait_for 120 "a customer to buy something after the DROP" sold_since
same=0
compare "orders, at the DROP and restored" "${before[0]}" "${after[0]}" || same=1
compare "invoices" "${before[1]}" "${after[1]}" || same=1
compare "checksum of the orders" "${before[2]##*$'\t'}" "${after[2]##*$'\t'}" || same=1
compare "checksum of the invoices" "${before[3]##*$'\t'}" "${after[3]##*$'\t'}" || same=1
tell "" "The shop itself has $now orders by now: $((now - after[0])) were sold after the DROP, and none of them is in the restored copy."
if [ $same != 0 ]; then die "the restored tables are not what they were"; fi

chapter "Done. What to try next:"
cat <<NEXT
  export KUBECONFIG=$KUBECONFIG PATH=$programs:$PITR_CACHE/bin:\$PATH
  kubectl pitr status -A
  kubectl pitr backups mysql -n shop
  kubectl pitr restore mysql -n shop --to latest --plan
  kubectl -n shop exec -it look -- sh -c 'MYSQL_PWD=\$MYSQL_ROOT_PASSWORD mysql -h127.0.0.1 -uroot shop'
  make demo-down        # nothing is left but the cache in $PITR_CACHE
NEXT
