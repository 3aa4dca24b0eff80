# One boot of a host that carries containers; in a mount namespace of its own, which takes the overlay along when
# it ends. Like systemd.sh, and besides:
. ./host.env
for group in $HOST_GROUPS; do
    find "$group/host" -mindepth 1 -depth -type d -exec rmdir {} + 2>/dev/null || true
    echo $$ > "$group/host/cgroup.procs"
done
mount -t overlay overlay -o "lowerdir=$BASE,upperdir=$PWD/upper,workdir=$PWD/work" root
export SYSTEMD_NSPAWN_API_VFS_WRITABLE=network SYSTEMD_NSPAWN_LOCK=0
# Containers are made with every capability and system call; they mount overlays, which cannot lie on an overlay.
# But the machine's clock and modules stay its own.
# The machine's own sysctls stay read-only here too: see lab-mounts.service.
exec systemd-nspawn --quiet --boot --settings=no --keep-unit --register=no --directory=root \
    --machine="$ID" --hostname="$NAME" --network-namespace-path="/run/netns/$ID" --capability=all \
    --drop-capability=CAP_SYS_TIME,CAP_SYS_MODULE \
    --system-call-filter="add_key keyctl bpf adjtimex clock_adjtime" \
    --bind=/dev/kmsg --bind="$PWD/containerd:/var/lib/containerd" \
    --resolv-conf=off --timezone=off --link-journal=no --console=read-only --setenv=TERM=dumb
