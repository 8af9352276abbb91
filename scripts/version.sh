#!/usr/bin/env bash
# Prints the version that the programs are stamped with: the tag on a tagged commit, else the next version, the commit
# and whether the tree differs from it.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! commit=$(git rev-parse --short=10 HEAD 2>/dev/null); then
	cat VERSION # a source archive
	exit
fi
if [ -n "$(git status --porcelain --untracked-files=no)" ]; then
	dirty=.dirty
elif tag=$(git describe --tags --exact-match 2>/dev/null); then
	echo "${tag#v}"
	exit
fi
echo "$(cat VERSION)-dev+$commit${dirty:-}"
