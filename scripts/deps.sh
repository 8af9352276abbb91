#!/usr/bin/env bash
# Installs the host packages that banger needs and that are missing.
#
#   scripts/deps.sh run     what the product needs
#   scripts/deps.sh test    that, and what the tests need
#
# A package counts as there when the file it is wanted for is, however that was installed. Names are printed before
# anything is installed. Without apt the names are printed and nothing is tried.
set -euo pipefail

# package, then the file or the program that it is wanted for
run_packages='
qemu-system-x86          qemu-system-x86_64
mmdebstrap               mmdebstrap
e2fsprogs                mke2fs
uidmap                   newuidmap
util-linux               nsenter
git                      git
debian-archive-keyring   /usr/share/keyrings/debian-archive-keyring.gpg
ca-certificates          /etc/ssl/certs/ca-certificates.crt
'
# The race detector needs a C compiler; qemu-img checks our disks from the outside.
test_packages='
gcc                      gcc
libc6-dev                /usr/include/stdio.h
qemu-utils               qemu-img
procps                   pgrep
iproute2                 ip
nftables                 nft
iptables                 iptables-nft
dbus-daemon              dbus-daemon
curl                     curl
busybox-static           /bin/busybox
'

case "${1:-}" in
run) wanted=$run_packages ;;
test) wanted=$run_packages$test_packages ;;
*)
	echo "usage: $0 run|test" >&2
	exit 2
	;;
esac

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

missing=()
while read -r package probe; do
	case "$probe" in
	'') continue ;;
	/*) [ -e "$probe" ] ;;
	*) command -v "$probe" >/dev/null ;;
	esac || missing+=("$package")
done <<<"$wanted"

[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
	echo "These packages are missing, named as Debian names them: ${missing[*]}" >&2
	echo "Only apt is known here: install your distribution's packages of that purpose, then run make again." >&2
	exit 1
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
	if ! command -v sudo >/dev/null; then
		echo "These packages are missing: ${missing[*]}" >&2
		echo "Install them as root, then run make again: apt-get install --no-install-recommends ${missing[*]}" >&2
		exit 1
	fi
	as_root=(sudo)
fi

echo "Installing host packages: ${missing[*]}" >&2

apt() {
	"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 \
		apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@" </dev/null
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() { apt install -y --no-install-recommends "${missing[@]}" >"$log" 2>&1; }

# The package lists may be absent (a fresh container) or so old that what they name is gone.
if ! install; then
	apt update >&2
	install || {
		cat "$log" >&2
		echo "The packages could not be installed: ${missing[*]}" >&2
		exit 1
	}
fi
