#!/usr/bin/env bash
# Runs the scenarios on real VMs as an ordinary user: called as root, it makes that user (with subordinate ids, which
# mmdebstrap needs) and gives it the built programs and the scenarios in a directory of its own.
#
#   scripts/e2e-as-user.sh [user]     default: banger-test; kept afterwards, with the image it built
set -euo pipefail
cd "$(dirname "$0")/.."

user=${1:-banger-test}
if [ "$(id -u)" -ne 0 ]; then
	echo "cannot make a user: run this as root, or make test-e2e as yourself" >&2
	exit 1
fi
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

id "$user" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$user"
for kind in uid gid; do
	grep -q "^$user:" "/etc/sub$kind" 2>/dev/null ||
		usermod "--add-sub${kind}s" 1000000-1065535 "$user"
done

home=$(getent passwd "$user" | cut -d: -f6)
stage=$(mktemp -d "$home/e2e.XXXXXX")
trap 'rm -rf "$stage"' EXIT
CGO_ENABLED=0 go test -c -tags e2e -o "$stage/e2e.test" ./test/e2e
CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$stage/guestprog" ./test/e2e/guestprog
cp -r bin "$stage/bin"
cp -r test/e2e/testdata "$stage/testdata"
chown -R "$user:" "$stage"

echo "test: e2e as $user" >&2
# A fresh environment, as after a login; none of root's paths.
cd "$stage"
runuser -u "$user" -- env -i HOME="$home" USER="$user" LOGNAME="$user" LANG=C.UTF-8 \
	PATH=/usr/local/bin:/usr/bin:/bin BANGER_E2E_BIN="$stage/bin" BANGER_E2E_GUESTPROG="$stage/guestprog" \
	"$stage/e2e.test" -test.count 1 -test.timeout 60m -test.parallel 2 -test.run "TestKVM|TestScripts/(${E2E_RUN:-.})" </dev/null
