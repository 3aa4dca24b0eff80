# The floor: what a careful operator pipes over `ssh host sh -s` for the job that bench.yaml asks of rackwright.
# Twelve tasks: facts, commands, modules, sysctls, swap, an address range, a marker. Prints what it changed.
set -eu
note() { echo "changed: $1"; }
put() { # path mode, content on stdin; atomic, only when different
  new=$(mktemp "$1.XXXXXX"); cat >"$new"; chmod "$2" "$new"
  if cmp -s "$new" "$1" 2>/dev/null; then rm -f "$new"; else sync "$new"; mv "$new" "$1"; note "$1"; fi
}
# 1 facts
echo "facts: $(uname -n) $(uname -r) $(uname -m) $(cat /etc/machine-id) $(nproc) $(awk '/MemTotal/{print $2}' /proc/meminfo)"
. /etc/os-release && echo "os: $ID $VERSION_ID"
# 2 commands present
for c in ip sysctl; do command -v "$c" >/dev/null || { echo "missing: $c" >&2; exit 1; }; done
# 3 modules-load.d
mkdir -p /etc/modules-load.d /etc/sysctl.d
printf 'br_netfilter\noverlay\n' | put /etc/modules-load.d/floor.conf 0644
# 4 modules, absence tolerated
for m in br_netfilter overlay; do
  [ -d "/sys/module/$m" ] || grep -q "^$m " /proc/modules 2>/dev/null || modprobe -q "$m" 2>/dev/null || true
done
# 5 and 6 sysctl.d, live values verified
want='net.ipv4.ip_forward 1
net.ipv4.conf.all.arp_ignore 1
net.ipv4.conf.all.arp_announce 2
net.ipv4.conf.all.rp_filter 0
net.ipv4.conf.default.rp_filter 0
net.ipv6.conf.all.forwarding 1
net.ipv4.tcp_keepalive_time 600
net.core.somaxconn 4096'
echo "$want" | sed 's/ / = /' | put /etc/sysctl.d/90-floor.conf 0644
echo "$want" | while read -r key value; do
  path=/proc/sys/$(echo "$key" | tr . /)
  [ "$(cat "$path")" = "$value" ] || { echo "$value" >"$path"; echo "changed: $key"; }
  [ "$(cat "$path")" = "$value" ] || { echo "diverged: $key" >&2; exit 1; }
done
# 7 and 8 swap off, out of fstab
[ "$(wc -l </proc/swaps)" -le 1 ] || { swapoff -a; note swap; }
if grep -qE '^[^#].*[[:space:]]swap[[:space:]]' /etc/fstab 2>/dev/null; then
  sed -E 's/^([^#].*[[:space:]]swap[[:space:]])/# \1/' /etc/fstab | put /etc/fstab 0644
fi
# 9 and 10 the pool lies in a connected prefix, and no address of it is our own or a known neighbour's
pool_first=192.0.2.200 pool_last=192.0.2.219
ip -4 route show scope link | grep -q '^192\.0\.2\.0/24 ' || { echo "pool outside" >&2; exit 1; }
own=" $(ip -4 -o addr show | awk '{sub("/.*", "", $4); print $4}' | tr '\n' ' ')"
for i in $(seq 200 219); do
  case "$own" in *" 192.0.2.$i "*) echo "own: $i" >&2; exit 1 ;; esac
done
ip -4 neigh show | awk '$1 ~ /^192\.0\.2\.2(0[0-9]|1[0-9])$/ && /lladdr/ {print "taken: " $1; bad=1} END {exit bad}'
# 11 clock
date +%s >/dev/null
# 12 marker
echo "prepared for $pool_first-$pool_last" | put /etc/floor.marker 0644
echo done
