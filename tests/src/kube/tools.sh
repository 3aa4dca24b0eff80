# Fills an image with programs of Debian and their libraries.
# $1: the tree that they come from; $2: the root of the image; then their names.
set -eu
base=$1 root=$2
shift 2
# The links of iproute and iptables lead through /etc/alternatives: only inside the tree do they lead to the right place.
chroot "$base" sh -s "$@" <<'END' | tar -C "$root" -x
set -eu
paths=
add() {
    paths="$paths $*"
    for program; do
        paths="$paths $(ldd "$program" 2>/dev/null | grep -o '/[^ ]*' || true)"
    done
}
for tool; do
    case $tool in
        iptables | ip6tables)
            # Its extensions need libraries that it does not need itself.
            add /usr/sbin/$tool /usr/sbin/$tool-save /usr/sbin/$tool-restore /usr/lib/*/xtables/*.so
            ;;
        # It takes protocols by name: kube-proxy of mode ipvs writes `10.96.0.10,udp:53`.
        ipset) add /usr/sbin/ipset /etc/protocols ;;
        busybox) add /bin/busybox ;;
        *) add "$(command -v "$tool")" ;;
    esac
done
exec tar --create --dereference $paths
END
if [ -e "$root/bin/busybox" ]; then
    for applet in $("$root/bin/busybox" --list); do
        [ "$applet" = busybox ] || ln "$root/bin/busybox" "$root/bin/$applet"
    done
fi
