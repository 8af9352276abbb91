# What host.sh says, and all else that an installed helper could leave.
sh "$(dirname "$0")/host.sh"
ls -d /run/banger/stock 2>/dev/null
find /usr/local /var/lib/systemd /run/systemd -name '*banger*' ! -path '/run/systemd/transient/*' 2>/dev/null | sort
systemctl list-units --all --no-legend --plain 'banger-*' | sort
true
