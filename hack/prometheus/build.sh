#!/bin/sh
# Builds promtool and Prometheus into bin/prometheus/, each only when it is missing or older than go.mod.
#
#   hack/prometheus/build.sh [NAME...]     NAME: promtool, prometheus; both by default
set -eu

module=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
project=$(dirname -- "$(dirname -- "$module")")

[ $# -gt 0 ] || set -- promtool prometheus
for name in "$@"; do
  case $name in
    promtool | prometheus) ;;
    *)
      echo "build.sh: expected promtool or prometheus, got $name" >&2
      exit 2
      ;;
  esac
  # Without the clients of all clouds for service discovery, which are most of it: what is scraped here is named.
  "$project/hack/go-build.sh" "$module" "$project/bin/prometheus/$name" "github.com/prometheus/prometheus/cmd/$name" \
    -tags remove_all_sd -ldflags '-s -w'
done
