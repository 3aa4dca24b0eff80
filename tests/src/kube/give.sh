# $1: a store of containerd; $2: its copy, which this makes.
# Blobs and layers are never written to again, only unlinked (a dead container is never started twice): they are
# linked. Databases and records are copied. On another file system all is copied.
cp --archive --link "$1" "$2" 2>/dev/null || { rm -rf "$2" && cp --archive "$1" "$2"; }
cd "$1"
find . -name '*.db' -o -path './io.containerd.grpc.v1.*' -type f -o -path './io.containerd.runtime.*' -type f |
    while read -r file; do
        cp --archive --remove-destination "$file" "$2/$file"
    done
