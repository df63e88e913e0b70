#!/bin/sh
# Builds what runs in the pods of the node beside the operator into bin/node/, each only when it is missing or older than
# its source or go.mod. They need no library, so an image of one holds nothing else.
#
#   hack/node/build.sh
set -eu

module=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
project=$(dirname -- "$(dirname -- "$module")")

for name in pause coredns; do
  CGO_ENABLED=0 "$project/hack/go-build.sh" "$module" "$project/bin/node/$name" "./cmd/$name" -ldflags '-s -w'
done
