#!/bin/sh
# Packs the bundle of dist/ and the launcher of the plugin into baseline-policy-operator-VERSION.tar.gz, and writes
# baseline.yaml, the manifest by which krew installs the plugin from that archive.
#
#   hack/krew/package.sh VERSION SOURCE FOLDER     SOURCE: https://github.com/OWNER/NAME, whose release has the archive
set -eu
if [ $# -ne 3 ]; then
  echo 'usage: hack/krew/package.sh VERSION SOURCE FOLDER' >&2
  exit 2
fi
version=$1 source=$2 folder=$3
krew=$(dirname "$0")
project=$krew/../..
if ! [ -f "$project/dist/kubectl-baseline.js" ]; then
  echo 'package.sh: expected a bundle in dist/, found none; run make build' >&2
  exit 1
fi

staged=$(mktemp -d)
trap 'rm -rf "$staged"' EXIT
cp -R "$project/dist/." "$project/LICENSE" "$krew/kubectl-baseline" "$staged"
chmod 755 "$staged" "$staged/kubectl-baseline"
mkdir -p "$folder"
archive=$folder/baseline-policy-operator-$version.tar.gz
tar -czf "$archive" -C "$staged" .
checksum=$(sha256sum "$archive" | cut -d ' ' -f 1)
sed -e '1d' -e "s|SOURCE|$source|" -e "s|VERSION|$version|g" -e "s|CHECKSUM|$checksum|" \
  "$krew/baseline.yaml" >"$folder/baseline.yaml"
