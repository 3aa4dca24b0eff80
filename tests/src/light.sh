# One boot of a light host: sshd as PID 1 of namespaces of its own, over the same tree as the whole hosts.
. ./host.env
for group in $HOST_GROUPS; do
    echo $$ > "$group/host/cgroup.procs"
done
mount -t overlay overlay -o "lowerdir=$BASE,upperdir=$PWD/upper,workdir=$PWD/work" root
exec nsenter --net="/run/netns/$ID" unshare --mount --uts --ipc --pid --cgroup --fork --kill-child sh -eu -c '
    name=$1 root=$2
    hostname "$name"
    mount -t proc proc "$root/proc"
    # As on the whole hosts: of all sysctls only net.* can be written, they belong to the namespace.
    mount --bind "$root/proc/sys" "$root/proc/sys"
    mount -o remount,bind,ro "$root/proc/sys"
    mount --bind "$root/proc/sys/net" "$root/proc/sys/net"
    mount -o remount,bind,rw "$root/proc/sys/net"
    if [ -e "$root/proc/sysrq-trigger" ]; then
        mount --bind "$root/proc/sysrq-trigger" "$root/proc/sysrq-trigger"
        mount -o remount,bind,ro "$root/proc/sysrq-trigger"
    fi
    mount -t sysfs -o ro sysfs "$root/sys"
    mount -t tmpfs -o mode=755 tmpfs "$root/run"
    mkdir -m 755 "$root/run/sshd" "$root/run/lock"
    mount -t tmpfs -o mode=755 tmpfs "$root/dev"
    mkdir "$root/dev/pts" "$root/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts "$root/dev/pts"
    mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
    ln -s pts/ptmx "$root/dev/ptmx"
    ln -s /proc/self/fd "$root/dev/fd"
    for node in null:3 zero:5 full:7 random:8 urandom:9; do
        mknod -m 666 "$root/dev/${node%:*}" c 1 "${node#*:}"
    done
    mknod -m 666 "$root/dev/tty" c 5 0
    exec chroot "$root" setpriv --bounding-set \
        -sys_admin,-sys_module,-sys_boot,-sys_rawio,-sys_time,-syslog,-mac_admin,-mac_override,-bpf,-perfmon \
        /usr/sbin/sshd -D -E /var/log/sshd.log
' sh "$NAME" "$PWD/root"
