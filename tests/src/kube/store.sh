# Imports images into a fresh store, inside a base tree and private mounts.
# $1: the tree; $2: the directory with archives; $3: the store.
set -eu
base=$1
for directory in run tmp mnt; do
    mount -t tmpfs tmpfs "$base/$directory"
done
mkdir "$base/mnt/archives" "$base/mnt/store"
mount --bind "$2" "$base/mnt/archives"
mount --bind "$3" "$base/mnt/store"
mount -t proc proc "$base/proc"
mount --rbind /dev "$base/dev"
chroot "$base" sh -eu -c '
    containerd --root /mnt/store >/tmp/log 2>&1 &
    daemon=$!
    tries=0
    until ctr version >/dev/null 2>&1; do
        tries=$((tries + 1))
        if [ "$tries" -gt 300 ]; then
            tail -n 5 /tmp/log >&2
            exit 1
        fi
        sleep 0.1
    done
    for archive in /mnt/archives/*.tar; do
        ctr --namespace k8s.io images import "$archive" >&2
    done
    kill "$daemon"
    wait "$daemon" || true
'
