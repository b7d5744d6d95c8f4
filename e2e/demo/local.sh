#!/usr/bin/env bash
# local.sh: the whole loop without Kubernetes: one mysqld, an archive in a folder, a dropped table, an exact restore.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../parts/env.sh"
. "$REPOSITORY/e2e/demo/narration.sh"
here=$REPOSITORY/e2e/demo
hold demo-local
CLUSTER=none "$PARTS/tools.sh"
"$PARTS/mysql/build.sh"
PATH=$("$PARTS/programs.sh"):$PITR_CACHE/mysql/bin:$PATH
home=$PITR_CACHE/state/local
archive=file://$home/archive
sockets=$(mktemp -d /tmp/pitr-demo.XXXXXX) # sockets' paths must be short
"$here/down.sh" local
mkdir -p "$home"
pids=()
finish() {
  for pid in ${pids[@]+"${pids[@]}"}; do kill -- "-$pid" 2>/dev/null || true; done
  wait
  rm -rf "$sockets"
  if [ -z "${KEEP:-}" ]; then rm -rf "$home"; fi
}
trap finish EXIT
start() { # start NAME COMMAND...: in a process group of its own, so that what it starts ends with it
  local name=$1
  shift
  setsid "$@" >"$home/$name.log" 2>&1 &
  pids+=($!)
  echo $! >"$home/$name.pid"
}
server() { # server NAME OPTION...: a mysqld on $home/NAME
  local name=$1
  shift
  start "$name" mysqld --no-defaults --datadir="$home/$name" --socket="$sockets/$name" --bind-address=127.0.0.1 \
    --gtid-mode=ON --enforce-gtid-consistency=ON --innodb-buffer-pool-size=64M "$@"
  wait_for 30 "mysqld on $home/$name" mysqladmin --no-defaults -uroot -S "$sockets/$name" ping
}
sql() { mysql --no-defaults -uroot -S "$sockets/$1" -N -B; }

chapter "1. A shop: one MySQL 9.7"
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
mysqld --no-defaults --initialize-insecure --datadir="$home/shop" 2>"$home/initialize.log"
server shop --server-id=1 --port="$port"
sql shop <"$here/schema.sql"
start sales bash -c "while sleep 0.2; do sh '$here/sales.sh' | mysql --no-defaults -uroot -S '$sockets/shop' --force; done # $home"

chapter "2. Archive its binlogs, and take a base backup"
cat >"$home/pitr.yaml" <<YAML
workload: demo/local
archive: $archive
source: {datadir: $home/shop}
schedule: {archive_interval: 5s, tail_interval: 1s}
listen: 127.0.0.1:0
YAML
install -m 600 /dev/null "$home/backup.cnf"
printf '[client]\nhost=127.0.0.1\nport=%s\nuser=pitr\npassword=demo-pitr-password\n' "$port" >"$home/backup.cnf"
tell "\$ pitr-sidecar run --config pitr.yaml &"
start archiver pitr-sidecar run --config "$home/pitr.yaml"
run pitr-sidecar --log-format text backup -o text --archive "$archive" --workload demo/local --method clone --mysql "$home/backup.cnf" \
  --mysqld "$PITR_CACHE/mysql/bin/mysqld" --scratch "$home/scratch"
sleep 3

chapter "3. The accident"
tell "mysql> DROP TABLE shop.invoices;"
mapfile -t before < <(sql shop <"$here/accident.sql")
sleep 4
dropped=$(mysqlbinlog --no-defaults --base64-output=decode-rows "$home"/shop/binlog.0* | drop_instant)
target=$(rfc3339 $((dropped - 1)))
tell "${before[1]} invoices are gone, dropped at $(rfc3339 "$dropped"). We want the microsecond before."
run pitr-sidecar status --archive "$archive"

chapter "4. Restore to just before it"
wait_for 20 "the archive to reach the target" pitr-sidecar plan --archive "$archive" --to "$target"
run pitr-sidecar plan --archive "$archive" --to "$target"
run pitr-sidecar --log-format text restore -o text --archive "$archive" --to "$target" --datadir "$home/restored" --mysqld "$PITR_CACHE/mysql/bin/mysqld"

chapter "5. Proof"
server restored --server-id=99 --port=0 --skip-networking --super-read-only --skip-replica-start
mapfile -t after < <(sql restored <<<'SELECT COUNT(*) FROM shop.orders; SELECT COUNT(*) FROM shop.invoices; CHECKSUM TABLE shop.orders, shop.invoices;')
now=$(sql shop <<<'SELECT COUNT(*) FROM shop.orders')
same=0
compare "orders, at the DROP and restored" "${before[0]}" "${after[0]}" || same=1
compare "invoices" "${before[1]}" "${after[1]}" || same=1
compare "checksum of the orders" "${before[2]##*$'\t'}" "${after[2]##*$'\t'}" || same=1
compare "checksum of the invoices" "${before[3]##*$'\t'}" "${after[3]##*$'\t'}" || same=1
[ $same = 0 ] || die "the restored tables are not what they were"
tell "The shop has $now orders by now; the $((now - after[0])) of after the DROP are not in the restored copy." \
  "Next: make demo, the same on Kubernetes. KEEP=1 make demo-local leaves the files in $home."
