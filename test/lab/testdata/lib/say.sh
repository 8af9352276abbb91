# say.sh ADDRESS PORT: whether what is told there comes back.
exec timeout 20 bash -c 'exec 3<>/dev/tcp/'"$1/$2"' && echo hello >&3 && IFS= read -r line <&3 && echo "$line"'
