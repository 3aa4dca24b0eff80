//! What is on a cluster, read with MetalLB's eyes: pools, advertisements, nodes, Services.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Node, Service};
use rackwright_proto::cluster::ClusterStep;
use rackwright_proto::cluster::object::FIELD_MANAGER;
use rackwright_proto::range::AddressRange;
use serde_json::Value;

use super::manifest::text;
use super::release::{Release, tag};
use super::selector::{Unknown, selects};
use crate::cluster::facts::BalancerFacts;

/// Keeps a node from announcing, from MetalLB 0.14.0 on; kubeadm puts it on every control plane.
pub(super) const EXCLUDE: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
/// The label by which a node is named.
pub(super) const HOSTNAME: &str = "kubernetes.io/hostname";

/// All pools and advertisements.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    pub(super) pools: Vec<Pool>,
    pub(super) advertisements: Vec<Advertisement>,
}

/// An IPAddressPool.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    pub(super) name: String,
    pub(super) ranges: Vec<AddressRange>,
    /// Ranges as written, with what MetalLB makes of them, where that is more than what is written.
    pub(super) masked: Vec<(String, AddressRange)>,
    pub(super) object: Value,
}

/// An L2Advertisement.
#[derive(Debug, Clone)]
pub(super) struct Advertisement {
    pub(super) name: String,
    pub(super) object: Value,
}

/// Whether something is so, as far as can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Yes,
    No,
    Perhaps,
}

impl View {
    /// What the cluster has.
    pub(super) fn live(facts: &BalancerFacts) -> Self {
        let all = |objects: &Option<Vec<Value>>| objects.clone().unwrap_or_default();
        Self {
            pools: all(&facts.pools).into_iter().map(Pool::of).collect(),
            advertisements: all(&facts.advertisements).into_iter().map(Advertisement::of).collect(),
        }
    }

    /// What it will have once these steps were done.
    pub(super) fn after<'a>(mut self, steps: impl IntoIterator<Item = &'a ClusterStep>) -> Self {
        for step in steps {
            let ClusterStep::Object(step) = step else { continue };
            match step.kind.as_str() {
                "IPAddressPool" => {
                    self.pools.retain(|pool| pool.name != step.name);
                    self.pools.extend(step.want.clone().map(Pool::of));
                }
                "L2Advertisement" => {
                    self.advertisements.retain(|ad| ad.name != step.name);
                    self.advertisements.extend(step.want.clone().map(Advertisement::of));
                }
                _ => {}
            }
        }
        self
    }

    pub(super) fn pool(&self, name: &str) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.name == name)
    }

    /// The pool that an address is of.
    pub(super) fn pool_of(&self, address: IpAddr) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.holds(address))
    }

    /// The advertisements that carry a pool.
    pub(super) fn carriers(&self, pool: &Pool) -> Vec<&Advertisement> {
        self.advertisements.iter().filter(|ad| ad.carries(pool)).collect()
    }
}

impl Pool {
    pub(super) fn of(object: Value) -> Self {
        let written = strings(&object, "/spec/addresses").into_iter();
        let read: Vec<_> = written.filter_map(|text| Some((text.to_owned(), range(text)?))).collect();
        let masked =
            read.iter().filter(|(_, (_, masked))| *masked).map(|(text, (range, _))| (text.clone(), *range));
        Self {
            name: text(&object, "/metadata/name").to_owned(),
            masked: masked.collect(),
            ranges: read.iter().map(|(_, (range, _))| *range).collect(),
            object,
        }
    }

    pub(super) fn holds(&self, address: IpAddr) -> bool {
        self.ranges.iter().any(|range| range.contains(address))
    }

    /// How many addresses of a family it can give; `avoidBuggyIPs` takes a few more away.
    pub(super) fn size(&self, four: bool) -> u128 {
        let family = self.ranges.iter().filter(|range| range.first().is_ipv4() == four);
        family.map(AddressRange::len).fold(0, u128::saturating_add)
    }

    pub(super) fn auto_assign(&self) -> bool {
        self.object.pointer("/spec/autoAssign").and_then(Value::as_bool).unwrap_or(true)
    }

    /// Whom it is for, where it is not for all.
    pub(super) fn allocation(&self) -> Option<&Value> {
        let allocation = self.object.pointer("/spec/serviceAllocation")?;
        let some = |field: &str| allocation[field].as_array().is_some_and(|list| !list.is_empty());
        ["namespaces", "namespaceSelectors", "serviceSelectors"].into_iter().any(some).then_some(allocation)
    }

