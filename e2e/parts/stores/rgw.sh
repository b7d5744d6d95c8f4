#!/usr/bin/env bash
# rgw.sh STATE CACHE: the first process of a pid namespace that with.sh has made. It puts on Ceph's root, starts a monitor, one
# OSD and the gateway, and writes the region to STATE/ready once the gateway answers.
# shellcheck disable=SC1091,SC2154 # the settings, made by with.sh, give the ports and the key
set -euo pipefail

put_on_the_root() { # put_on_the_root STATE ROOT
  local device
  cp "$0" "$1/rgw.sh"
  cd "$2"
  mount --bind "$1" state
  mount -t proc proc proc
  for device in null zero full random urandom; do mount --bind "/dev/$device" "dev/$device"; done
  mount -t tmpfs tmpfs run
  mount -t tmpfs -o mode=1777 tmpfs tmp
  exec chroot . /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin CEPH_CONF=/state/ceph.conf /bin/bash /state/rgw.sh
}

write_configuration() { # write_configuration FSID
  cat >ceph.conf <<CONF
[global]
fsid = $1
mon_initial_members = a
mon_host = [v2:127.0.0.1:$first]
public_addr = 127.0.0.1
keyring = /state/keyring
mon_data = /state/mon
osd_data = /state/osd
rgw_data = /state/rgw
log_file = /state/\$name.log
mon_cluster_log_file = /state/cluster.log
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 2000
paxos_propose_interval = 0.05
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pgp_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
osd_mclock_skip_benchmark = true
osd_memory_target = 939524096
bluestore_block_size = 17179869184
[osd]
keyring = /state/osd.keyring
[client.admin]
rgw_frontends = beast endpoint=127.0.0.1:$http ssl_endpoint=127.0.0.1:$tls ssl_certificate=/state/tls.crt ssl_private_key=/state/tls.key
rgw_dns_name = localhost
CONF
}

start_monitor() { # start_monitor FSID
  ceph-authtool --create-keyring keyring --gen-key -n mon. --cap mon 'allow *'
  ceph-authtool keyring --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *'
  monmaptool --create --addv a "[v2:127.0.0.1:$first]" --fsid "$1" monmap
  ceph-mon --mkfs -i a --monmap monmap --keyring keyring
  ceph-mon -i a -f >mon.out 2>&1 &
}

start_osd() { # its folder of object classes is relative: it must run in /
  local uuid secret
  uuid=$(cat /proc/sys/kernel/random/uuid)
  ceph-authtool --create-keyring osd.keyring --gen-key -n osd.0
  secret=$(ceph-authtool osd.keyring -n osd.0 -p)
  ceph --connect-timeout 30 osd new "$uuid" -i - <<<"{\"cephx_secret\":\"$secret\"}"
  mkdir osd
  ceph-osd -i 0 --mkfs --osd-uuid "$uuid" >osd.out 2>&1
  (cd / && exec ceph-osd -i 0 -f >>/state/osd.out 2>&1) &
}

start_gateway() {
  mkdir -p rgw/ceph-admin
  cp keyring rgw/ceph-admin/keyring
  # The first to come makes the pools; two at once only hinder each other.
  radosgw-admin -n client.admin user create --uid=tests --display-name=tests --access-key="$access_key" --secret-key="$secret_key" >/dev/null
  # One more storage class than STANDARD, in a pool of its own.
  radosgw-admin -n client.admin zonegroup placement add --rgw-zonegroup=default --placement-id=default-placement \
    --storage-class=STANDARD_IA >/dev/null
  radosgw-admin -n client.admin zone placement add --rgw-zone=default --placement-id=default-placement \
    --storage-class=STANDARD_IA --data-pool=default.rgw.rarely.data >/dev/null
  radosgw -n client.admin -f >rgw.out 2>&1 &
  until (exec 3<>"/dev/tcp/127.0.0.1/$http") 2>/dev/null; do sleep 0.1; done
  echo default >ready
}

if [ $# = 2 ]; then put_on_the_root "$1" "$2/rgw"; fi
cd /state
. ./settings
fsid=$(cat /proc/sys/kernel/random/uuid)
write_configuration "$fsid"
start_monitor "$fsid"
start_osd
start_gateway
wait -n # none of them ends by itself
cat ./*.out
exit 1
