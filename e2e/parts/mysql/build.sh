#!/usr/bin/env bash
# build.sh: MySQL 9.7 (server, clients, plugins) and sysbench in $PITR_CACHE/mysql, from Debian packages. Nothing is
# installed on the machine, and root is not needed. Does nothing if it is there already.
#
#   $PITR_CACHE/mysql/run PROGRAM ARGUMENT...   runs mysqld, mysql, mysqldump, mysqlbinlog, mysqladmin, sysbench, ...
#   $PITR_CACHE/mysql/bin/PROGRAM ARGUMENT...   the same, where one path is wanted (--mysqld PATH)
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../env.sh"
prefix=$PITR_CACHE/mysql
packages=(mysql-server-core mysql-client-core sysbench -- 'perl*' 'libperl*' debconf mawk 'gcc-*-base')
hold mysql
if ! outdated "$prefix" "${packages[@]}" "$PITR_DEBIAN_SUITE" "$PARTS/mysql" "$PARTS/debs.sh"; then
  exit 0
fi
rm -rf "$prefix.new"
mkdir -p "$prefix.new/bin"
"$PARTS/debs.sh" "$prefix.new/root" "${packages[@]}"
install -m 755 "$PARTS/mysql/run" "$prefix.new/run"
for program in "$prefix.new"/root/usr/{bin/{my*,sysbench,ibd2sdi,innochecksum,perror},sbin/mysqld}; do
  if [ "$(head -c 4 "$program")" = $'\x7fELF' ]; then ln -s ../run "$prefix.new/bin/${program##*/}"; fi
done
version=$("$prefix.new/run" mysqld --version)
say "$version"
[[ $version == *" 9.7."* ]] || say "WARNING: everything here was made for MySQL 9.7; Debian $PITR_DEBIAN_SUITE has another one now"
rm -rf "$prefix"
mv "$prefix.new" "$prefix"
built
