#!/bin/sh
# PID 1 of the test guest: modules, network, disk, then the guest program; powers off when that ends.
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev

fail() {
    echo "init: $1"
    sync
    poweroff -f
}

for module in $(cat /modules/order); do
    insmod "/modules/$module" || fail "cannot load $module"
done

for word in $(cat /proc/cmdline); do
    case "$word" in
        ferry.address=*) address="${word#*=}" ;;
    esac
done
ip link set lo up
ip addr add "$address/24" dev eth0 || fail "no network device"
ip link set eth0 up

waited=0
while [ ! -b /dev/vda ]; do
    waited=$((waited + 1))
    [ "$waited" -le 100 ] || fail "no disk /dev/vda"
    sleep 0.1
done
mount -t ext4 -o noatime /dev/vda /data || fail "cannot mount /dev/vda"

/guest
echo "init: the guest program ended with status $?"
umount /data || fail "cannot unmount /data"
poweroff -f
