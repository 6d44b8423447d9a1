#!/bin/sh
# Closes the metadata service, which tells this server's user data to whoever asks, to everybody but root, and sees that
# it is closed: what a job's user and what a job's network send there is dropped, by count, while root is answered. A
# server without a way there (it has no IPv4 address) has nothing to see. Else this fails, and the runner does not start.
set -u
address=169.254.169.254
url=http://$address/hetzner/v1/userdata
refuse() { echo "no worker is made of this server: $*" >&2; exit 1; }
dropped() { nft list counter inet rgrid_metadata "$1" | sed -n 's/.*packets \([0-9]*\).*/\1/p'; }
is_closed() {
  who=$1 counter=$2
  shift 2
  before=$(dropped "$counter")
  "$@" curl -s --noproxy '*' -o /dev/null -m 1 "$url" && refuse "the metadata service answers $who"
  [ "$(dropped "$counter")" -gt "$before" ] || refuse "what $who sends to the metadata service is not dropped"
}
trial_network() {
  ip netns add rgrid-trial && ip link add rgrid-trial type veth peer name eth0 netns rgrid-trial \
    && ip address add 192.0.2.1/30 dev rgrid-trial && ip link set rgrid-trial up \
    && ip -n rgrid-trial address add 192.0.2.2/30 dev eth0 && ip -n rgrid-trial link set eth0 up \
    && ip -n rgrid-trial route add default via 192.0.2.1 && echo 1 >/proc/sys/net/ipv4/ip_forward
}
clean() { ip link delete rgrid-trial; ip netns delete rgrid-trial; } 2>/dev/null

nft -f /etc/rgrid/close-metadata.nft || refuse "the metadata service cannot be closed"
if ! ip -4 route get "$address" >/dev/null 2>&1; then
  echo "there is no way to the metadata service"
  exit 0
fi
curl -sf --noproxy '*' -o /dev/null -m 5 "$url" || refuse "the metadata service does not answer root either: nothing can be seen of it"
is_closed "a job's user" users setpriv --reuid=65534 --regid=65534 --clear-groups
clean
trap clean EXIT
trial_network || refuse "no network can be made to try the metadata service from"
is_closed "a job's network" networks nsenter --net=/run/netns/rgrid-trial
echo "the metadata service answers root alone"
