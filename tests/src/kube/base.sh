# Runs once inside the fresh Debian tree of a cluster's hosts, after base.sh.
set -eu

# The lab's own resolver answers here.
echo 'nameserver 192.0.2.53' > /etc/resolv.conf
echo 'net.ipv4.ip_forward = 1' > /etc/sysctl.d/50-kubernetes.conf

# Keys that kubelet insists on, but that belong to the machine: it finds what it wants and changes nothing.
lab=/usr/local/lib/rackwright-lab
while read -r key value; do
    mkdir -p "$lab/sysctl/${key%/*}"
    echo "$value" > "$lab/sysctl/$key"
done <<'END'
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
END

cat > "$lab/mounts" <<'END'
#!/bin/sh
# What containers need and systemd-nspawn does not give: shared mounts, and control groups that can be written.
set -eu
mount --make-rshared /
for group in /sys/fs/cgroup /sys/fs/cgroup/*; do
    if mountpoint --quiet "$group"; then
        mount -o remount,bind,rw "$group"
    fi
done
cd /usr/local/lib/rackwright-lab/sysctl
find . -type f | while read -r key; do
    mount --bind "$key" "/proc/sys/$key"
done
END
chmod 755 "$lab/mounts"

cat > /etc/systemd/system/lab-mounts.service <<'END'
[Unit]
Description=Mounts that containers need
DefaultDependencies=no
Before=sysinit.target systemd-sysctl.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/lib/rackwright-lab/mounts

[Install]
WantedBy=sysinit.target
END

# The way between the pods of different hosts: the lab writes these files once the nodes have their pod ranges.
cat > /etc/systemd/system/pod-network.service <<'END'
[Unit]
Description=Routes to the pods of the other hosts
ConditionPathExists=/etc/pod-network/routes
Before=kubelet.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/sbin/ip -batch /etc/pod-network/routes
ExecStart=/usr/sbin/nft -f /etc/pod-network/masquerade.nft

[Install]
WantedBy=multi-user.target
END

# As the packages of Kubernetes have it, but quiet until kubeadm has been here.
cat > /etc/systemd/system/kubelet.service <<'END'
[Unit]
Description=kubelet: The Kubernetes Node Agent
After=containerd.service
Wants=containerd.service
ConditionPathExists=/var/lib/kubelet/config.yaml

[Service]
Environment="KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf"
Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
EnvironmentFile=-/etc/default/kubelet
ExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
Restart=always
RestartSec=2

[Install]
WantedBy=multi-user.target
END

mkdir -p /etc/containerd /etc/cni/net.d /opt/cni/bin
cat > /etc/containerd/config.toml <<'END'
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  # Not every machine lets its hosts protect themselves from the kernel running out of memory.
  restrict_oom_score_adj = true
  sandbox_image = "registry.k8s.io/pause:3.10.2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
END

systemctl enable lab-mounts.service pod-network.service kubelet.service containerd.service >/dev/null 2>&1

apt-get clean
rm -rf /var/lib/apt/lists/* /var/log/*.log /usr/share/doc/* /usr/share/man/* /usr/share/locale/*
