# $1: a store; $2: the host's own, which this makes.
# Unpacked layers and blobs are never written to, only unlinked; the databases are. On another file system all
# is copied.
cp --archive --link "$1" "$2" 2>/dev/null || { rm -rf "$2" && cp --archive "$1" "$2"; }
cd "$1"
find . -name '*.db' | while read -r database; do
    cp --archive --remove-destination "$database" "$2/$database"
done
