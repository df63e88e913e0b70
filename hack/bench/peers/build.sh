#!/bin/sh
# Builds the operators of other makes that the benchmark compares ours with into bin/peers/, from the Go module proxy,
# each only when it is missing or older than its sources or go.mod, which names the versions.
#
#   hack/bench/peers/build.sh [NAME...]     NAME: controller-runtime-operator; all by default
set -eu

module=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
out=$(dirname -- "$(dirname -- "$(dirname -- "$module")")")/bin/peers

fail() {
  echo "build.sh: $1" >&2
  exit 1
}

[ $# -gt 0 ] || set -- controller-runtime-operator
missing=
for name in "$@"; do
  [ "$name" = controller-runtime-operator ] || fail "expected controller-runtime-operator, got $name"
  if [ -x "$out/$name" ]; then
    newer=$(find "$module" \( -name '*.go' -o -name go.mod -o -name go.sum \) -newer "$out/$name")
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
echo "build.sh: building$missing into $out; about three minutes when nothing is cached, else seconds"
for name in $missing; do
  # Renamed when whole, so that an interrupted build never looks like a finished one.
  unfinished=$out/.$name.$$
  go build -C "$module" -mod=readonly -trimpath -ldflags '-s -w' -o "$unfinished" "./cmd/$name"
  mv -f "$unfinished" "$out/$name"
  unfinished=
done
