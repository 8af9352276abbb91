# What a guest can see of whether its network is there: an answer from the gateway.
ping -c 1 -W 5 "$(ip route | sed -n 's/^default via \([^ ]*\).*/\1/p')"
