#!/usr/bin/env bash
# load.sh IMAGE.tar...: puts image archives into a running cluster. Their pods need imagePullPolicy IfNotPresent or
# Never, which is the default for every tag but "latest". One that is there with the same content is left alone.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
loaded=$PITR_NODE_STATE/images.loaded
touch "$loaded"
for archive; do
  begun=$SECONDS
  sum=$(sha256sum <"$archive")
  if grep -qF "$sum $archive" "$loaded"; then continue; fi
  # One of the two flags needs the other; together they halve the time and the space.
  "$NODE/enter.sh" ctr -n k8s.io images import --local --discard-unpacked-layers - <"$archive" >/dev/null
  echo "$sum $archive" >>"$loaded"
  say "loaded image ${archive##*/} in $((SECONDS - begun)) s"
done
