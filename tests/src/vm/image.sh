# Makes the disk of a machine, and what boots it; in private mounts.
# $1: the tree; $2: the directory for all that; $3: the disk's size; $4: layers above the tree, if any, the uppermost
# first; $5: containerd's data, if any.
set -eu
tree=$1 into=$2 size=$3 layers=$4 store=$5
cp "$tree"/boot/vmlinuz-* "$into/vmlinuz"
cp "$tree/boot/lab-initrd" "$into/initrd"
root=$tree
if [ -n "$layers" ]; then
    root=$into/root
    mkdir "$root"
    mount -t overlay overlay -o "lowerdir=$layers:$tree" "$root"
    mount --bind "$store" "$root/var/lib/containerd"
fi
# The file has only holes: nothing needs to be zeroed, now or by the machine later.
mke2fs -q -t ext4 -m 0 -E assume_storage_prezeroed=1,nodiscard -d "$root" "$into/disk.raw" "$size"
if [ -n "$layers" ]; then
    umount --recursive "$root"
    rmdir "$root"
fi
cd "$into"
sha256sum disk.raw vmlinuz initrd > manifest
