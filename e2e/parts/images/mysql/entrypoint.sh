#!/bin/sh
# Runs mysqld, on first start after making its data directory. The environment is what people know from other images:
#   MYSQL_ROOT_PASSWORD or MYSQL_ALLOW_EMPTY_PASSWORD=1 (one is needed), MYSQL_ROOT_HOST (default %)
#   MYSQL_DATABASE, MYSQL_USER, MYSQL_PASSWORD          a database, and an account that owns it
#   MYSQL_ROOT_PASSWORD_FILE, MYSQL_PASSWORD_FILE       the passwords in files
#   /docker-entrypoint-initdb.d/*.sql and *.sh          run once, in the order of their names
# Works as root (mysqld then runs as mysql) and as any other user that owns the data directory.
set -eu
data=/var/lib/mysql
unfinished=$data/.first-start # there while the first start is going on: if it is cut off, it begins anew
socket=/run/mysqld/first-start.sock

tell() { echo "entrypoint: $*" >&2; }
literal() { # an SQL string
  printf "'%s'" "$(printf %s "$1" | sed "s/[\\\\']/\\\\&/g")"
}
password() { # password NAME: the value of NAME, or the content of the file that NAME_FILE names
  eval "value=\${$1:-} file=\${$1_FILE:-}"
  # shellcheck disable=SC2154 # eval sets them
  if [ -n "$file" ]; then value=$(cat "$file"); fi
  printf %s "$value"
}

accounts() {
  host=${MYSQL_ROOT_HOST:-%}
  echo "SET sql_log_bin = 0;" # accounts are this server's own, replicas get none of them from here
  if [ "$host" != localhost ]; then
    echo "CREATE USER root@$(literal "$host") IDENTIFIED BY $(literal "$root_password");"
    echo "GRANT ALL ON *.* TO root@$(literal "$host") WITH GRANT OPTION;"
  fi
  echo "ALTER USER root@localhost IDENTIFIED BY $(literal "$root_password");"
  if [ -n "${MYSQL_USER:-}" ]; then
    echo "CREATE USER $(literal "$MYSQL_USER")@'%' IDENTIFIED BY $(literal "$(password MYSQL_PASSWORD)");"
    if [ -n "${MYSQL_DATABASE:-}" ]; then
      echo "GRANT ALL ON \`$MYSQL_DATABASE\`.* TO $(literal "$MYSQL_USER")@'%';"
    fi
  fi
  if [ -n "${MYSQL_DATABASE:-}" ]; then
    echo "SET sql_log_bin = 1; CREATE DATABASE IF NOT EXISTS \`$MYSQL_DATABASE\`;"
  fi
}

first_start() { # first_start mysqld OPTION...
  root_password=$(password MYSQL_ROOT_PASSWORD)
  if [ -z "$root_password${MYSQL_ALLOW_EMPTY_PASSWORD:-}" ]; then
    tell "set MYSQL_ROOT_PASSWORD, or MYSQL_ALLOW_EMPTY_PASSWORD=1"
    exit 1
  fi
  tell "making the data directory"
  find "$data" -mindepth 1 -maxdepth 1 ! -name lost+found -exec rm -rf {} +
  : >"$unfinished"
  mysqld --initialize-insecure
  "$@" --skip-networking --mysqlx=OFF --socket="$socket" &
  server=$!
  until mysqladmin --socket="$socket" --user=root --silent ping >/dev/null 2>&1; do
    kill -0 "$server" 2>/dev/null || { tell "the server ended during its first start"; exit 1; }
    sleep 0.2
  done
  accounts | mysql --socket="$socket" --user=root
  export MYSQL_PWD="$root_password"
  # shellcheck disable=SC1090 # whatever lies there
  for script in /docker-entrypoint-initdb.d/*; do
    case $script in
      *.sh) tell "running $script"; . "$script" ;;
      *.sql) tell "running $script"; mysql --socket="$socket" --user=root ${MYSQL_DATABASE:+"$MYSQL_DATABASE"} <"$script" ;;
    esac
  done
  mysqladmin --socket="$socket" --user=root shutdown
  wait "$server"
  unset MYSQL_PWD
  rm "$unfinished"
  tell "first start done"
}

case ${1:-} in
  '' | -*) set -- mysqld "$@" ;;
esac
if [ "$1" = mysqld ]; then
  if [ "$(id -u)" = 0 ] && [ "$(stat -c %U "$data")" != mysql ]; then chown -R mysql:mysql "$data"; fi
  if [ ! -d "$data/mysql" ] || [ -e "$unfinished" ]; then first_start "$@"; fi
fi
exec "$@"
