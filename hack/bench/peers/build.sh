#!/bin/sh
# Builds the operators of other makes that the benchmarks compare ours with into bin/peers/, from the Go module proxy,
# each only when it is missing or older than its sources or go.mod, which names the versions.
#
#   hack/bench/peers/build.sh [NAME...]
#
# NAME: controller-runtime-operator, the default; kyverno-admission-controller, kyverno-background-controller
set -eu

peers=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
out=$(dirname -- "$(dirname -- "$(dirname -- "$peers")")")/bin/peers

fail() {
  echo "build.sh: $1" >&2
  exit 1
}

module() {
  case $1 in
    controller-runtime-operator) echo "$peers" ;;
    kyverno-admission-controller | kyverno-background-controller) echo "$peers/kyverno" ;;
    *) fail "expected controller-runtime-operator, kyverno-admission-controller or kyverno-background-controller, got $1" ;;
  esac
}

package() {
  case $1 in
    kyverno-admission-controller) echo github.com/kyverno/kyverno/cmd/kyverno ;;
    kyverno-*) echo "github.com/kyverno/kyverno/cmd/${1#kyverno-}" ;;
    *) echo "./cmd/$1" ;;
  esac
}

[ $# -gt 0 ] || set -- controller-runtime-operator
missing=
for name in "$@"; do
  sources=$(module "$name")
  if [ -x "$out/$name" ]; then
    # A module in a folder of this one is no source of it.
    newer=$(find "$sources" -path "$sources/kyverno" -prune -o \
      \( -name '*.go' -o -name go.mod -o -name go.sum \) -newer "$out/$name" -print)
    [ -n "$newer" ] || continue
  fi
  missing="$missing $name"
done
[ -n "$missing" ] || exit 0

command -v go >/dev/null || fail "cannot get$missing: there is no Go here to build with.
  Install Go 1.26 (1.21 or newer fetches it by itself): https://go.dev/doc/install"

mkdir -p "$out"
unfinished=
trap '[ -z "$unfinished" ] || rm -f "$unfinished"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
echo "build.sh: building$missing into $out; minutes when nothing is cached, about five for Kyverno, else seconds"
for name in $missing; do
  # Renamed when whole, so that an interrupted build never looks like a finished one.
  unfinished=$out/.$name.$$
  go build -C "$(module "$name")" -mod=readonly -trimpath -ldflags '-s -w' -o "$unfinished" "$(package "$name")"
  mv -f "$unfinished" "$out/$name"
  unfinished=
done
