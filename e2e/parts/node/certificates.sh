# Sourced by up.sh: make_certificates FOLDER, write_kubeconfig FILE USER SERVER. All that one cluster needs, for 30 days.
# shellcheck shell=bash disable=SC2154 # up.sh and env.sh set conf and the addresses

make_certificate() { # make_certificate NAME SUBJECT [SUBJECT_ALTERNATIVE_NAMES]
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "$2" \
    -CA "$conf/ca.crt" -CAkey "$conf/ca.key" -keyout "$conf/$1.key" -out "$conf/$1.crt" \
    -addext basicConstraints=critical,CA:FALSE -addext keyUsage=critical,digitalSignature \
    -addext extendedKeyUsage=serverAuth,clientAuth ${3:+-addext "subjectAltName=$3"} 2>/dev/null
}

write_kubeconfig() { # write_kubeconfig FILE USER SERVER
  install -m 600 /dev/null "$1"
  cat >"$1" <<YAML
apiVersion: v1
kind: Config
clusters: [{name: pitr, cluster: {server: "$3", certificate-authority-data: $(base64 -w0 <"$conf/ca.crt")}}]
users: [{name: $2, user: {client-certificate-data: $(base64 -w0 <"$conf/$2.crt"), client-key-data: $(base64 -w0 <"$conf/$2.key")}}]
contexts: [{name: pitr, context: {cluster: pitr, user: $2}}]
current-context: pitr
YAML
}

make_certificates() {
  if [ -e "$conf/certificates" ]; then return; fi
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=pitr-node-ca \
    -addext keyUsage=critical,keyCertSign,digitalSignature -keyout "$conf/ca.key" -out "$conf/ca.crt" 2>/dev/null
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$conf/sa.key" 2>/dev/null
  openssl pkey -in "$conf/sa.key" -pubout -out "$conf/sa.pub" 2>/dev/null
  local names=kubernetes.default.svc.cluster.local user
  make_certificate apiserver /CN=kube-apiserver \
    "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:$names,DNS:localhost,IP:127.0.0.1,IP:$api_service_address,IP:$node_address"
  make_certificate kubelet-server /CN=node1 "DNS:node1,IP:$node_address"
  make_certificate kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client
  make_certificate front-proxy /CN=front-proxy-client
  make_certificate admin /O=system:masters/CN=admin
  make_certificate node-programs /O=system:masters/CN=pitr-node-programs
  make_certificate kubelet /O=system:nodes/CN=system:node:node1
  for user in kube-controller-manager kube-scheduler kube-proxy; do make_certificate "$user" "/CN=system:$user"; done
  for user in admin node-programs kubelet kube-controller-manager kube-scheduler kube-proxy; do
    write_kubeconfig "$conf/$user.kubeconfig" "$user" "https://$node_address:6443"
  done
  : >"$conf/certificates"
}
