#!/bin/sh
# Builds what runs in the pods of the node beside the operator into bin/node/, from the Go module proxy, each only when it
# is missing or older than its source or go.mod, which names the versions. They need no library, so an image of one holds
# nothing else.
#
#   hack/node/build.sh
set -eu

module=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
out=$(dirname -- "$(dirname -- "$module")")/bin/node

missing=
for name in pause coredns; do
  if [ -x "$out/$name" ] && [ -z "$(find "$module/go.mod" "$module/cmd/$name" -newer "$out/$name")" ]; then continue; fi
  missing="$missing $name"
done
[ -n "$missing" ] || exit 0

command -v go >/dev/null || {
  echo "build.sh: expected Go to build$missing with, found none: https://go.dev/doc/install" >&2
  exit 1
}

mkdir -p "$out"
unfinished=
trap '[ -z "$unfinished" ] || rm -f "$unfinished"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
echo "build.sh: building$missing into $out; once, about three minutes when nothing is cached"
for name in $missing; do
  # Renamed when whole, so that an interrupted build never looks like a finished one.
  unfinished=$out/.$name.$$
  CGO_ENABLED=0 go build -C "$module" -mod=readonly -trimpath -ldflags '-s -w' -o "$unfinished" "./cmd/$name"
  mv -f "$unfinished" "$out/$name"
  unfinished=
done
