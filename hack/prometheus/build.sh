#!/bin/sh
# Builds promtool and Prometheus into bin/prometheus/, from the Go module proxy, each only when it is missing or older than
# go.mod, which names the version.
#
#   hack/prometheus/build.sh [NAME...]     NAME: promtool, prometheus; both by default
set -eu

module=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
out=$(dirname -- "$(dirname -- "$module")")/bin/prometheus

fail() {
  echo "build.sh: $1" >&2
  exit 1
}

[ $# -gt 0 ] || set -- promtool prometheus
missing=
for name in "$@"; do
  case $name in
    promtool | prometheus) ;;
    *) fail "expected promtool or prometheus, got $name" ;;
  esac
  if [ -x "$out/$name" ] && ! [ "$module/go.mod" -nt "$out/$name" ]; then continue; fi
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
echo "build.sh: building$missing into $out; once, some minutes when nothing is cached"
for name in $missing; do
  # Renamed when whole, so that an interrupted build never looks like a finished one.
  unfinished=$out/.$name.$$
  # Without the clients of all clouds for service discovery, which are most of it: what is scraped here is named.
  go build -C "$module" -mod=readonly -trimpath -tags remove_all_sd -ldflags '-s -w' -o "$unfinished" \
    "github.com/prometheus/prometheus/cmd/$name"
  mv -f "$unfinished" "$out/$name"
  unfinished=
done
