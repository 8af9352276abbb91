# as_before.sh FILE: says "same" when the host has what host.sh said then, else what it has more and less.
sh "$(dirname "$0")/host.sh" >"$1.now"
diff "$1" "$1.now" && echo same
