//! The operator's desk before a cluster: the real `rackwright` on a real cluster, and what kubectl, the hosts and the
//! segment tell of it.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Deref;
use std::process::Command;
use std::time::Duration;

use rackwright_lab::{Cluster, Output, Release, Spec, run};
use serde_json::Value;

use crate::operator::{self, Working};

/// Generous: a run may roll every workload of a cluster on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(400);

/// A cluster and its operator.
pub(crate) struct Desk {
    cluster: Cluster,
}

impl Deref for Desk {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl Desk {
    /// A cluster as kubeadm leaves it, and the lab's rack for it. Segments are asked in short.
    pub(crate) fn up(spec: Spec) -> Self {
        let desk = Self { cluster: Cluster::up(spec.kube(Release::V1_37)).unwrap() };
        desk.edit("network: {", "network: {probe: quick, ");
        desk
    }

    /// A `rackwright` in the folder of the rack's file.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        operator::rackwright(self.lab(), arguments)
    }

    /// Runs `rackwright` and insists on how it ends.
    #[track_caller]
    pub(crate) fn ends(&self, code: i32, arguments: &[&str]) -> Output {
        operator::coded(run(self.command(arguments), None, LIMIT).unwrap(), code)
    }

    /// The same with `--json`; what standard output holds must be one JSON value.
    #[track_caller]
    pub(crate) fn json(&self, code: i32, arguments: &[&str]) -> Value {
        let output = self.ends(code, &[arguments, &["--json"]].concat());
        let value = serde_json::from_str(&output.stdout);
        value.unwrap_or_else(|error| panic!("{arguments:?} --json: {error}\n{}", output.stdout))
    }

    /// Starts an `apply` that the test looks on.
    pub(crate) fn applying(&self) -> Working {
        Working::start(self.lab(), self.command(&["apply", "--yes"]))
    }

    /// Edits the rack's file; what is replaced must be there.
    #[track_caller]
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let path = self.lab().rack_yaml();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "no {from:?} in\n{text}");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    }

    /// One more line at the end of the rack's file.
    pub(crate) fn add(&self, line: &str) {
        let path = self.lab().rack_yaml();
        fs::write(&path, fs::read_to_string(&path).unwrap() + line + "\n").unwrap();
    }

    /// A finding to live with.
    pub(crate) fn waive(&self, finding: &str) {
        let waiver = format!("{{finding: {finding}, reason: the test wants it}}");
        self.edit("  swap: off\n", &format!("  swap: off\n  waive: [{waiver}]\n"));
    }

    /// What kubectl says.
    #[track_caller]
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        self.kube(arguments, None).unwrap().text().to_owned()
    }

    /// One object, or null.
    #[track_caller]
    pub(crate) fn object(&self, arguments: &[&str]) -> Value {
        let said = self.kubectl(&[&["get", "--output=json", "--ignore-not-found"], arguments].concat());
        if said.is_empty() { Value::Null } else { serde_json::from_str(&said).unwrap() }
    }

    /// A ConfigMap of kube-system as its owners wrote it: data, labels and annotations.
    #[track_caller]
    pub(crate) fn config_map(&self, name: &str) -> Value {
        let map = self.object(&["configmap", name, "--namespace=kube-system"]);
        let meta = &map["metadata"];
        serde_json::json!({"data": map["data"], "labels": meta["labels"], "annotations": meta["annotations"]})
    }

    /// Sets one entry of a ConfigMap of kube-system, as somebody would who has kubectl.
    #[track_caller]
    pub(crate) fn set_entry(&self, name: &str, entry: &str, text: &str) {
        let patch = serde_json::json!({"data": {entry: text}}).to_string();
        let patch = format!("--patch={patch}");
        self.kubectl(&[
            "patch",
            "configmap",
            name,
            "--namespace=kube-system",
            "--type=merge",
            "--field-manager=kubectl-edit",
            &patch,
        ]);
    }

    /// Every object that a run could touch, by name, with all of it but what controllers tell of it (`status`): any write
    /// of ours shows.
    pub(crate) fn versions(&self) -> BTreeMap<String, String> {
        let everywhere = "customresourcedefinitions,clusterroles,clusterrolebindings,validatingwebhookconfigurations,\
                          namespaces,nodes";
        let inside = "configmaps,secrets,serviceaccounts,services,daemonsets,deployments,roles,rolebindings,\
                      controllerrevisions,replicasets,pods";
        let ours = ["lease", "rackwright", "--namespace=kube-system"];
        let mut kinds: Vec<Vec<&str>> = vec![vec![everywhere], ours.to_vec(), vec!["services"]];
        let pools = "ipaddresspools.metallb.io,l2advertisements.metallb.io";
        for namespace in ["--namespace=kube-system", "--namespace=metallb-system"] {
            kinds.push(vec![inside, namespace]);
        }
        if self.object(&["namespace/metallb-system"]) != Value::Null {
            kinds.push(vec![pools, "--namespace=metallb-system"]);
        }
        let mut all = BTreeMap::new();
        for kind in kinds {
            let found = self.object(&kind);
            let items = found["items"].as_array().cloned().unwrap_or_else(|| vec![found]);
            for item in items.into_iter().filter(|item| item["kind"] != "Node") {
                let meta = &item["metadata"];
                let name = format!("{}/{}/{}", item["kind"], meta["namespace"], meta["name"]);
                all.insert(name, without_status(item).to_string());
            }
        }
        all
    }

    /// The mode that kube-proxy itself tells, node by node.
    pub(crate) fn proxy_modes(&self) -> Vec<String> {
        let ask = "printf 'GET /proxyMode HTTP/1.0\\r\\n\\r\\n' | socat -t5 - TCP:127.0.0.1:10249 | tail -n1";
        self.lab().hosts().iter().map(|host| host.read(ask).unwrap()).collect()
    }

    /// The API server's process on a host.
    pub(crate) fn api_server(&self, host: &str) -> Option<i32> {
        let is = |pid: &i32| operator::arguments(*pid).first().is_some_and(|a| a.ends_with("kube-apiserver"));
        self.lab().host(host).processes().into_iter().find(is)
    }
}

fn without_status(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(meta) = object["metadata"].as_object_mut() {
        meta.remove("resourceVersion");
        if let Some(managers) = meta.get_mut("managedFields").and_then(Value::as_array_mut) {
            managers.retain(|manager| manager["subresource"] != "status");
        }
    }
    object
}

/// What differs between two looks at [`Desk::versions`].
pub(crate) fn touched(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    let names = before.keys().chain(after.keys().filter(|name| !before.contains_key(*name)));
    names.filter(|name| before.get(*name) != after.get(*name)).cloned().collect()
}
