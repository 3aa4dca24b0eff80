# One boot of a host with systemd as PID 1; in a mount namespace of its own, which takes the overlay along
# when it ends.
. ./host.env
for group in $HOST_GROUPS; do
    # Groups of the last boot, if any: empty by now, and the new systemd would stumble over them.
    find "$group/host" -mindepth 1 -depth -type d -exec rmdir {} + 2>/dev/null || true
    echo $$ > "$group/host/cgroup.procs"
done
mount -t overlay overlay -o "lowerdir=$BASE,upperdir=$PWD/upper,workdir=$PWD/work" root
# The machine's own sysctls stay read-only, the host's net.* are writable: as on a host of its own.
# Network administration must be asked for: nspawn grants it only with networks that it made itself.
# Any host may read its clock's state; setting it needs CAP_SYS_TIME, which no host of the lab has.
export SYSTEMD_NSPAWN_API_VFS_WRITABLE=network SYSTEMD_NSPAWN_LOCK=0
exec systemd-nspawn --quiet --boot --settings=no --keep-unit --register=no --directory=root \
    --machine="$ID" --hostname="$NAME" --network-namespace-path="/run/netns/$ID" --capability=CAP_NET_ADMIN \
    --system-call-filter="adjtimex clock_adjtime" \
    --resolv-conf=off --timezone=off --link-journal=no --console=read-only --setenv=TERM=dumb