    /// Whether its `serviceAllocation` matches a Service. Of a namespace only the name is known.
    pub(super) fn is_for(&self, service: &Service) -> Told {
        let Some(allocation) = self.allocation() else { return Told::Yes };
        let namespace = service.metadata.namespace.as_deref().unwrap_or("default");
        let list = |field: &str| allocation[field].as_array().map(Vec::as_slice).unwrap_or_default();
        let of_namespace = |key: &str| match key {
            "kubernetes.io/metadata.name" => Ok(Some(namespace)),
            _ => Err(Unknown),
        };
        let selectors = list("namespaceSelectors");
        let named = list("namespaces").iter().any(|name| name == namespace);
        let selected = selectors.iter().map(|s| selects(s, of_namespace)).collect::<Vec<_>>();
        let namespace = match (list("namespaces").is_empty() && selectors.is_empty()) || named {
            true => Told::Yes,
            false => Told::any(&selected),
        };
        let labels = service.metadata.labels.as_ref();
        let of_service = |key: &str| Ok(labels.and_then(|l| l.get(key)).map(String::as_str));
        let selected: Vec<_> = list("serviceSelectors").iter().map(|s| selects(s, of_service)).collect();
        let service = if selected.is_empty() { Told::Yes } else { Told::any(&selected) };
        namespace.and(service)
    }
}

impl Told {
    fn any(told: &[Option<bool>]) -> Self {
        match (told.contains(&Some(true)), told.contains(&None)) {
            (true, _) => Self::Yes,
            (false, true) => Self::Perhaps,
            (false, false) => Self::No,
        }
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            _ => Self::Perhaps,
        }
    }
}

impl Advertisement {
    pub(super) fn of(object: Value) -> Self {
        Self { name: text(&object, "/metadata/name").to_owned(), object }
    }

    /// The pools that it names.
    pub(super) fn pools(&self) -> Vec<&str> {
        strings(&self.object, "/spec/ipAddressPools")
    }

    /// The interfaces that it names; all when there are none.
    pub(super) fn interfaces(&self) -> Vec<&str> {
        strings(&self.object, "/spec/interfaces")
    }

    /// Whether it carries a pool. Without pools and selectors of pools it carries all.
    pub(super) fn carries(&self, pool: &Pool) -> bool {
        let selectors = self.list("ipAddressPoolSelectors");
        let labels = pool.object.pointer("/metadata/labels");
        let label = |key: &str| Ok(labels.and_then(|l| l.get(key)).and_then(Value::as_str));
        let everything = self.pools().is_empty() && selectors.is_empty();
        let selected = || selectors.iter().any(|s| selects(s, label) == Some(true));
        everything || self.pools().contains(&pool.name.as_str()) || selected()
    }

    /// Whether it lets a node announce. Without selectors it lets all.
    pub(super) fn lets(&self, node: &Node) -> bool {
        let selectors = self.list("nodeSelectors");
        selectors.is_empty()
            || selectors.iter().any(|s| selects(s, |key| Ok(node_label(node, key))) == Some(true))
    }

    /// Whether it restricts nodes or interfaces.
    pub(super) fn restricts(&self) -> bool {
        !self.list("nodeSelectors").is_empty() || !self.interfaces().is_empty()
    }

    /// Whether it takes a Service (from MetalLB 0.16.0 on).
    pub(super) fn takes(&self, service: &Service, release: Option<Release>) -> bool {
        let selectors = self.list("serviceSelectors");
        let known = release.is_none_or(|release| release >= Release::SERVICE_SELECTORS);
        let labels = service.metadata.labels.as_ref();
        let label = |key: &str| Ok(labels.and_then(|l| l.get(key)).map(String::as_str));
        !known || selectors.is_empty() || selectors.iter().any(|s| selects(s, label) == Some(true))
    }

    pub(super) fn list(&self, field: &str) -> &[Value] {
        let list = self.object.pointer(&format!("/spec/{field}")).and_then(Value::as_array);
        list.map(Vec::as_slice).unwrap_or_default()
    }
}

/// A label of a node.
pub(super) fn node_label<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    node.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

pub(super) fn node_name(node: &Node) -> &str {
    node.metadata.name.as_deref().unwrap_or_default()
}

