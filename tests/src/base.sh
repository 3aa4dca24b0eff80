# Runs once inside the fresh Debian tree: what every lab host has in common.
set -eu

# Each host brings its own identity.
rm -f /etc/ssh/ssh_host_* /etc/machine-id /var/lib/dbus/machine-id
: > /etc/machine-id

# Nothing may wait for a resolver that is not there: 192.0.2.1 is the operator, who refuses at once.
echo 'nameserver 192.0.2.1' > /etc/resolv.conf
echo 'UseDNS no' > /etc/ssh/sshd_config.d/lab.conf

useradd --create-home --shell /bin/bash --groups sudo,systemd-journal ops
install -d -m 0700 -o ops -g ops /home/ops/.ssh
install -d -m 0700 /root/.ssh

# Noise for a test host: they start on their own timers and fail without a disk or a network.
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
    fstrim.timer systemd-pstore.service console-getty.service getty@.service remote-fs.target; do
    systemctl disable "$unit" >/dev/null 2>&1 || true
done
systemctl mask console-getty.service e2scrub_reap.service >/dev/null 2>&1
systemctl enable ssh.service >/dev/null 2>&1

apt-get clean
rm -rf /var/lib/apt/lists/* /var/log/*.log /usr/share/doc/* /usr/share/man/* /usr/share/locale/*
