#!/bin/bash
# A toolchain for static arm64 agents, unpacked from Debian packages; nothing is installed on this machine.
# rustup's toolchain has no std for arm64 here, Debian's rustc-web has; both build the same source.
# Usage: arm64.sh DIR. Builds DIR atomically: DIR/rustc, DIR/cc and DIR/ar are what cargo needs.
set -euo pipefail
dir=$1
archiver() {
  cat >"$1/ar" <<AR
#!/bin/sh
LD_LIBRARY_PATH=$dir/root/usr/lib/x86_64-linux-gnu exec "$dir/root/usr/bin/aarch64-linux-gnu-ar" "\$@"
AR
  chmod 755 "$1/ar"
}
if [ -x "$dir/rustc" ] && [ -x "$dir/cc" ]; then
  # One that was unpacked before anything was in C has none yet.
  [ -x "$dir/ar" ] || archiver "$dir"
  exit 0
fi
work=$dir.new.$$
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/apt/{lists/partial,archives/partial} "$work/root"
touch "$work/apt/status"
cat >"$work/apt/apt.conf" <<CONF
Dir::State "$work/apt";
Dir::State::lists "$work/apt/lists";
Dir::State::status "$work/apt/status";
Dir::Cache "$work/apt";
Dir::Cache::archives "$work/apt/archives";
APT::Architectures "amd64,arm64";
APT::Architecture "amd64";
APT::Sandbox::User "root";
CONF
export APT_CONFIG=$work/apt/apt.conf
apt-get update -qq
apt-get install -qq -y --download-only --no-install-recommends \
  rustc-web libstd-rust-web-dev libstd-rust-web-dev:arm64 gcc-12-aarch64-linux-gnu libc6-dev-arm64-cross >/dev/null
for deb in "$work"/apt/archives/*_amd64.deb "$work"/apt/archives/*_all.deb \
  "$work"/apt/archives/libstd-rust-web-dev_*_arm64.deb; do
  dpkg -x "$deb" "$work/root"
done
rm -rf "$work/apt"

cat >"$work/rustc" <<RUSTC
#!/bin/sh
LD_LIBRARY_PATH=$dir/root/usr/lib/x86_64-linux-gnu exec "$dir/root/usr/bin/rustc" --sysroot "$dir/root/usr" "\$@"
RUSTC
cat >"$work/cc" <<CC
#!/bin/sh
R=$dir/root
LD_LIBRARY_PATH=\$R/usr/lib/x86_64-linux-gnu exec "\$R/usr/bin/aarch64-linux-gnu-gcc-12" --sysroot="\$R" \\
  -B"\$R/usr/aarch64-linux-gnu/bin" -B"\$R/usr/lib/gcc-cross/aarch64-linux-gnu/12" -L"\$R/usr/aarch64-linux-gnu/lib" "\$@"
CC
archiver "$work"
chmod 755 "$work/rustc" "$work/cc"
rm -rf "$dir"
mv "$work" "$dir"
