#!/bin/sh
# PID 1 of a testbed's node: gives the node directories, devices and a host name
# of its own, then reaps. Started by node.ts in new mount, network, UTS and PID
# namespaces; when it is killed, the kernel ends everything in the node with it.
#
#   node-init.sh NAME DIRECTORY KVM
#
# DIRECTORY holds what is the node's own, as etc-libvirt, run, lib-vireo, ...
# KVM is "kvm" to show the node /dev/kvm.
set -eu
name=$1
directory=$2
kvm=$3

mount --make-rprivate /
hostname "$name"

# The whole of /run: this hides the machine's D-Bus, systemd and iptables lock too.
mount --bind "$directory/run" /run
mount --bind "$directory/etc-libvirt" /etc/libvirt
for part in lib log cache; do
	mount --bind "$directory/$part-libvirt" "/var/$part/libvirt"
done
mount --bind "$directory/lib-vireo" /var/lib/vireo

# libvirt looks the node's own name up at each start of a guest, and would wait
# 10 s for a name server that is not there.
{ cat /etc/hosts; echo "127.0.0.1 $name"; } >"$directory/hosts"
mount --bind "$directory/hosts" /etc/hosts

# A fresh sysfs shows this network namespace's devices and no cgroups.
umount -R -l /sys
mount -t sysfs sysfs /sys

# A /dev of our own, because /dev/kvm must not just be closed but absent: libvirt
# would probe QEMU with KVM at each start, fail, and probe again, for 13 s. The old
# one must go first, else libvirt cannot move /dev/pts into its guests' namespaces.
umount -R -l /dev
mount -t tmpfs -o mode=755,size=1m dev /dev
mkdir -m 755 /dev/pts /dev/net
mkdir -m 1777 /dev/shm
node() {
	mknod -m "$1" "$2" c "$3" "$4"
}
node 666 /dev/null 1 3
node 666 /dev/zero 1 5
node 666 /dev/full 1 7
node 666 /dev/random 1 8
node 666 /dev/urandom 1 9
node 666 /dev/tty 5 0
node 666 /dev/net/tun 10 200
if [ "$kvm" = kvm ]; then node 666 /dev/kvm 10 232; fi
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
ln -s pts/ptmx /dev/ptmx
ln -s /proc/self/fd /dev/fd
ln -s /proc/self/fd/0 /dev/stdin
ln -s /proc/self/fd/1 /dev/stdout
ln -s /proc/self/fd/2 /dev/stderr

: >"$directory/ready"

# The shell's wait reaps every child, those too that the kernel hands to PID 1
# when their own parent ends: libvirtd waits 40 s for each QEMU that is not reaped.
while :; do
	sleep 2147483647 &
	wait
done
