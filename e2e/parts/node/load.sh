#!/usr/bin/env bash
# load.sh IMAGE.tar...: puts image archives into a running cluster. Their pods need imagePullPolicy IfNotPresent or
# Never, which is the default for every tag but "latest".
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
for archive; do
  begun=$SECONDS
  # One of the two flags needs the other; together they halve the time and the space.
  "$NODE/enter.sh" ctr -n k8s.io images import --local --discard-unpacked-layers - <"$archive" >/dev/null
  say "loaded image ${archive##*/} in $((SECONDS - begun)) s"
done
