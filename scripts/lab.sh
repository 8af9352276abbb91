#!/usr/bin/env bash
# Builds what the lab is given and runs its host: test, exec or shell (see test/lab/host), or bench, which is exec with the
# benchmark's program in the lab. The programs of bin/ are taken as they are.
#
#   LAB_BUILD       flags with which the programs are built anew for the lab, such as "-cover" or "-tags crash"
#   LAB_COVER       directory to which it is added what was run of them, in the form of go tool covdata
#   LAB_PACKAGES    packages whose tests the lab is given compiled, those of the crash points too, as
#                   /opt/lab/tests/NAME/NAME.test
#   FIRECRACKER     a firecracker binary, with its jailer beside it; else the one in PATH, if any
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

verb=$1
shift
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
export CGO_ENABLED=0 BANGER_E2E_BIN=${BANGER_E2E_BIN:-$PWD/bin}
payload=$stage/payload
mkdir -p "$payload/bin" "$payload/tests"
go build -o "$stage/host" ./test/lab/host
go build -trimpath -ldflags '-s -w' -o "$payload/inside" ./test/lab/inside
if [ "$verb" = test ]; then
	mkdir "$payload/next"
	go test -c -trimpath -ldflags '-s -w' -tags lab -o "$payload/lab.test" ./test/lab
	cp -r test/lab/testdata "$payload/testdata"
	# Scenarios of the end-to-end tier that say so run here, too.
	grep -lE -m 1 '^# lab: ' test/e2e/testdata/*.txtar | xargs -r cp -t "$payload/testdata"
fi
for package in ${LAB_PACKAGES:-}; do
	name=$(basename "$package")
	mkdir "$payload/tests/$name"
	go test -c -trimpath -ldflags '-s -w' -tags crash -o "$payload/tests/$name/$name.test" "$package"
	[ ! -d "$package/testdata" ] || cp -r "$package/testdata" "$payload/tests/$name/"
	for source in "$package"/testdata/*/main.go; do # a program that its tests run: there is no Go in the lab
		[ ! -e "$source" ] || go build -trimpath -ldflags '-s -w' -o "$payload/tests/$name/testdata/$(basename "${source%/main.go}")/" "${source%/main.go}"
	done
done
if [ -n "${LAB_COVER:-}" ]; then
	LAB_BUILD="-cover ${LAB_BUILD:-}"
	[ "$verb" != test ] || set -- -cover "$LAB_COVER" "$@"
fi
version=$(scripts/version.sh)
programs() { # directory, version
	make --no-print-directory build BIN="$1" VERSION="$2" FLAGS="${LAB_BUILD:-}" >/dev/null
}
if [ -n "${LAB_BUILD:-}" ]; then
	programs "$payload/bin" "$version"
elif [ -e bin/banger ]; then
	cp bin/* "$payload/bin/"
fi
# What the scenario of an upgrade puts in their place.
[ "$verb" != test ] || programs "$payload/next" "$version.next"

if [ "$verb" = bench ]; then
	verb=exec
	set -- -limit 50m -- "$@"
	go build -trimpath -ldflags '-s -w' -o "$payload/bin/bench" ./test/bench
fi
firecracker=${FIRECRACKER:-$(command -v firecracker || true)}
if [ -n "$firecracker" ]; then
	cp -L "$firecracker" "$payload/bin/firecracker"
	jailer=$(dirname "$firecracker")/jailer
	[ ! -e "$jailer" ] || cp -L "$jailer" "$payload/bin/jailer"
	chmod 755 "$payload"/bin/*
fi

"$stage/host" "$verb" -payload "$payload" "$@"
