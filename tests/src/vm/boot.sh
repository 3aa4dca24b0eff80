# One boot of a virtual machine; a reboot that is asked for inside of it stays inside.
# Disk and machine are the processes of one PID namespace, so that they die at once, as when the power fails: what the
# disk took and was not told to flush lies in the memory and the unnamed file of nbdkit's cache, and is lost.
. ./host.env
for group in $HOST_GROUPS; do
    echo $$ > "$group/host/cgroup.procs"
done
rm -f disk.sock
export TMPDIR="$PWD"
# virtio-blk has no FUA: the guest must flush, and does. With `-cpu max` of QEMU 7.2 this kernel takes its own addresses
# for bad ones, so that paths read as `xxxx`.
machine="exec qemu-system-x86_64 -name $NAME -M pc -accel tcg,thread=multi,tb-size=256 -cpu Nehalem,+rdrand -smp 2 -m $MEMORY \
    -nodefaults -no-user-config -display none -chardev file,id=console,path=console.log,append=on -serial chardev:console \
    -kernel $IMAGE/vmlinuz -initrd $IMAGE/initrd \
    -blockdev driver=nbd,node-name=disk,server.type=unix,server.path=disk.sock \
    -device virtio-blk-pci,drive=disk,write-cache=on,serial=$NAME $NETWORK \
    -append 'root=/dev/vda rw console=ttyS0 net.ifnames=0 quiet mitigations=off init_on_alloc=0 nowatchdog audit=0 \
apparmor=0 systemd.show_status=0 systemd.gpt_auto=0 no_timer_check tsc=reliable random.trust_cpu=on \
cryptomgr.notests 8250.nr_uarts=1'"
exec nsenter --net="/run/netns/$SWITCH" unshare --mount-proc --pid --fork --kill-child \
    nbdkit --foreground --unix disk.sock --filter=cache file disk.raw cache=writeback --run "$machine"
