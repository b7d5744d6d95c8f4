#!/usr/bin/env bash
# init.sh: the node's first process. up.sh starts it in new namespaces, with descriptor 8 open on the host's network
# namespace. "outside" makes the node's root while the host's files are still in sight, then "inside" runs the programs.
# shellcheck disable=SC1091,SC2154 # conf/node.env, made by up.sh, sets the addresses
set -euo pipefail

make_devices() {
  local device name major minor
  mount -t tmpfs -o mode=755 tmpfs dev
  mkdir dev/pts dev/shm
  mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts dev/pts
  mount -t tmpfs -o mode=1777 tmpfs dev/shm
  ln -s pts/ptmx dev/ptmx
  ln -s /proc/self/fd dev/fd
  for device in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0 kmsg:1:11 fuse:10:229; do
    IFS=: read -r name major minor <<<"$device"
    mknod -m 666 "dev/$name" c "$major" "$minor"
  done
}

# In its cgroup namespace the cluster's own group is the root of each hierarchy. Named ones (name=systemd) belong there
# too: without them containerd finds no cgroup, and an OOM kill looks like any other.
make_cgroups() {
  local controllers folder name
  mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
  while IFS=: read -r _ controllers _; do
    [ -n "$controllers" ] || continue
    folder=sys/fs/cgroup/${controllers#name=}
    mkdir "$folder"
    mount -t cgroup -o "${controllers/#name=/none,name=}" cgroup "$folder"
    [[ $controllers == *,* ]] || continue
    for name in ${controllers//,/ }; do ln -s "$controllers" "sys/fs/cgroup/$name"; done
  done </proc/self/cgroup
}

make_network() {
  ip link set lo up
  ip link add cni0 type bridge
  ip addr add "$node_address/24" dev cni0
  ip link set cni0 up
  ip route add "$service_network" dev cni0 # service addresses need some route before kube-proxy's rules see the packets
  ip route add unreachable default         # whatever is outside fails at once instead of timing out
}

outside() {
  local state=$1 cache=$2 pid
  read -r pid _ </proc/self/stat # /proc is the host's still, and so is this pid
  echo "$pid $(readlink "/proc/$pid/ns/pid")" >"$state/node.pid"
  . "$state/conf/node.env"
  hostname node1
  make_network
  mount -t overlay overlay -o "lowerdir=$cache/node,upperdir=$state/upper,workdir=$state/work" "$state/root"
  cd "$state/root"
  mkdir -p conf cache state old volumes usr/local/bin var/lib/containerd var/lib/kubelet var/log/pods
  mount --bind "$state/conf" conf
  mount --bind "$state" state
  mount --bind "$cache" cache
  mount --bind "$cache/bin" usr/local/bin
  mount --bind "$state/containerd" var/lib/containerd # containerd stacks overlays there, which no overlay may hold
  mount --bind "$state/kubelet" var/lib/kubelet
  mount --bind "$state/podlog" var/log/pods
  mount --bind "$state/volumes" volumes
  mount -t proc proc proc
  mount -t sysfs sysfs sys
  mount -t tmpfs tmpfs run
  mount -t tmpfs -o mode=1777 tmpfs tmp
  make_devices
  make_cgroups
  pivot_root . old
  umount -l old
  rmdir old
  mount --make-rshared /
  exec env -i HOME=/root PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /bin/bash /conf/init.sh inside
}

keep() { # keep NAME COMMAND...: runs a program, and again a second after it has ended
  local name=$1 status
  shift
  while :; do
    status=0
    "$@" >>"/state/log/$name.log" 2>&1 8>&- || status=$?
    echo "$(date +%T) $name ended with status $status and is started again"
    sleep 1
  done &
}

api_server() {
  kube-apiserver --advertise-address="$node_address" --secure-port=6443 --etcd-servers=http://127.0.0.1:2379 \
    --service-cluster-ip-range="$service_network" --allow-privileged=true \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
    --client-ca-file=/conf/ca.crt --tls-cert-file=/conf/apiserver.crt --tls-private-key-file=/conf/apiserver.key \
    --service-account-issuer=https://kubernetes.default.svc.cluster.local \
    --service-account-key-file=/conf/sa.pub --service-account-signing-key-file=/conf/sa.key \
    --requestheader-client-ca-file=/conf/ca.crt --requestheader-allowed-names=front-proxy-client \
    --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group \
    --requestheader-extra-headers-prefix=X-Remote-Extra- \
    --proxy-client-cert-file=/conf/front-proxy.crt --proxy-client-key-file=/conf/front-proxy.key \
    --kubelet-certificate-authority=/conf/ca.crt --kubelet-preferred-address-types=InternalIP \
    --kubelet-client-certificate=/conf/kubelet-client.crt --kubelet-client-key=/conf/kubelet-client.key \
    --audit-policy-file=/conf/audit.yaml --audit-log-path=/state/log/audit.log
}

inside() {
  cd /
  . /conf/node.env
  export KUBECONFIG=/conf/node-programs.kubeconfig
  echo 1 >/proc/sys/net/ipv4/ip_forward

  keep containerd containerd --config /conf/containerd.toml
  keep etcd etcd --name node1 --data-dir /state/etcd --unsafe-no-fsync --log-level warn \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
    --initial-cluster node1=http://127.0.0.1:2380
  keep kube-apiserver api_server
  # The one program that must see the host's network: it brings the API server to the host's loopback.
  while :; do
    netfwd /proc/self/fd/8 "$api_listen" - "$node_address:6443" /state/api.address || sleep 1
  done >>/state/log/netfwd.log 2>&1 &
  until kubectl get --raw /readyz >/dev/null 2>&1; do sleep 0.2; done

  keep kube-controller-manager kube-controller-manager --kubeconfig=/conf/kube-controller-manager.kubeconfig \
    --authentication-kubeconfig=/conf/kube-controller-manager.kubeconfig \
    --authorization-kubeconfig=/conf/kube-controller-manager.kubeconfig --leader-elect=false \
    --use-service-account-credentials=true --service-account-private-key-file=/conf/sa.key --root-ca-file=/conf/ca.crt
  keep kube-scheduler kube-scheduler --kubeconfig=/conf/kube-scheduler.kubeconfig --leader-elect=false \
    --authentication-kubeconfig=/conf/kube-scheduler.kubeconfig --authorization-kubeconfig=/conf/kube-scheduler.kubeconfig
  until ctr version >/dev/null 2>&1; do sleep 0.1; done
  ctr -n k8s.io images import /cache/images/pause.tar >/dev/null
  keep kubelet kubelet --config=/conf/kubelet.yaml --kubeconfig=/conf/kubelet.kubeconfig --hostname-override=node1 \
    --node-ip="$node_address"
  keep kube-proxy kube-proxy --proxy-mode=nftables --kubeconfig=/conf/kube-proxy.kubeconfig --hostname-override=node1 \
    --cluster-cidr="$pod_network" --conntrack-max-per-core=0 --conntrack-tcp-timeout-established=0 \
    --conntrack-tcp-timeout-close-wait=0
  keep kubedns kubedns -conf /conf/Corefile
  keep folder-provisioner folder-provisioner --kubeconfig=/conf/node-programs.kubeconfig --dir=/volumes --node=node1
  kubectl apply -f /conf/classes.yaml
  until [ -s /state/api.address ]; do sleep 0.1; done
  : >/state/ready
  exec 8>&-
  while :; do wait || true; sleep 1; done # the first process of a pid namespace must never end, and reaps orphans
}

"$@"
