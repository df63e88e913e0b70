#!/bin/sh
# Builds tools into bin/tools/, each only when it is missing or older than go.mod.
#
#   hack/tools/build.sh NAME...     NAME: actionlint, helm, kind
set -eu

module=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
project=$(dirname -- "$(dirname -- "$module")")

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
  "$project/hack/go-build.sh" "$module" "$project/bin/tools/$name" "$package"
done
