#!/bin/sh
# Installs what the node takes from Debian's packages, each only when its program is missing.
#
#   hack/node/install.sh [--docker]     --docker: what builds images by a Dockerfile, too
set -eu

fail() {
  echo "install.sh: $1" >&2
  exit 1
}

[ "$(uname -s)" = Linux ] || fail "expected Linux, whose containers the node runs, got $(uname -s)"
[ "$(id -u)" -eq 0 ] || fail "expected root, who alone can make namespaces, a bridge and containers; got user $(id -un).
Run this as root, or set KUBECONFIG to use a cluster that exists."

# PROGRAM=PACKAGE; paths where Debian has a plugin that is on no PATH.
case ${1-} in
  '') docker= ;;
  --docker) docker='dockerd=docker.io docker=docker.io' ;;
  *) fail "expected --docker or nothing, got $1" ;;
esac
missing=
# shellcheck disable=SC2086 # one word an entry
for entry in containerd=containerd ctr=containerd containerd-shim-runc-v2=containerd runc=runc \
  /usr/lib/cni/bridge=containernetworking-plugins iptables=iptables conntrack=conntrack ip=iproute2 \
  unshare=util-linux mount=mount tar=tar $docker; do
  command -v "${entry%%=*}" >/dev/null && continue
  package=${entry#*=}
  case " $missing " in *" $package "*) ;; *) missing="$missing $package" ;; esac
done
[ -n "$missing" ] || exit 0

command -v apt-get >/dev/null ||
  fail "expected a system with apt-get, as Debian and Ubuntu are, or the programs of these packages:$missing"
echo "install.sh: installing$missing"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086 # one word a package
{ apt-get update && apt-get install --yes --no-install-recommends $missing; } >"$log" 2>&1 || {
  cat "$log" >&2
  fail "apt-get could not install$missing"
}
