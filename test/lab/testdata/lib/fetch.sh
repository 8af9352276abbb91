# fetch.sh ADDRESS PORT: how many bytes come from there.
exec bash -c "exec 3<>/dev/tcp/$1/$2 && timeout 100 wc -c <&3"
