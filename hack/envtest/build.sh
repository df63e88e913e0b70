#!/bin/sh
# Builds the binaries of the test control plane into bin/k8s/, from the Go module proxy, each only when it is missing or
# older than go.mod, which names the versions.
#
#   hack/envtest/build.sh [NAME...]     NAME: etcd, kube-apiserver, kube-controller-manager, kubectl, which are the
#                                       default; kubelet, kube-proxy, kube-scheduler, which a node needs too
#
# With KUBEBUILDER_ASSETS set to a folder that holds etcd and kube-apiserver, only what that folder lacks is built.
# With KUBERNETES=1.34 that version of Kubernetes is built, into bin/k8s-1.34, whatever KUBEBUILDER_ASSETS says; the
# folder kubernetes-1.34 says what it is.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
module=$here
out=$(dirname -- "$(dirname -- "$here")")/bin/k8s
assets=${KUBEBUILDER_ASSETS:-}

fail() {
  echo "build.sh: $1" >&2
  exit 1
}

package() {
  case $1 in
    etcd) echo go.etcd.io/etcd/server/v3 ;;
    kube-apiserver | kube-controller-manager | kubectl | kubelet | kube-proxy | kube-scheduler)
      echo "k8s.io/kubernetes/cmd/$1"
      ;;
    *)
      fail "expected etcd, kube-apiserver, kube-controller-manager, kubectl, kubelet, kube-proxy or kube-scheduler, got $1"
      ;;
  esac
}

if [ -n "${KUBERNETES:-}" ]; then
  module=$here/kubernetes-$KUBERNETES
  out=$out-$KUBERNETES
  assets=
  [ -f "$module/go.mod" ] || fail "expected $module/go.mod to say what Kubernetes $KUBERNETES is, found none"
fi

# Prints the folder of the module that a program is built from: one etcd serves all versions of Kubernetes.
module_of() {
  if [ "$1" = etcd ]; then echo "$here"; else echo "$module"; fi
}

if [ -n "$assets" ]; then
  for name in etcd kube-apiserver; do
    [ -x "$assets/$name" ] || fail "KUBEBUILDER_ASSETS is $assets, which holds no executable $name.
Point it at a folder that does, for example KUBEBUILDER_ASSETS=\$(setup-envtest use -p path), or unset it to build."
  done
fi

[ $# -gt 0 ] || set -- etcd kube-apiserver kube-controller-manager kubectl
missing=
for name in "$@"; do
  package "$name" >/dev/null
  if [ -n "$assets" ] && [ -x "$assets/$name" ]; then continue; fi
  if [ -x "$out/$name" ] && ! [ "$(module_of "$name")/go.mod" -nt "$out/$name" ]; then continue; fi
  missing="$missing $name"
done
[ -n "$missing" ] || exit 0

[ -z "$assets" ] || echo "build.sh: KUBEBUILDER_ASSETS ($assets) lacks:$missing"
command -v go >/dev/null || fail "cannot get$missing: there is no Go here to build with. Either
  install Go 1.26 (1.21 or newer fetches it by itself): https://go.dev/doc/install
  or use binaries that exist: KUBEBUILDER_ASSETS=\$(setup-envtest use -p path); it has etcd, kube-apiserver and kubectl,
  but no kube-controller-manager, without which namespaces stay Terminating and nothing is garbage-collected."

version() {
  sed -n -E "s|^(require)?[[:space:]]*$1 v([0-9.]*).*|\2|p" "$2/go.mod" | head -n 1
}
kubernetes=$(version k8s.io/kubernetes "$module")
etcd=$(version go.etcd.io/etcd/server/v3 "$here")
major=${kubernetes%%.*}
minor=${kubernetes#*.}
minor=${minor%%.*}
base=k8s.io/component-base/version
ldflags="-s -w -X $base.gitVersion=v$kubernetes -X $base.gitMajor=$major -X $base.gitMinor=$minor"

mkdir -p "$out"
unfinished=
trap '[ -z "$unfinished" ] || rm -f "$unfinished"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
echo "build.sh: building$missing into $out; once, about five minutes in all when nothing is cached"
for name in $missing; do
  if [ "$name" = etcd ]; then release=$etcd; else release=$kubernetes; fi
  echo "build.sh: building $name v$release"
  # Renamed when whole, so that an interrupted build never looks like a finished one.
  unfinished=$out/.$name.$$
  go build -C "$(module_of "$name")" -mod=readonly -ldflags "$ldflags" -o "$unfinished" "$(package "$name")"
  mv -f "$unfinished" "$out/$name"
  unfinished=
done
