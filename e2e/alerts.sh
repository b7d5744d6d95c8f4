#!/usr/bin/env bash
# alerts.sh: the alerts as Prometheus itself understands them, and the cases in which each fires or keeps silent.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/parts/env.sh"
rules=$REPOSITORY/manifests/monitoring/prometheusrule.yaml
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# What the operator hands to Prometheus: the spec of the object.
sed -n '/^spec:/,$ s/^  //p' "$rules" >"$work/rules.yaml"
cp "$REPOSITORY"/e2e/alerts*.test.yaml "$work"
"$PARTS/promtool.sh" check rules "$work/rules.yaml"
"$PARTS/promtool.sh" test rules "$work"/*.test.yaml
# An alert that no case makes fire proves nothing.
silent=0
while read -r alert; do
  if ! grep -q "alertname=\"$alert\"" "$work"/*.test.yaml; then
    printf 'no case makes %s fire\n' "$alert" >&2
    silent=1
  fi
done < <(sed -n 's/^ *- alert: //p' "$work/rules.yaml")
exit $silent
