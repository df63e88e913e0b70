#!/bin/sh
# Builds the operators of other makes that the benchmarks compare ours with into bin/peers/, each only when it is missing or
# older than its sources or go.mod.
#
#   hack/bench/peers/build.sh [NAME...]
#
# NAME: controller-runtime-operator, the default; kyverno-admission-controller, kyverno-background-controller, which take
# about five minutes when nothing is cached
set -eu

peers=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
project=$(dirname -- "$(dirname -- "$(dirname -- "$peers")")")

[ $# -gt 0 ] || set -- controller-runtime-operator
for name in "$@"; do
  module=$peers/kyverno
  case $name in
    controller-runtime-operator)
      module=$peers
      package=./cmd/$name
      ;;
    kyverno-admission-controller) package=github.com/kyverno/kyverno/cmd/kyverno ;;
    kyverno-background-controller) package=github.com/kyverno/kyverno/cmd/background-controller ;;
    *)
      echo "build.sh: expected controller-runtime-operator, kyverno-admission-controller or" \
        "kyverno-background-controller, got $name" >&2
      exit 2
      ;;
  esac
  "$project/hack/go-build.sh" "$module" "$project/bin/peers/$name" "$package" -ldflags '-s -w'
done
