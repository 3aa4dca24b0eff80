# Runs once inside the fresh Debian tree of virtual machines, last: what they have and hosts on this machine's kernel
# do not.
set -eu

# The first interfaces carry the addresses of the lab; the file is written before the first boot.
cat > /etc/systemd/system/lab-network.service <<'END'
[Unit]
Description=Addresses of the lab
DefaultDependencies=no
Wants=network-pre.target network.target
After=network-pre.target systemd-sysctl.service systemd-modules-load.service
Before=network.target sysinit.target
ConditionPathExists=/etc/lab-network

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh /etc/lab-network

[Install]
WantedBy=sysinit.target
END
systemctl enable lab-network.service >/dev/null 2>&1
# Covers of sysctls that are the machine's own: here they are the host's.
systemctl disable lab-mounts.service >/dev/null 2>&1 || true
# Nobody sits at the console. What ipvsadm would restore at boot, nobody saved.
systemctl mask serial-getty@ttyS0.service ipvsadm.service >/dev/null 2>&1
# Where the images of a cluster come to lie.
[ ! -x /usr/bin/containerd ] || mkdir -p /var/lib/containerd

# A small initrd: the drivers of what the machine is made of, and the way to its disk.
kernel=$(ls /lib/modules)
root=/tmp/initrd
mkdir -p $root/bin $root/dev $root/new $root/modules
cp /bin/busybox $root/bin/
modprobe --set-version "$kernel" --show-depends --all virtio_pci virtio_blk virtio_net ext4 |
    sed -n 's/^insmod //p' | awk '!seen[$1]++ { print $1 }' > $root/modules/order
while read -r module; do
    cp "$module" $root/modules/
done < $root/modules/order
sed -i 's#.*/##' $root/modules/order
cat > $root/init <<'END'
#!/bin/busybox sh
busybox mount -t devtmpfs dev /dev
while read -r module; do
    busybox insmod "/modules/$module" || echo "lab: no $module"
done < /modules/order
until busybox mount -t ext4 -o rw /dev/vda /new; do
    echo "lab: no root yet"
    busybox sleep 0.2
done
busybox mount --move /dev /new/dev
exec busybox switch_root /new /sbin/init
END
chmod 755 $root/init
(cd $root && find . | busybox cpio -o -H newc) | gzip -1 > /boot/lab-initrd
rm -rf $root /boot/initrd.img-*

apt-get clean
rm -rf /var/lib/apt/lists/* /var/log/*.log /usr/share/doc/* /usr/share/man/* /usr/share/locale/*
