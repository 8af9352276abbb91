#!/usr/bin/env bash
# Runs tests and says at the end by name what was not run here, and why. Fails when a test did.
#
#   scripts/test.sh              every tier that this machine can run
#   scripts/test.sh unit         the unit tests with the race detector, then those that need crash points
#   scripts/test.sh e2e          the scenarios on real VMs; E2E_RUN picks some by name
#   scripts/test.sh lab          those that need root and KVM, in a VM that has both; LAB_RUN picks some by name
#
# E2E_COUNT repeats the scenarios.
set -uo pipefail
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
notrun=$scratch/notrun
: >"$notrun"
CGO_ENABLED=0 go build -o "$scratch/report" ./test/report || exit

failed=()
tier() { # name, then what go test is given
	local name=$1
	shift
	echo "test: $name" >&2
	go test -json "$@" | "$scratch/report" -tier "$name" -notrun "$notrun" || failed+=("$name")
}

unit() {
	export CGO_ENABLED=1 # for the race detector; what is shipped is built without
	tier unit -race ./...
	local armed # packages whose tests name crash points
	armed=$(git grep -lE '^//go:build crash' -- '*_test.go' | xargs -r dirname | sort -u | sed 's,^,./,')
	# shellcheck disable=SC2086 # one argument each
	[ -z "$armed" ] || tier crash -race -tags crash $armed
}

e2e() {
	export CGO_ENABLED=0
	tier e2e -tags e2e -count "${E2E_COUNT:-1}" -timeout 120m -parallel 2 -run "TestKVM|TestScripts/(${E2E_RUN:-.})" ./test/e2e
	# The scenarios have built a kernel and an initramfs: the VMM suite runs over real QEMU with them, and over Firecracker
	# where there are one and KVM.
	local shared=${BANGER_E2E_SHARED:-${XDG_CACHE_HOME:-$HOME/.cache}/banger-e2e}
	BANGER_TEST_KERNEL=$(newest "$shared"/data/banger/kernels/*/vmlinux)
	BANGER_TEST_INITRD=$(newest "$shared"/cache/banger/initrd/*.cpio)
	BANGER_TEST_MODULES=$(newest "$shared"/data/banger/kernels/*/modules.ext4)
	export BANGER_TEST_KERNEL BANGER_TEST_INITRD BANGER_TEST_MODULES
	[ -n "${E2E_RUN:-}" ] || [ -z "$BANGER_TEST_KERNEL" ] || tier vmm -count 1 ./internal/vmm/qemu ./internal/vmm/firecracker
	if [ "$(id -u)" -eq 0 ]; then
		echo "e2e as an ordinary user: these ran as root; scripts/e2e-as-user.sh runs them as another user" >>"$notrun"
	else
		echo "e2e as root: these ran as $(id -un)" >>"$notrun"
	fi
}

lab() {
	echo "test: lab" >&2
	local packages="./internal/vmm/qemu ./internal/vmm/firecracker"
	packages+=" ./internal/helper/storage ./internal/helper/storagecall ./internal/rootdisk/dmsnap ./internal/helper/jail ./internal/helper/jailcall"
	packages+=" ./internal/helper/netcall"
	LAB_PACKAGES=$packages scripts/lab.sh test -run "${LAB_RUN:-}" -notrun "$notrun" || failed+=(lab)
}

newest() { # the newest of some files, or nothing
	local file found=
	for file; do
		[ -e "$file" ] && { [ -z "$found" ] || [ "$file" -nt "$found" ]; } && found=$file
	done
	echo "$found"
}

case "${1:-all}" in
all)
	unit
	e2e
	echo "lab: make test-lab runs what needs root and KVM, in a VM that has both" >>"$notrun"
	;;
unit) unit ;;
e2e) e2e ;;
lab) lab ;;
*)
	echo "usage: $0 [unit|e2e|lab]" >&2
	exit 2
	;;
esac

if [ -s "$notrun" ]; then
	echo "test: not run on this machine:" >&2
	sort -u "$notrun" | sed 's/^/  /' >&2
fi
if [ ${#failed[@]} -gt 0 ]; then
	echo "test: FAILED: ${failed[*]}" >&2
	exit 1
fi
echo "test: passed" >&2
