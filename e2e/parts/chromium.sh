#!/usr/bin/env bash
# chromium.sh possible | ARGUMENT...: a browser without a screen, unpacked from Debian once; its exit code is the browser's. Of this machine it
# sees /tmp only. "possible" asks whether it may have a root of its own here: ordinary users may not everywhere.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
need unshare chroot
options=(--mount)
[ "$(id -u)" = 0 ] || options+=(--map-root-user)
if [ "$*" = possible ]; then exec unshare "${options[@]}" mount --rbind /tmp /tmp; fi
folder=$PITR_CACHE/chromium
packages=(chromium-headless-shell fonts-dejavu-core -- 'libllvm*' libz3-4 mesa-libgallium libgl1-mesa-dri libglx-mesa0 x11-utils x11-common xdg-utils debconf)
hold chromium
if outdated "$folder" "${packages[@]}" "$PARTS/debs.sh" "$PARTS/chromium.sh" "$PITR_DEBIAN_SUITE"; then
  "$PARTS/debs.sh" "$folder" "${packages[@]}"
  built
fi
# It starts itself again for each of its processes, by its own path: so the folder is its root.
# shellcheck disable=SC2016 # for the inner shell
exec unshare "${options[@]}" bash -c '
  for shared in proc dev tmp; do mount --rbind "/$shared" "$0/$shared"; done
  exec chroot "$0" /usr/lib/chromium/chromium-headless-shell --no-sandbox --disable-gpu --disable-dev-shm-usage --hide-scrollbars "$@"' "$folder" "$@"
