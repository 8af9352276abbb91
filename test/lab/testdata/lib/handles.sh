# handles.sh STATE ID [KIND…]: fails unless what handles.json says of the machine is what the host shows, and prints that; it
# must have something of each kind: disk, tap or jail.
set -eu
state=$1 id=$2
shift 2
. "$(dirname "$0")/check.sh"
number() { lsblk --noheadings --nodeps --output MAJ:MIN "$1" | tr -d ' '; }
owner=$(stat -c %u "$state") mark=$(cat "$state/instance") bridge=bb-
[ "$owner" = 0 ] || mark=$owner-$mark bridge=bb_

pid=$(field pid)
equal "$(sed 's/.*) //' "/proc/$pid/stat" | cut -d' ' -f20)" "$(field start_time)" "the start of process $pid"
equal "$(readlink "/proc/$pid/fd/0")" "$state/vms/$id/vmm.lock" "its standard input"
echo "process $pid"

name=$(field dm_name) base=$(field base_loop) cow=$(field cow_loop)
if [ -n "$name" ]; then
	equal "$name" "banger-$mark-$id" 'the device'
	equal "$(dmsetup info --columns --noheadings --separator : --options major,minor "$name")" "$(field dm_dev)" 'its number'
	equal "$(dmsetup table "$name" | cut -d' ' -f3-)" "snapshot $(number "$base") $(number "$cow") P 8" 'its table'
	equal "$(losetup --list --noheadings --output RO,AUTOCLEAR "$base" | tr -s ' ' | sed 's/^ //')" '1 1' 'the base'
	equal "$(losetup --list --noheadings --output BACK-FILE "$cow" | sed 's/ *$//')" "$state/vms/$id/root.cow" 'the file with the changes'
	equal "$(stat -c %a:%u "/dev/banger-$mark/$id")" "600:$owner" 'the node'
	echo "disk $name $base $cow $(field dm_dev)"
fi

tap=$(field tap)
if [ -n "$tap" ]; then
	ip -d link show "$tap" | tr '\n' ' ' | has "master $bridge.* isolated on " "$tap is no isolated port of the bridge"
	ip link show "$tap" | has "alias banger VM $id" "$tap does not say whose it is"
	nft list table bridge "banger-$mark" | has "\"$tap\" : goto vm-$id-" "$tap has no rules"
	equal "$(sysctl --values net.ipv4.ip_forward)" 1 'forwarding'
	echo "tap $tap"
fi

dir=$(field dir) cgroup=$(field cgroup) uid=$(field uid)
if [ -n "$dir" ]; then
	equal "$dir" "/run/banger/jail/$mark-$id" 'the directory'
	equal "$(stat -c %u:%g:%a "$dir")" "$owner:$uid:770" 'who may enter it'
	equal "$cgroup" "/sys/fs/cgroup/banger/$mark-$id" 'the control group'
	grep -qx "$pid" "$cgroup/cgroup.procs" || { echo "$pid is not in its control group" >&2; exit 1; }
	equal "$(sed -n 's/^Uid:\t//p' "/proc/$pid/status" | cut -f1)" "$uid" 'the user'
	echo "jail $dir $cgroup $uid"
fi

for kind; do
	case $kind in
	disk) equal "${name:+there}" there 'its disk' ;;
	tap) equal "${tap:+there}" there 'its tap' ;;
	jail) equal "${dir:+there}" there 'its jail' ;;
	esac
done
