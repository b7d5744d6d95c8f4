#!/usr/bin/env bash
# possible.sh: succeeds if a node can run on this machine; else says in one line why not.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
obstacle=$(node_obstacle)
[ -z "$obstacle" ] || { echo "$obstacle"; exit 1; }
