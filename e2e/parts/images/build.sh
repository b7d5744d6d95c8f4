#!/usr/bin/env bash
# build.sh [IMAGE...]: builds image archives in $PITR_CACHE/images, as far as they are missing or out of date. No container
# engine is needed. Images (default: the first three, and the others if their programs are built):
#   pause       pitr.local/pause:1          the first process of every pod
#   tools       pitr.local/tools:1          a shell with the usual small programs
#   mysql       pitr.local/mysql:9.7        MySQL with the environment variables that people know
#   sidecar     pitr-sidecar:VERSION        from the static build ("make release")
#   s3-server   pitr.local/s3-server:1      the demo's object store, likewise
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../env.sh"
need python3
images=$PITR_CACHE/images
here=$PARTS/images
release=${CARGO_TARGET_DIR:-$PITR_CACHE/target}/$(uname -m)-unknown-linux-gnu/release
version=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"/\1/p' "$REPOSITORY/Cargo.toml")
hold images
mkdir -p "$images"

image() { python3 "$here/image.py" "$@"; }

build_pause() {
  if outdated "$images/pause.tar" "$PITR_CACHE/bin/pause" "$here/image.py"; then
    image pitr.local/pause:1 "$images/pause.tar" --file "$PITR_CACHE/bin/pause:/pause" --entrypoint '["/pause"]'
    built
  fi
}

# A program of ours that is one static file. The check keeps a dynamic one from ending in an image without a loader.
build_program() { # build_program FILE NAME PROGRAM
  local program=$release/$3
  [ -x "$program" ] || die "$program is missing: run make release"
  if outdated "$images/$1.tar" "$program" "$2" "$here/image.py"; then
    "$PARTS/static.sh" "$program"
    image "$2" "$images/$1.tar" --file "$program:/$3" --entrypoint "[\"/$3\"]" --user 999:999
    built
  fi
}
build_sidecar() { build_program sidecar "pitr-sidecar:$version" pitr-sidecar; }
build_s3-server() { build_program s3-server pitr.local/s3-server:1 s3-server; }

with_busybox() { # with_busybox ROOT: each of busybox's commands that ROOT has no program for
  local command
  "$1/usr/bin/busybox" --list | while read -r command; do
    [ -e "$1/usr/bin/$command" ] || [ -e "$1/usr/sbin/$command" ] || ln -s busybox "$1/usr/bin/$command"
  done
  printf '%s\n' root:x:0:0::/root:/bin/sh mysql:x:999:999::/var/lib/mysql:/bin/sh >"$1/etc/passwd"
  printf '%s\n' root:x:0: mysql:x:999: >"$1/etc/group"
}

build_tools() {
  local root=$images/tools.root
  if outdated "$images/tools.tar" "$PITR_DEBIAN_SUITE" "$here/build.sh" "$here/image.py" "$PARTS/debs.sh"; then
    "$PARTS/debs.sh" "$root" busybox-static -- 'lib*'
    with_busybox "$root"
    image pitr.local/tools:1 "$images/tools.tar" --root "$root" --cmd '["sh"]'
    rm -rf "$root"
    built
  fi
}

build_mysql() {
  local root=$images/mysql.root
  if outdated "$images/mysql.tar" "$PITR_DEBIAN_SUITE" "$here" "$PARTS/debs.sh"; then
    "$PARTS/debs.sh" "$root" mysql-server-core mysql-client-core busybox-static \
      -- 'perl*' 'libperl*' debconf mawk 'gcc-*-base'
    with_busybox "$root"
    # No test and no demo runs these; each is several MB.
    (cd "$root/usr/bin" && rm -f myisam* mysql_* mysqlimport mysqlshow mysqlslap ibd2sdi innochecksum my_print_defaults)
    (cd "$root/usr/lib/mysql/plugin" && rm -f telemetry_client.so authentication_{oci,kerberos,webauthn,openid_connect}_client.so)
    rm -rf "$root"/usr/lib/*-linux-gnu/gconv
    mkdir -p "$root/var" && ln -sfn ../run "$root/var/run" # where mysqld and its plugins expect it
    install -d "$root/etc/mysql/conf.d" "$root/docker-entrypoint-initdb.d" "$root/root"
    install -m 644 "$here/mysql/my.cnf" "$root/etc/my.cnf"
    install -m 755 "$here/mysql/entrypoint.sh" "$root/entrypoint.sh"
    image pitr.local/mysql:9.7 "$images/mysql.tar" --root "$root" --entrypoint '["/entrypoint.sh"]' --cmd '["mysqld"]' \
      --folder /var/lib/mysql:755:999 --folder /var/lib/mysql-files:750:999 --folder /run/mysqld:755:999
    rm -rf "$root"
    built
  fi
}

if [ $# = 0 ]; then
  set -- pause tools mysql
  if [ -x "$release/pitr-sidecar" ]; then set -- "$@" sidecar; fi
  if [ -x "$release/s3-server" ]; then set -- "$@" s3-server; fi
fi
for one; do "build_$one"; done
