#!/usr/bin/env bash
# report.sh [FOLDER]: the HTML report of `timeline` as a browser draws it, in a light and in a dark scheme: what it tells is to be seen. FOLDER
# keeps the pictures.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/parts/env.sh"
work=$(mktemp -d /tmp/pitr-report-XXXXXX)
trap 'rm -rf "$work"' EXIT
cp "$REPOSITORY/kubectl-pitr/tests/golden/timeline/page.html" "$work/page.html"
for scheme in light dark; do
  options=()
  [ $scheme = light ] || options=(--blink-settings=preferredColorScheme=0)
  timeout 300 "$PARTS/chromium.sh" "${options[@]}" --user-data-dir="$work/$scheme" --window-size=1180,1000 \
    --screenshot="$work/$scheme.png" "file://$work/page.html" 2>"$work/said" || { cat "$work/said" >&2; exit 1; }
  python3 "$REPOSITORY/e2e/report.py" $scheme "$work/$scheme.png"
done
if [ $# -gt 0 ]; then cp "$work"/{light,dark}.png "$1"; fi
