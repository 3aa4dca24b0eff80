# Keeps one host: gives it a fresh network, boots it, and boots it again when it asked for a reboot.
# $1 is the host's directory. Everything it starts stays in the host's control groups.
set -eu
cd "$1"
. ./host.env
for group in $HOST_GROUPS; do
    echo $$ > "$group/launch/cgroup.procs"
done
status=133 # what systemd-nspawn --keep-unit ends with when the host reboots
while [ "$status" -eq 133 ]; do
    sh ./network.sh
    status=0
    unshare --mount --propagation private sh -eu ./boot.sh || status=$?
    echo "lab: the host ended with $status"
done
