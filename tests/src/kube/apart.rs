//! A kube-proxy of the control planes' own: kubeadm's DaemonSet leaves them out. So it is where their kernel cannot
//! have the mode that the workers shall have.

use serde_json::{Value, json};

use super::{Cluster, Release};
use crate::error::{LabError, Result};

/// The DaemonSet and the ConfigMap of the control planes' kube-proxy.
pub(super) const APART: &str = "kube-proxy-control-plane";
const ROLE: &str = "node-role.kubernetes.io/control-plane";
const SYSTEM: &str = "--namespace=kube-system";

impl Cluster {
    /// Keeps kubeadm's kube-proxy off the control planes, and gives them one of their own that is like it: the same
    /// labels, and a configuration of its own. Before workers join, so that theirs does not have to start over what
    /// a former one left: kube-proxy of mode nftables was seen to lose Services by that.
    pub(super) fn set_proxy_apart(&self, release: Release) -> Result<()> {
        let set = self.system_object("daemonset/kube-proxy")?;
        let config = self.system_object("configmap/kube-proxy")?;
        let patch = format!("--patch={}", kept_off());
        self.kube(&["patch", SYSTEM, "daemonset", "kube-proxy", "--type=strategic", &patch], None)?;
        self.kube(&["rollout", "status", SYSTEM, "daemonset/kube-proxy", "--timeout=120s"], None)?;
        let gone = ["wait", "pod", SYSTEM, "--for=delete", "--selector=k8s-app=kube-proxy", "--timeout=120s"];
        self.kube(&gone, None)?;
        for plane in self.control_planes() {
            plane.sh("nft delete table ip kube-proxy; nft delete table ip6 kube-proxy")?;
        }
        for object in [own_config(&config, release.proxy_mode()), own_set(&set)] {
            self.apply(&object.to_string())?;
        }
        Ok(())
    }

    fn system_object(&self, name: &str) -> Result<Value> {
        let said = self.kube(&["get", SYSTEM, name, "--output=json"], None)?;
        serde_json::from_str(&said.stdout)
            .map_err(|error| LabError::Refused(format!("kubectl's {name} is no JSON: {error}")))
    }
}

fn kept_off() -> Value {
    let expression = json!({"key": ROLE, "operator": "DoesNotExist"});
    let required = json!({"nodeSelectorTerms": [{"matchExpressions": [expression]}]});
    let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}});
    json!({"spec": {"template": {"spec": {"affinity": affinity}}}})
}

fn own_config(config: &Value, mode: &str) -> Value {
    let mut data = config["data"].clone();
    let text = data["config.conf"].as_str().unwrap_or_default();
    let line = |line: &str| match line.starts_with("mode: ") {
        true => format!("mode: {mode}\n"),
        false => format!("{line}\n"),
    };
    data["config.conf"] = text.lines().map(line).collect::<String>().into();
    let metadata = json!({"name": APART, "namespace": "kube-system"});
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
}

fn own_set(set: &Value) -> Value {
    let mut spec = set["spec"].clone();
    let pod = &mut spec["template"]["spec"];
    pod["nodeSelector"][ROLE] = "".into();
    for volume in pod["volumes"].as_array_mut().into_iter().flatten() {
        if volume["configMap"]["name"] == "kube-proxy" {
            volume["configMap"]["name"] = APART.into();
        }
    }
    let metadata = json!({"name": APART, "namespace": "kube-system", "labels": set["metadata"]["labels"]});
    json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata, "spec": spec})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_planes_set_is_like_kubeadms_but_reads_its_own_configuration() {
        let volumes =
            json!([{"name": "kube-proxy", "configMap": {"name": "kube-proxy"}}, {"name": "modules"}]);
        let pod = json!({"nodeSelector": {"kubernetes.io/os": "linux"}, "volumes": volumes});
        let labels = json!({"k8s-app": "kube-proxy"});
        let template = json!({"metadata": {"labels": labels}, "spec": pod});
        let set =
            own_set(&json!({"metadata": {"labels": labels, "uid": "x"}, "spec": {"template": template}}));
        let pod = &set["spec"]["template"]["spec"];
        assert_eq!(pod["nodeSelector"], json!({"kubernetes.io/os": "linux", ROLE: ""}));
        assert_eq!(pod["volumes"][0]["configMap"]["name"], APART);
        assert_eq!(set["spec"]["template"]["metadata"]["labels"], labels);
        let text =
            "kind: KubeProxyConfiguration\nmetricsBindAddress: \"\"\nmode: ipvs\nconntrack:\n  min: 0\n";
        let config = own_config(&json!({"data": {"config.conf": text, "kubeconfig.conf": "k"}}), "nftables");
        assert_eq!(config["data"]["config.conf"], text.replace("mode: ipvs", "mode: nftables"));
        assert_eq!(config["data"]["kubeconfig.conf"], "k");
    }
}
