#!/bin/sh
# Fetches npm, and the packages that `npm ci` installs for the project, into bin/node/npm, so that the Dockerfile's
# `npm ci` finds them where there is no network. Done again when package-lock.json has changed.
#
#   hack/node/npm.sh
set -eu
VERSION=11.19.1

cd "$(dirname -- "$0")/../.."
out=bin/node/npm
if [ -f "$out/done" ] && ! [ package-lock.json -nt "$out/done" ] && ! [ hack/node/npm.sh -nt "$out/done" ]; then exit 0; fi

echo "npm.sh: fetching npm and the project's packages into $out; once"
rm -rf "$out"
mkdir -p "$out/project"
npm install --prefix "$out" --ignore-scripts --no-audit --no-fund --loglevel=error "npm@$VERSION" >/dev/null
cp package.json package-lock.json "$out/project"
npm ci --prefix "$out/project" --cache "$out/cache" --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
rm -rf "$out/project"
touch "$out/done"
