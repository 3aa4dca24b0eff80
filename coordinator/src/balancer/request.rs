//! What a Service asks MetalLB for.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;

use super::release::Release;

/// The prefix that all releases read.
const OLD: &str = "metallb.universe.tf/";
/// The prefix that is read from 0.14.9 on, and then wins.
const NEW: &str = "metallb.io/";

/// What a Service asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Request {
    /// The pool.
    pub(super) pool: Option<String>,
    /// The addresses.
    pub(super) addresses: Vec<IpAddr>,
    /// What is asked for in the place of an address, and is none.
    pub(super) unreadable: Vec<String>,
    /// Whether addresses are asked for both by annotation and by `spec.loadBalancerIP`.
    pub(super) twice: bool,
    /// The key under which it shares its address.
    pub(super) sharing: Option<String>,
    /// Annotations that this release does not read.
    pub(super) ignored: Vec<String>,
}

impl Request {
    /// As a release reads it; an unknown one as the newest.
    pub(super) fn of(service: &Service, release: Option<Release>) -> Self {
        let new = release.is_none_or(|release| release >= Release::NEW_ANNOTATIONS);
        let nothing = BTreeMap::new();
        let annotations = service.metadata.annotations.as_ref().unwrap_or(&nothing);
        let read = |what: &str| {
            let newer = || annotations.get(&format!("{NEW}{what}")).filter(|_| new);
            newer().or_else(|| annotations.get(&format!("{OLD}{what}"))).filter(|text| !text.is_empty())
        };
        let by_field =
            service.spec.as_ref().and_then(|s| s.load_balancer_ip.clone()).filter(|ip| !ip.is_empty());
        let by_annotation = read("loadBalancerIPs");
        let texts = by_annotation.map(String::as_str).or(by_field.as_deref()).into_iter();
        let texts = texts.flat_map(|texts| texts.split(',')).map(str::trim);
        let (good, bad): (Vec<&str>, Vec<&str>) = texts.partition(|text| text.parse::<IpAddr>().is_ok());
        let asks = ["address-pool", "loadBalancerIPs", "allow-shared-ip"].map(|what| format!("{NEW}{what}"));
        Self {
            pool: read("address-pool").cloned(),
            addresses: good.iter().filter_map(|text| text.parse().ok()).collect(),
            unreadable: bad.into_iter().map(str::to_owned).collect(),
            twice: by_annotation.is_some() && by_field.is_some(),
            sharing: read("allow-shared-ip").cloned(),
            ignored: asks.into_iter().filter(|key| !new && annotations.contains_key(key)).collect(),
        }
    }
}

/// The families that a Service wants, IPv4 as `true`; and whether it insists on both.
pub(super) fn families(service: &Service) -> (Vec<bool>, bool) {
    let spec = service.spec.as_ref();
    let named = spec.and_then(|s| s.ip_families.as_ref()).into_iter().flatten();
    let mut families: Vec<bool> = named.map(|family| family == "IPv4").collect();
    if families.is_empty() {
        let address = spec.and_then(|s| s.cluster_ip.as_ref()).and_then(|ip| ip.parse::<IpAddr>().ok());
        families.push(address.is_none_or(|ip| ip.is_ipv4()));
    }
    let policy = spec.and_then(|s| s.ip_family_policy.as_deref()).unwrap_or("SingleStack");
    (families, policy == "RequireDualStack")
}

/// The name of a family.
pub(super) fn family(four: bool) -> &'static str {
    if four { "IPv4" } else { "IPv6" }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn releases_read_annotations_of_their_time() {
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": "web", "annotations": {
                "metallb.io/loadBalancerIPs": "192.0.2.7, x",
                "metallb.universe.tf/address-pool": "old",
                "metallb.io/address-pool": "new",
            }},
            "spec": {"loadBalancerIP": "192.0.2.8"},
        }))
        .unwrap();
        let old = Request::of(&service, Release::parse("0.13.10"));
        assert_eq!((old.pool.as_deref(), old.twice, old.ignored.len()), (Some("old"), false, 2));
        assert_eq!(old.addresses, ["192.0.2.8".parse::<IpAddr>().unwrap()]);
        let new = Request::of(&service, Release::parse("0.16.1"));
        assert_eq!((new.pool.as_deref(), new.twice, new.ignored.len()), (Some("new"), true, 0));
        assert_eq!((new.addresses.len(), new.unreadable), (1, vec!["x".to_owned()]));
    }
}
