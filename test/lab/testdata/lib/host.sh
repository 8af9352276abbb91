# All that the host has, by name, of what machines, the helper and its jails could leave. Daemons and netd, which they hold,
# are the ledger's.
dmsetup ls | sort
losetup --list --noheadings --output NAME,BACK-FILE,RO | sort
ls -d /dev/banger-* /run/banger /run/banger/* /run/banger/jail/* /usr/local/lib/banger /usr/local/lib/banger/* 2>/dev/null | grep -vx /run/banger/stock
ls -d /sys/fs/cgroup/banger /sys/fs/cgroup/banger/*/ 2>/dev/null
find /etc -name '*banger*' | sort
findmnt --noheadings --list --output TARGET | grep banger
ip netns
ip -o link | cut -d: -f2 | sort
nft list ruleset
sysctl net.ipv4.ip_forward
ps -e -o comm= | grep -E '^(firecracker|jailer|qemu)' | sort
true
