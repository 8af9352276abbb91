#!/usr/bin/env bash
# Runs every test that this machine can run: the unit tests with the race detector, then the scenarios on real VMs. Says
# at the end by name what was not run here, and why. Fails when a test did.
set -uo pipefail
cd "$(dirname "$0")/.."

notrun=$(mktemp)
trap 'rm -f "$notrun"' EXIT
failed=()
tier() { # name, then what go test is given
	local name=$1
	shift
	echo "test: $name" >&2
	go test -json "$@" | go run ./test/report -tier "$name" -notrun "$notrun" || failed+=("$name")
}

export CGO_ENABLED=1 # for the race detector; what is shipped is built without
tier unit -race ./...
crash_packages=$(git grep -l '"banger/internal/crash"' -- '*_test.go' 2>/dev/null | xargs -r dirname | sort -u | sed 's,^,./,')
# shellcheck disable=SC2086 # one argument each
[ -z "$crash_packages" ] || tier crash -race -tags crash $crash_packages
tier e2e -tags e2e -count 1 -timeout 60m -parallel 2 -v ./test/e2e

if [ "$(id -u)" -eq 0 ]; then
	echo "e2e as an ordinary user: these tests ran as root; run make test as another user, or scripts/e2e-as-user.sh" >>"$notrun"
else
	echo "e2e as root: these tests ran as $(id -un); run make test as root" >>"$notrun"
fi
scripts/tiers.sh >>"$notrun"

if [ -s "$notrun" ]; then
	echo "test: not run on this machine:" >&2
	sort -u "$notrun" | sed 's/^/  /' >&2
fi
if [ ${#failed[@]} -gt 0 ]; then
	echo "test: FAILED: ${failed[*]}" >&2
	exit 1
fi
echo "test: passed" >&2
