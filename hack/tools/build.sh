#!/bin/sh
# Builds tools into bin/tools/, from the Go module proxy, each only when it is missing or older than go.mod, which names
# the versions.
#
#   hack/tools/build.sh NAME...     NAME: actionlint, helm, kind
set -eu

module=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
out=$(dirname -- "$(dirname -- "$module")")/bin/tools

for name in "$@"; do
  case $name in
    actionlint) package=github.com/rhysd/actionlint/cmd/actionlint ;;
    helm) package=helm.sh/helm/v4/cmd/helm ;;
    kind) package=sigs.k8s.io/kind ;;
    *)
      echo "build.sh: expected actionlint, helm or kind, got $name" >&2
      exit 2
      ;;
  esac
  if [ -x "$out/$name" ] && ! [ "$module/go.mod" -nt "$out/$name" ]; then continue; fi
  if ! command -v go >/dev/null; then
    echo "build.sh: cannot build $name: there is no Go here; install Go 1.26 (1.21 or newer fetches it by itself): https://go.dev/doc/install" >&2
    exit 1
  fi
  echo "build.sh: building $name into $out; once, up to some minutes" >&2
  mkdir -p "$out"
  # Renamed when whole, so that an interrupted build never looks like a finished one.
  go build -C "$module" -mod=readonly -o "$out/.$name" "$package"
  mv -f "$out/.$name" "$out/$name"
done
