#!/usr/bin/env bash
# build.sh FOLDER [PROGRAM...]: what a release consists of on this architecture, made from the static programs (profiles "dist", "dist-plugin"):
#   PROGRAM-VERSION-linux-ARCH.tar.gz     the program and its licence; the plugin with its manual pages
#   PROGRAM_VERSION_ARCH.deb              the same for Debian; the plugin with kubectl's completion
#   pitr-sidecar-VERSION-linux-ARCH.oci.tar   the image
# PROGRAM is kubectl-pitr or pitr-sidecar (default: both). The same programs give the same bytes. PITR_BIN_DIR names a folder that has
# them built already.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/parts/env.sh"
[ $# -ge 1 ] || die "usage: build.sh FOLDER [PROGRAM...]"
need tar gzip dpkg-deb python3 strip
mkdir -p "$1"
out=$(realpath "$1")
shift
[ $# -gt 0 ] || set -- kubectl-pitr pitr-sidecar
version=$("$REPOSITORY/dist/version.sh")
case $(uname -m) in
  x86_64) arch=amd64 ;;
  aarch64) arch=arm64 ;;
  *) die "no release is made for $(uname -m)" ;;
esac
# One instant for everything: that of the last change.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$REPOSITORY" log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bin=$work/bin
mkdir "$bin"
# The linker leaves the symbols of the static C library, a fifth of the file.
for program; do
  profile=dist
  [ "$program" = pitr-sidecar ] || profile=dist-plugin
  built=$(PITR_PROFILE=${PITR_PROFILE:-$profile} "$PARTS/programs.sh" "$program")
  strip --strip-all -o "$bin/$program" "$built/$program"
done

manual() { # manual PROGRAM FOLDER
  "$bin/$1" man "$2" >/dev/null
  chmod 644 "$2"/*
}

archive() { # archive PROGRAM
  local folder=$work/tar/$1
  install -D -m 755 "$bin/$1" "$folder/$1"
  install -m 644 "$REPOSITORY/LICENSE" "$folder/LICENSE"
  if [ "$1" = kubectl-pitr ]; then manual "$1" "$folder/man/man1"; fi
  tar --create --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --format=gnu \
    --directory "$folder" . | gzip --no-name >"$out/$1-$version-linux-$arch.tar.gz"
}

package() { # package PROGRAM
  local folder=$work/deb/$1 words
  case $1 in
    kubectl-pitr) words="kubectl plugin for point-in-time recovery of MySQL StatefulSets" ;;
    pitr-sidecar) words="archives MySQL binlogs to an object store, and restores from it" ;;
  esac
  install -D -m 755 "$bin/$1" "$folder/usr/bin/$1"
  if [ "$1" = kubectl-pitr ]; then
    # kubectl asks a program of this name to complete the plugin's words.
    ln -s kubectl-pitr "$folder/usr/bin/kubectl_complete-pitr"
    manual "$1" "$folder/usr/share/man/man1"
    gzip --no-name -9 "$folder"/usr/share/man/man1/*
  fi
  install -D -m 644 "$REPOSITORY/LICENSE" "$folder/usr/share/doc/$1/copyright"
  mkdir "$folder/DEBIAN"
  cat >"$folder/DEBIAN/control" <<CONTROL
Package: $1
Version: ${version/-/\~}
Architecture: $arch
Maintainer: kubectl-pitr <https://github.com/kubectl-pitr/kubectl-pitr>
Homepage: https://github.com/kubectl-pitr/kubectl-pitr
Section: database
Priority: optional
Installed-Size: $(du -sk --apparent-size "$folder/usr" | cut -f1)
Description: $words
 Point-in-time recovery for any MySQL StatefulSet: no operator, no CRD. The
 program is static and needs nothing else.
CONTROL
  chmod -R u=rwX,go=rX "$folder"
  dpkg-deb --root-owner-group -Zxz --build "$folder" "$out/$1_${version}_$arch.deb" >/dev/null
}

for program; do
  archive "$program"
  package "$program"
  if [ "$program" = pitr-sidecar ]; then
    python3 "$PARTS/images/image.py" "pitr-sidecar:$version" "$out/$program-$version-linux-$arch.oci.tar" \
      --file "$bin/$program:/$program" --entrypoint "[\"/$program\"]" --user 999:999
  fi
done
ls -l "$out" >&2
