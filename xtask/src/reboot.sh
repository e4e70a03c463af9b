#!/bin/sh
# Run as root at each boot of a guest whose links are configured by $1: a confirmed bridge is there again after a reboot, a
# removed one is not, and one that nobody confirmed is undone, in time and by a reboot. Ends with `trial: passed`.
set -u

keeper=$1
kept=/var/lib/trial
stage=$(cat $kept/stage 2>/dev/null || echo 1)

say() { echo "trial: $keeper: $*"; }
fail() {
    say "FAILED in part $stage: $*"
    ip addr; ip route; cat $kept/agent.log; ferry bridge list
    ls -l /etc/systemd/network /etc/network; nmcli connection 2>/dev/null
    journalctl --no-pager -n 40 -u systemd-networkd -u NetworkManager -u networking
    echo "trial: failed"
    systemctl poweroff --force
    exit 1
}
now() { cut -d. -f1 /proc/uptime; }
# Waits for what others do in their own time, on a machine that has none.
until_so() {
    end=$(($(now) + 180))
    until "$@" > /dev/null 2>&1; do
        [ "$(now)" -lt $end ] || fail "it is not so: $*"
        sleep 0.2
    done
}
not() { ! "$@"; }
has() {
    ip -4 -o addr show dev "$1" | grep -q ' 10.0.2.15/24 ' && ip route | grep -q "^default via 10.0.2.2 dev $1 "
}
is_port() { ip link show dev "$1" | grep -q " master $2 "; }
is_link() { ip link show dev "$1"; }
bridged() { has br0 && is_port eth0 br0 && not has eth0; }
plain() { has eth0 && not is_link br0; }
has_mtu() { ip link show dev "$1" | grep -q " mtu $2 "; }
is_vlan() { ip -d link show dev "$1" | grep -q " 802.1Q id $2 "; }
is_up() { ip link show dev "$1" | grep -q '<.*[<,]UP[,>]'; }
with_vlan() { has eth0 && is_vlan eth0.7 7 && is_port eth0.7 br7 && has_mtu br7 1400; }

ferry() { /payload/ferry "$@"; }
start_agent() {
    /payload/ferry agent --config /payload/agent.toml >> $kept/agent.log 2>&1 &
    agent=$!
    until_so ferry list
}
asks() { ferry "$@" > $kept/said 2>&1 || fail "ferry $*: $(cat $kept/said)"; }
next_boot() {
    echo "$1" > $kept/stage
    sync
    say "$2"
    systemctl reboot
    exit 0
}

set_up_networkd() {
    cat > /etc/systemd/network/10-uplink.network <<'END'
[Match]
Name=eth0

[Network]
DHCP=ipv4
END
    systemctl enable --now systemd-networkd
}
set_up_network_manager() {
    profile=/etc/NetworkManager/system-connections/uplink.nmconnection
    cat > $profile <<'END'
[connection]
id=uplink
uuid=7d2b1f4e-55a1-4c62-9d7b-0b9f0f1e5a11
type=ethernet
interface-name=eth0

[ipv4]
method=manual
address1=10.0.2.15/24,10.0.2.2
route1=10.9.0.0/16,10.0.2.3,50
END
    chmod 600 $profile
    systemctl enable --now NetworkManager
}
set_up_ifupdown() {
    cat > /etc/network/interfaces <<'END'
auto lo
iface lo inet loopback

auto eth0
iface eth0 inet static
    address 10.0.2.15/24
    gateway 10.0.2.2
END
    systemctl enable --now networking
}

mkdir -p $kept
case $stage in
1)
    "set_up_$keeper"
    until_so has eth0
    start_agent
    asks bridge create br0 --uplink eth0 --confirm-within 10min
    until_so bridged
    asks bridge confirm br0
    next_boot 2 "a bridge is made and confirmed"
    ;;
2)
    until_so bridged
    say "the bridge is there again"
    start_agent
    asks --json bridge list
    grep -q '"kept_by"' $kept/said || fail "the agent has forgotten it: $(cat $kept/said)"
    asks bridge delete br0
    until_so plain
    say "it is removed"
    asks bridge create br0 --uplink eth0 --confirm-within 120s
    until_so bridged
    until_so plain
    say "nobody confirmed it, and it is undone"
    asks bridge create br7 --uplink eth0 --vlan 7 --mtu 1400 --confirm-within 0
    until_so with_vlan
    asks bridge delete br7
    until_so not is_link eth0.7
    until_so has eth0
    say "a VLAN has come and gone"
    ip link add card8 type veth peer name far8
    asks bridge create br8 --uplink card8 --vlan 8 --mtu 9000 --confirm-within 0
    asks bridge create br9 --uplink card8 --vlan 9 --confirm-within 0
    { is_vlan card8.8 8 && is_vlan card8.9 9 && is_port card8.8 br8 && is_port card8.9 br9; } || fail "two VLANs"
    asks bridge delete br8
    { has_mtu card8 9000 && is_up card8 && is_port card8.9 br9 && not is_link card8.8; } || fail "the VLAN that is left"
    asks bridge delete br9
    not is_link card8.9 || fail "the last VLAN"
    say "two VLANs of a card that nothing configures have come and gone"
    asks bridge create br0 --uplink eth0 --confirm-within 60min
    until_so bridged
    kill -9 "$agent"
    next_boot 3 "a bridge is made and not confirmed"
    ;;
3)
    until_so bridged
    say "it is there again before the agent is"
    start_agent
    until_so plain
    left=$(find /etc/systemd /etc/NetworkManager /etc/network -name '*ferry*')
    [ -z "$left" ] || fail "left behind: $left"
    say "the reboot has undone it"
    echo "trial: passed"
    systemctl poweroff --force
    ;;
esac