/// Texts of a list inside of an object.
pub(super) fn strings<'a>(object: &'a Value, pointer: &str) -> Vec<&'a str> {
    object
        .pointer(pointer)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// A range in MetalLB's grammar, and whether it holds more than is written, since MetalLB cuts host bits off.
fn range(text: &str) -> Option<(AddressRange, bool)> {
    if let Some((first, last)) = text.split_once('-') {
        let range = AddressRange::new(first.trim().parse().ok()?, last.trim().parse().ok()?).ok()?;
        return Some((range, false));
    }
    let net: ipnet::IpNet = text.trim().parse().ok()?;
    Some((AddressRange::of_net(net.trunc()).ok()?, net.trunc() != net))
}

/// Who set fields of an object, by `metadata.managedFields`, each once.
pub(super) fn managers(object: &Value) -> Vec<&str> {
    let all = object.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten();
    let mut names: Vec<&str> = all.filter_map(|m| m["manager"].as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Whether we set fields of an object.
pub(super) fn is_ours(object: &Value) -> bool {
    managers(object).contains(&FIELD_MANAGER)
}

/// The release that runs, by the tags of its images.
pub(super) fn release(facts: &BalancerFacts) -> Option<Release> {
    let deployments = facts.deployments.iter().filter_map(|d| d.spec.as_ref()?.template.spec.as_ref());
    let daemon_sets = facts.daemon_sets.iter().filter_map(|d| d.spec.as_ref()?.template.spec.as_ref());
    let mut images =
        deployments.chain(daemon_sets).flat_map(|pod| &pod.containers).filter_map(|c| c.image.as_deref());
    images.find_map(|image| {
        let metallb = image.contains("controller") || image.contains("speaker");
        Release::parse(tag(image)?).filter(|_| metallb)
    })
}

/// `NAMESPACE/NAME`.
pub(super) fn service_name(service: &Service) -> String {
    let namespace = service.metadata.namespace.as_deref().unwrap_or("default");
    format!("{namespace}/{}", service.metadata.name.as_deref().unwrap_or_default())
}

/// The addresses that a Service was given.
pub(super) fn given(service: &Service) -> Vec<IpAddr> {
    let status = service.status.as_ref().and_then(|s| s.load_balancer.as_ref());
    let ingress = status.and_then(|l| l.ingress.as_ref()).into_iter().flatten();
    ingress.filter_map(|i| i.ip.as_ref()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pools_are_read_in_metallbs_grammar() {
        let addresses =
            ["192.0.2.245/28", "198.51.100.1 - 198.51.100.9", "2001:db8::/120", "192.0.2.1", "x-y"];
        let pool = Pool::of(json!({"metadata": {"name": "p"}, "spec": {"addresses": addresses}}));
        let shown: Vec<_> = pool.ranges.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["192.0.2.240/28", "198.51.100.1-198.51.100.9", "2001:db8::/120"]);
        assert_eq!(pool.masked.len(), 1);
        assert_eq!((pool.size(true), pool.size(false)), (25, 256));
        assert!(pool.auto_assign() && pool.allocation().is_none());
    }

    #[test]
    fn service_allocation_is_read_as_metallb_reads_it() {
        let service: Service = serde_json::from_value(
            json!({"metadata": {"name": "web", "namespace": "shop", "labels": {"tier": "edge"}}}),
        )
        .unwrap();
        let told = |allocation: Value| {
            Pool::of(json!({"metadata": {"name": "p"}, "spec": {"serviceAllocation": allocation}}))
                .is_for(&service)
        };
        assert_eq!(told(json!({"priority": 5})), Told::Yes);
        assert_eq!(told(json!({"namespaces": ["shop"]})), Told::Yes);
        assert_eq!(told(json!({"namespaces": ["other"]})), Told::No);
        let team = json!([{"matchLabels": {"team": "a"}}]);
        assert_eq!(told(json!({"namespaces": ["other"], "namespaceSelectors": team})), Told::Perhaps);
        assert_eq!(told(json!({"namespaces": ["shop"], "namespaceSelectors": team})), Told::Yes);
        assert_eq!(told(json!({"serviceSelectors": [{"matchLabels": {"tier": "edge"}}]})), Told::Yes);
        assert_eq!(
            told(
                json!({"serviceSelectors": [{"matchLabels": {"tier": "back"}}], "namespaceSelectors": team})
            ),
            Told::No
        );
    }
}
