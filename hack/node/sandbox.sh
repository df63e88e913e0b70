#!/bin/sh
# What hack/node/sandbox.ts starts as the first process of namespaces of their own: prepares them, then runs a program in
# them. All that is made here goes with the namespaces, and nothing of it is seen outside.
#
#   sandbox.sh FOLDER PROJECT PROGRAM [ARGUMENT...]     FOLDER: for what the machine keeps on its disk
#
# The network has no way out: there is no device but the loopback and a bridge. The bridge has its address before anything
# connects to that, and the addresses of Services are behind it: what no rule translates meets nobody there.
set -eu
folder=$1
project=$2
shift 2

ip link set lo up
ip link add "$BRIDGE" type bridge
ip address add "$GATEWAY/$PREFIX" dev "$BRIDGE"
ip link set "$BRIDGE" up
ip route add "$SERVICE_RANGE" dev "$BRIDGE"
# Traffic between pods passes kube-proxy's rules too.
echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables
echo 1 >/proc/sys/net/ipv4/ip_forward

# Kubelet looks at what is mounted, and wants to pass it on to containers.
mount --make-rshared /
# The machine's own containerd, kubelet and network plugins, if it has any, are neither seen nor touched.
mount -t tmpfs -o mode=755 tmpfs /run
mkdir "$folder/tmp" "$folder/sysctl"
for hidden in /var/lib /var/log /etc/docker; do
  [ -d "$hidden" ] || continue
  mkdir -p "$folder/hides$hidden"
  mount --bind "$folder/hides$hidden" "$hidden"
done
# Kubelet sets these of the kernel, which has them once for all namespaces: it gets files to write to.
for name in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys \
  kernel/keys/root_maxbytes; do
  [ -e "/proc/sys/$name" ] || continue
  file=$folder/sysctl/$(echo "$name" | tr / .)
  cat "/proc/sys/$name" >"$file"
  mount --bind "$file" "/proc/sys/$name"
done

cd "$project"
status=0
# Not in this process: the first of a namespace collects what others leave behind, which programs do not expect to do.
TMPDIR=$folder/tmp KUBECACHEDIR=$folder/kubectl "$@" || status=$?
exit "$status"
