# All that there is of jails.
ls -d /run/banger/jail /run/banger/jail/* 2>/dev/null
ls -d /sys/fs/cgroup/banger /sys/fs/cgroup/banger/* 2>/dev/null | sed 's/^/cgroup /'
losetup --list --noheadings --output BACK-FILE | grep -e work.ext4 -e modules.ext4
ps -e -o args | grep '[-]-api-sock /vm'
findmnt --noheadings --list --output TARGET | grep /run/banger
true
