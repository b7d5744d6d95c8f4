#!/usr/bin/env bash
# record.sh: the pictures of README.md, from a real run: `make demo` first, and the cluster that it leaves up. Writes terminal.svg here, and the
# report of the same history as a browser draws it, timeline.png.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../../e2e/parts/env.sh"
need script
KUBECONFIG=$(CLUSTER_NAME=demo "$REPOSITORY/e2e/cluster.sh" kubeconfig)
PATH=$("$PARTS/programs.sh"):$PITR_CACHE/bin:$PATH
export KUBECONFIG PATH
work=$(mktemp -d /tmp/pitr-record-XXXXXX)
trap 'rm -rf "$work"' EXIT

shown() { # shown COMMAND...: as somebody sees it on a terminal of 118 columns
  printf '\033[1m$ %s\033[0m\n' "$*"
  COLUMNS=118 TERM=xterm-256color script --quiet --return --command "stty cols 118 rows 50; $*" /dev/null </dev/null
  printf '\n'
}

{
  shown kubectl pitr status mysql -n shop
  shown "kubectl pitr timeline mysql -n shop --grep 'DROP TABLE'"
} >"$work/session"
restore=$(sed -n 's/.*\(kubectl pitr restore mysql .*\)/\1/p' "$work/session" | tail -n 1 | tr -d '\r' | sed 's/\x1b\[[0-9;]*m//g')
[ -n "$restore" ] || die "the timeline printed no restore command"
shown "$restore --plan" >>"$work/session"
python3 "$here/terminal.py" 'kubectl pitr' <"$work/session" >"$here/terminal.svg"
kubectl pitr timeline mysql -n shop --grep 'DROP TABLE' -o html >"$work/report.html"
"$PARTS/chromium.sh" --user-data-dir="$work/browser" --window-size=1180,760 --screenshot="$work/timeline.png" "file://$work/report.html" 2>/dev/null
cp "$work/timeline.png" "$here/timeline.png"
say "look at $here/terminal.svg and $here/timeline.png"
