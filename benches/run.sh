#!/usr/bin/env bash
# run.sh [BENCH [OPTION...]]: measures the shipped programs beside what a user would use instead, and prints tables: all benches, or one with its
# options (pitr-bench --help). The bench itself need not be fast: it only starts processes and reads clocks.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/parts/env.sh"
"$PARTS/tools.sh" zstd
"$PARTS/mysql/build.sh"
PITR_BIN_DIR=$("$PARTS/programs.sh")
export PITR_BIN_DIR CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PITR_CACHE/target}
cd "$REPOSITORY"
cargo build --workspace --locked --bin pitr-bench --test tidy >&2
bench=$CARGO_TARGET_DIR/debug/pitr-bench
printf 'On %s, %s cores, %s, commit %s\n' "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)" \
  "$(awk '/MemTotal/ {printf "%d GiB", $2 / 1048576}' /proc/meminfo)" "$(git describe --always --dirty)"
if [ $# -gt 0 ]; then exec "$bench" "$@"; fi
for name in archive recoverable cost restore start status; do
  printf '\n'
  "$bench" "$name"
done
