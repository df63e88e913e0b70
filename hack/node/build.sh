#!/bin/sh
# Builds what runs on the node beside the operator and Kubernetes into bin/node/, each only when it is missing or older
# than its source or go.mod. They need no library, so an image of one holds nothing else.
#
#   hack/node/build.sh
set -eu

module=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
project=$(dirname -- "$(dirname -- "$module")")

# build MODULE NAME PACKAGE
build() {
  CGO_ENABLED=0 "$project/hack/go-build.sh" "$1" "$project/bin/node/$2" "$3" -ldflags '-s -w'
}

for name in pause coredns; do
  build "$module" "$name" "./cmd/$name"
done
policies=kube-network-policies
build "$module/enforcement" "$policies" "sigs.k8s.io/$policies/cmd/$policies/standard"
