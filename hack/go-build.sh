#!/bin/sh
# Builds one program from the Go module proxy, unless it is there and no older than what it is made of: go.mod, which names
# the versions, and the module's own sources.
#
#   hack/go-build.sh MODULE PROGRAM PACKAGE [FLAG...]     MODULE: folder with go.mod; PROGRAM: path of what is built
set -eu
module=$1
program=$2
package=$3
shift 3

if [ -x "$program" ] && [ -z "$(find "$module" \( -name '*.go' -o -name go.mod \) -newer "$program")" ]; then exit 0; fi
name=$(basename -- "$program")
command -v go >/dev/null || {
  echo "go-build.sh: cannot get $name: there is no Go here to build with.
  Install Go 1.26 (1.21 or newer fetches it by itself): https://go.dev/doc/install" >&2
  exit 1
}
folder=$(dirname -- "$program")
mkdir -p "$folder"
# Renamed when whole, so that an interrupted build never looks like a finished one.
unfinished=$folder/.$name.$$
trap 'rm -f "$unfinished"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
echo "go-build.sh: building $name into $folder; once, up to some minutes when nothing is cached" >&2
go build -C "$module" -mod=readonly -trimpath "$@" -o "$unfinished" "$package"
mv -f "$unfinished" "$program"
