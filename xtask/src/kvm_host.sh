#!/bin/sh
# PID 1 of a KVM host that is a guest itself: modules, network, then the script on the first disk; powers off when that
# ends.
export PATH=/bin NO_COLOR=1
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs devtmpfs /dev
busybox mount -t tmpfs tmpfs /run

while read -r module; do
    insmod "/modules/$module" || echo "init: cannot load $module"
done < /modules/order

# The addresses of QEMU's user networking.
ip link set lo up
ip addr add 10.0.2.15/24 dev eth0 && ip link set eth0 up && ip route add default via 10.0.2.2 ||
    echo "init: no network"

# Not a file on it, but the disk itself.
cat /dev/vda > /script
sh /script
echo "init: the script ended"
poweroff -f
