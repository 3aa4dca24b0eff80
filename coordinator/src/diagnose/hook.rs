//! Webhooks that the API server must ask, and where it finds them.

use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::admissionregistration::v1::ServiceReference;
use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::case::Hook;
use super::read::{ObjectName, is};

/// The Service's port that is asked where the webhook names none.
const PORT: i32 = 443;

/// What a webhook's configuration says of where to ask.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asks {
    /// The configuration: `ValidatingWebhookConfiguration/NAME`.
    pub name: String,
    /// Its Service.
    pub service: ObjectName,
    /// The Service's port.
    pub port: i32,
}

impl Asks {
    /// By `clientConfig.service` of a webhook.
    pub fn new(name: &str, reference: ServiceReference) -> Self {
        let port = reference.port.unwrap_or(PORT);
        Self { name: name.to_owned(), service: (reference.namespace, reference.name), port }
    }
}

/// A webhook with its ready endpoints, as the API server finds them: by the Service's port of that number, and by
/// what that port leads to.
pub(super) fn hook(asks: &Asks, services: &[Service], slices: &[EndpointSlice]) -> Hook {
    let service = services.iter().find(|service| is(service, &asks.service));
    let ports = service.and_then(|service| service.spec.as_ref()?.ports.as_deref()).unwrap_or_default();
    let port = ports.iter().find(|port| port.port == asks.port && is_tcp(port));
    let lacks = match (service, port) {
        (None, _) => "is not there".to_owned(),
        (_, None) => format!("has no port {}", asks.port),
        _ => String::new(),
    };
    Hook {
        name: asks.name.clone(),
        service: format!("{}/{}", asks.service.0, asks.service.1),
        endpoints: port.map(|port| endpoints(asks, port, slices)).unwrap_or_default(),
        lacks,
    }
}

fn is_tcp(port: &ServicePort) -> bool {
    port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP")
}

/// Ports of slices have the names of the Service's ports and the numbers of the pods'.
fn endpoints(asks: &Asks, port: &ServicePort, slices: &[EndpointSlice]) -> Vec<SocketAddr> {
    let name = |name: &Option<String>| name.clone().unwrap_or_default();
    let of = |slice: &&EndpointSlice| {
        let label = slice.metadata.labels.as_ref().and_then(|l| l.get("kubernetes.io/service-name"));
        slice.metadata.namespace.as_ref() == Some(&asks.service.0) && label == Some(&asks.service.1)
    };
    let mut found: Vec<SocketAddr> = Vec::new();
    for slice in slices.iter().filter(of) {
        let own = slice.ports.iter().flatten().find(|own| name(&own.name) == name(&port.name));
        let Some(number) = own.and_then(|own| u16::try_from(own.port?).ok()) else { continue };
        let ready =
            slice.endpoints.iter().filter(|e| e.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true));
        let addresses = ready.flat_map(|e| &e.addresses).filter_map(|ip| ip.parse::<IpAddr>().ok());
        found.extend(addresses.map(|ip| SocketAddr::new(ip, number)));
    }
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn found(port: Value, ports: Value, of_pods: Value) -> Hook {
        let reference = json!({"namespace": "system", "name": "hooks", "port": port});
        let meta = json!({"namespace": "system", "name": "hooks", "labels": {"kubernetes.io/service-name": "hooks"}});
        let service = json!({"metadata": meta, "spec": {"ports": ports}});
        let endpoints = json!([{"addresses": ["10.244.1.9"]},
            {"addresses": ["10.244.1.8"], "conditions": {"ready": false}}]);
        let slice =
            json!({"metadata": meta, "addressType": "IPv4", "ports": of_pods, "endpoints": endpoints});
        let asks = Asks::new("x", from_value(reference).unwrap());
        hook(&asks, &[from_value(service).unwrap()], &[from_value(slice).unwrap()])
    }

    #[test]
    fn the_port_is_that_of_the_webhook_whatever_its_name() {
        // As istiod's: the name of the port that is asked speaks of webhooks, and that of another one, too.
        let ports = json!([{"name": "webhook-metrics", "port": 15014}, {"name": "https", "port": 443},
            {"name": "more", "port": 8443}, {"name": "u", "port": 444, "protocol": "UDP"}]);
        let of_pods = json!([{"name": "more", "port": 9443}, {"name": "https", "port": 15017},
            {"name": "webhook-metrics", "port": 15014}, {"name": "u", "port": 444}]);
        let at = |port: Value| found(port, ports.clone(), of_pods.clone());
        assert_eq!(at(Value::Null).endpoints, ["10.244.1.9:15017".parse().unwrap()]);
        assert_eq!(at(json!(8443)).endpoints, ["10.244.1.9:9443".parse().unwrap()]);
        for other in [444, 9443] {
            let hook = at(json!(other));
            assert_eq!((hook.endpoints, hook.lacks), (vec![], format!("has no port {other}")));
        }
    }

    #[test]
    fn a_port_may_be_without_a_name_and_a_service_not_there() {
        let hook = found(Value::Null, json!([{"port": 443}]), json!([{"name": "", "port": 9443}]));
        assert_eq!((hook.endpoints, hook.lacks.as_str()), (vec!["10.244.1.9:9443".parse().unwrap()], ""));
        let asks = Asks { name: "x".into(), service: ("a".into(), "b".into()), port: PORT };
        assert_eq!(super::hook(&asks, &[], &[]).lacks, "is not there");
    }
}
