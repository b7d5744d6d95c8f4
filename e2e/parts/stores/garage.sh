#!/usr/bin/env bash
# garage.sh STATE CACHE: the first process of a pid namespace that with.sh has made. It starts Garage, one node of it, and in front of
# that what speaks TLS, and writes the region to STATE/ready once it answers.
# shellcheck disable=SC1091,SC2154 # the settings, made by with.sh, give the ports and the key
set -euo pipefail
parts=$(cd "$(dirname "$0")" && pwd)
garage() { "$garage" -c garage.toml "$@"; }

write_configuration() {
  cat >garage.toml <<CONF
metadata_dir = "$PWD/meta"
data_dir = "$PWD/data"
db_engine = "sqlite"
replication_factor = 1
rpc_bind_addr = "127.0.0.1:$first"
rpc_public_addr = "127.0.0.1:$first"
rpc_secret = "$(openssl rand -hex 32)"
[s3_api]
s3_region = "garage"
api_bind_addr = "127.0.0.1:$http"
CONF
}

lay_out() { # one node, which holds everything
  local node
  until node=$(garage node id --quiet 2>/dev/null); do sleep 0.1; done
  until garage status >/dev/null 2>&1; do sleep 0.1; done
  garage layout assign --zone here --capacity 10G "${node%%@*}"
  garage layout apply --version 1
  garage key import --yes -n tests "$access_key" "$secret_key"
  garage key allow --create-bucket "$access_key"
}

garage=$2/garage/bin/garage
cd "$1"
. ./settings
write_configuration
garage server >garage.out 2>&1 &
python3 "$parts/tls.py" "$tls" "$http" tls.crt tls.key >tls.out 2>&1 &
lay_out
until (exec 3<>"/dev/tcp/127.0.0.1/$http") 2>/dev/null && (exec 3<>"/dev/tcp/127.0.0.1/$tls") 2>/dev/null; do sleep 0.1; done
echo garage >ready
wait -n # none of them ends by itself
cat ./*.out
exit 1
