#!/usr/bin/env bash
# build.sh [programs] [root]: builds what the node runs on, as far as it is missing or out of date (default: both).
#   programs   Kubernetes, etcd, kubectl, DNS and our small helpers, from Go modules: $PITR_CACHE/bin (6 min once)
#   root       containerd, runc, CNI plugins and a shell, from Debian packages: $PITR_CACHE/node (10 s once)
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
bin=$PITR_CACHE/bin

build_programs() {
  need go
  hold node-programs
  mkdir -p "$bin"
  export CGO_ENABLED=0 GOFLAGS=-buildvcs=false GOTOOLCHAIN=local
  if outdated "$bin/kubeall" "$NODE/kubeall" "$(go version)"; then
    local version minor stamp=k8s.io/component-base/version
    version=$(sed -n 's/^\tk8s.io\/kubernetes //p' "$NODE/kubeall/go.mod")
    minor=${version#v1.}
    say "building Kubernetes $version (about 6 minutes on 2 cores, once)"
    # Without these flags each program takes itself for v0.0.0-master and decides wrongly what is on by default.
    (cd "$NODE/kubeall" && go build -trimpath -o "$bin/kubeall" -ldflags "-s -w -X $stamp.gitVersion=$version \
      -X $stamp.gitMajor=1 -X $stamp.gitMinor=${minor%%.*} -X $stamp.gitTreeState=clean" .)
    (cd "$NODE/kubeall" && go build -trimpath -ldflags '-s -w' -o "$bin/" ./pause ./netfwd)
    local name
    for name in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl folder-provisioner; do
      ln -sfn kubeall "$bin/$name"
    done
    built
  fi
  if outdated "$bin/kubedns" "$NODE/kubedns" "$(go version)"; then
    (cd "$NODE/kubedns" && go build -trimpath -ldflags '-s -w' -o "$bin/kubedns" .)
    built
  fi
}

build_root() {
  local root=$PITR_CACHE/node
  local packages=(base-files bash coreutils util-linux mount containerd runc containernetworking-plugins nftables
    -- debconf 'perl*' 'libperl*')
  hold node-root
  if outdated "$root" "$PITR_DEBIAN_SUITE" "${packages[@]}" "$NODE/build.sh" "$PARTS/debs.sh"; then
    if grep -qs "lowerdir=${root}[,:]" /proc/[0-9]*/mountinfo; then
      die "a cluster is up on $root: take it down (make demo-down) before its root is built anew"
    fi
    "$PARTS/debs.sh" "$root" "${packages[@]}"
    echo 'root:x:0:0::/root:/bin/bash' >"$root/etc/passwd"
    echo 'root:x:0:' >"$root/etc/group"
    echo '127.0.0.1 localhost' >"$root/etc/hosts"
    : >"$root/etc/resolv.conf"
    ln -sf bash "$root/usr/bin/sh"
    built
  fi
}

[ $# -gt 0 ] || set -- programs root
for part; do "build_$part"; done
