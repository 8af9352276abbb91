#!/usr/bin/env bash
# Prints, a line each, the drivers and tiers that this machine cannot run, with the reason.
set -uo pipefail

if [ ! -e /dev/kvm ]; then
	echo "qemu with KVM: there is no /dev/kvm here; the scenarios ran with software emulation (TCG)"
elif [ ! -r /dev/kvm ] || [ ! -w /dev/kvm ]; then
	echo "qemu with KVM: $(id -un) may not open /dev/kvm (join its group: $(stat -c %G /dev/kvm)); the scenarios ran with software emulation (TCG)"
fi
