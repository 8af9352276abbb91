# For scripts that hold the handles.json of the machine $id in the state directory $state against the host.
field() { sed -n 's/^ *"'"$1"'": *"\{0,1\}\([^",]*\)"\{0,1\},\{0,1\}$/\1/p' "$state/vms/$id/handles.json" | head -n 1; }
equal() { [ "$1" = "$2" ] || { echo "$3 is $1, not $2" >&2; exit 1; }; }
has() { grep -Eq "$1" || { echo "$2" >&2; exit 1; }; }
