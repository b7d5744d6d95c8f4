#!/usr/bin/env bash
# with.sh STORE COMMAND...: runs a command beside a real object store on loopback, with an empty bucket. The store ends with the
# command, also when somebody kills this script, and leaves nothing behind. COMMAND finds in its environment:
#   AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY    the only key that the store knows
#   PITR_TEST_S3           which store: rgw or garage
#   PITR_TEST_S3_ENDPOINT  its address;  PITR_TEST_S3_TLS_ENDPOINT, PITR_TEST_S3_CA_FILE  the same over TLS, and whom to trust
#   PITR_TEST_S3_REGION, PITR_TEST_S3_BUCKET
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../env.sh"
[ $# -ge 2 ] || die "usage: with.sh STORE COMMAND..."
store=$1
shift
serve=$PARTS/stores/$store.sh
[ -x "$serve" ] || die "there is no store \"$store\""
"$PARTS/stores/possible.sh" || exit 1
need curl flock openssl python3 setpriv unshare
"$PARTS/stores/build.sh" "$store"

# A folder whose lock is free belongs to nobody any more: its owner was killed.
mkdir -p "$PITR_CACHE/state"
for left in "$PITR_CACHE"/state/store-*; do
  if [ -e "$left/lock" ] && flock --nonblock "$left/lock" true; then rm -rf --one-file-system "$left"; fi
done
state=$(mktemp -d "$PITR_CACHE/state/store-XXXXXX")
exec {lock}>"$state/lock"
flock "$lock"

pid=
# shellcheck disable=SC2317 # the trap calls it
end() {
  if [ -n "$pid" ]; then
    kill -9 "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  fi
  rm -rf --one-file-system "$state"
}
trap end EXIT
trap 'exit 130' INT TERM HUP

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=localhost \
  -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE \
  -keyout "$state/tls.key" -out "$state/tls.crt" 2>/dev/null
# Five ports that are free now: for HTTP, for TLS, and for what the programs of a store tell each other.
mapfile -t ports < <(python3 -c '
import socket
taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(5)]
print(*(one.getsockname()[1] for one in taken), sep="\n")')
http=${ports[0]} tls=${ports[1]} access_key=GK$(openssl rand -hex 12) secret_key=$(openssl rand -hex 32)
printf '%s\n' "http=$http tls=$tls first=${ports[2]} second=${ports[3]} third=${ports[4]}" \
  "access_key=$access_key secret_key=$secret_key" >"$state/settings"

begun=$SECONDS
# With the first process of its pid namespace go all others, and with this script goes that one.
setsid setpriv --pdeathsig KILL unshare --mount --propagation private --pid --fork --kill-child \
  "$serve" "$state" "$PITR_CACHE" </dev/null >"$state/log" 2>&1 {lock}>&- &
pid=$!
for _ in $(seq 900); do
  if [ -e "$state/ready" ] || ! kill -0 "$pid" 2>/dev/null; then break; fi
  sleep 0.1
done
make_bucket() {
  printf 'user = "%s:%s"\n' "$access_key" "$secret_key" |
    curl --config - --silent --fail-with-body --max-time 30 --aws-sigv4 "aws:amz:$region:s3" \
      --header "x-amz-content-sha256: UNSIGNED-PAYLOAD" --request PUT "http://127.0.0.1:$http/backups"
}
region=$(cat "$state/ready" 2>/dev/null || true)
if [ -z "$region" ] || ! make_bucket >>"$state/log" 2>&1; then
  tail -n 40 "$state/log" >&2
  die "$store did not start"
fi
say "$store answers after $((SECONDS - begun)) s"

export AWS_ACCESS_KEY_ID=$access_key AWS_SECRET_ACCESS_KEY=$secret_key
export PITR_TEST_S3=$store PITR_TEST_S3_REGION=$region PITR_TEST_S3_BUCKET=backups
export PITR_TEST_S3_ENDPOINT=http://127.0.0.1:$http PITR_TEST_S3_TLS_ENDPOINT=https://127.0.0.1:$tls PITR_TEST_S3_CA_FILE=$state/tls.crt
status=0
"$@" {lock}>&- || status=$?
exit $status
