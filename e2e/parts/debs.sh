#!/usr/bin/env bash
# debs.sh FOLDER PACKAGE... [-- LEFT_OUT...]
# Unpacks Debian packages with all their dependencies into FOLDER, which becomes the root of a small Debian. Nothing is
# installed on this machine, no maintainer script runs, and it needs neither root nor a chroot. LEFT_OUT are shell
# patterns of packages that are not wanted though something depends on them.
#
#   PITR_DEBIAN_SUITE    default sid
#   PITR_DEBIAN_MIRROR   default: where this machine's own apt fetches Debian from
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
[ $# -ge 2 ] || die "usage: debs.sh FOLDER PACKAGE... [-- LEFT_OUT...]"
need apt-get dpkg-deb tar flock
folder=$1
shift
packages=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  packages+=("$1")
  shift
done
left_out=("${@:2}")

apt=$PITR_CACHE/apt/$PITR_DEBIAN_SUITE
hold "apt-$PITR_DEBIAN_SUITE"

private_apt() { # an apt of our own that believes in an empty machine, so that each dependency is resolved
  local mirror=${PITR_DEBIAN_MIRROR:-}
  if [ -z "$mirror" ]; then
    # shellcheck disable=SC2016 # the format is apt's
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(ORIGIN) $(RELEASE)' 'Created-By: Packages' 2>/dev/null |
      awk '/\/debian\/? / {print $1; exit}')
  fi
  if [ -z "$mirror" ]; then # apt has no lists yet: look at its sources
    mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
      sed -nE 's/^(URIs:|deb( \[[^]]*\])?) +([^ ]*\/debian\/?)( .*)?$/\3/p' | head -n 1)
  fi
  [ -n "$mirror" ] || die "no Debian mirror in apt's sources: set PITR_DEBIAN_MIRROR"
  # apt lists no package that lies in its archive folder already, so ours are moved to debs/ after the download.
  mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$apt/debs"
  : >"$apt/status"
  printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' \
    "$mirror" "$PITR_DEBIAN_SUITE" >"$apt/sources.list"
  cat >"$apt/apt.conf" <<CONF
Dir::State "$apt";
Dir::State::status "$apt/status";
Dir::Cache "$apt";
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "-";
Acquire::Languages "none";
Acquire::Retries "3";
APT::Sandbox::User "root";
CONF
  export APT_CONFIG=$apt/apt.conf
  # Lists younger than a day are used as they are.
  if [ -z "$(find "$apt/lists" -maxdepth 1 -name '*_Packages*' -mmin -1440)" ]; then
    apt-get -q update >&2
  fi
}

resolve() { # the file names of all packages, dependencies included, less those left out
  local deb pattern
  apt-get -qq -y --no-install-recommends --print-uris install "${packages[@]}" |
    sed -n "s/^'[^']*' \([^ ]*\) .*/\1/p" |
    while read -r deb; do
      for pattern in ${left_out[@]+"${left_out[@]}"}; do
        # shellcheck disable=SC2053 # a pattern on purpose
        [[ ${deb%%_*} == $pattern ]] && continue 2
      done
      printf '%s\n' "$deb"
    done
}

private_apt
resolved=$(resolve) || die "apt found no way to: ${packages[*]} (suite $PITR_DEBIAN_SUITE)"
mapfile -t debs <<<"$resolved"
[ -n "${debs[0]}" ] || die "nothing to unpack: ${packages[*]}"
missing=()
for deb in "${debs[@]}"; do
  [ -e "$apt/debs/$deb" ] || missing+=("${deb%%_*}")
done
if [ ${#missing[@]} -gt 0 ]; then
  say "fetching ${#missing[@]} Debian packages"
  (cd "$apt/debs" && apt-get -q download "${missing[@]}" >/dev/null)
fi

rm -rf "$folder"
mkdir -p "$folder"/{usr/{bin,sbin,lib,lib64},proc,sys,dev,run,etc}
install -d -m 1777 "$folder/tmp"
for name in bin sbin lib lib64; do ln -s "usr/$name" "$folder/$name"; done
for deb in "${debs[@]}"; do
  dpkg-deb --fsys-tarfile "$apt/debs/$deb" | tar -x -C "$folder" --keep-directory-symlink --no-same-owner \
    --exclude='./usr/share/'{doc,man,locale,info,lintian,bash-completion}'/*'
done
printf '%s\n' "${debs[@]}" >"$folder/etc/debs.txt"
