//! The last proof: HTTP through a gateway's address reaches a workload, asked for from where clients are.

use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::core::v1::Service;
use rackwright_proto::finding::Finding;
use rackwright_proto::reach::{Asked, Reach, Reached};
use serde::Serialize;

use super::case::ServiceName;
use super::names;
use crate::network::say::{Say as _, error, list, pass, warning};
use crate::rack::model::kubernetes::Gateway;

/// How long an answer may take, in milliseconds: a proxy, a workload, and a lost packet.
const WITHIN_MS: u32 = 5_000;

/// One way through a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Way {
    /// The gateway's Service.
    pub service: ServiceName,
    /// Its address and port.
    pub at: SocketAddr,
    /// The name to ask for; the address itself where there is none.
    pub host: Option<String>,
    /// The path to ask for.
    pub path: String,
    /// The status that shall come.
    pub status: u16,
}

/// Who asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asker {
    /// The operator's machine, on the segment of the address.
    Here,
    /// A host of the rack that is no node of the cluster.
    Outside(String),
    /// A node of the cluster: its own kube-proxy answers for the address, so that nothing is proven of the way in.
    Node(String),
}

/// What was seen of a way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Through {
    /// The way.
    #[serde(flatten)]
    pub way: Way,
    /// Whether the wanted answer came, from outside.
    pub proven: bool,
    /// All of it in one line.
    pub line: String,
    /// What is wrong, or that it is proven.
    #[serde(skip)]
    pub finding: Finding,
}

/// The ways that the rack names, as far as their Services have addresses; the others' Services are told of elsewhere.
pub fn ways(gateways: &[Gateway], services: &[Service]) -> Vec<Way> {
    let of = |gateway: &Gateway| {
        let name = ServiceName::from(&gateway.service);
        let service = services.iter().find(|s| name.is_of(&s.metadata));
        let way = |ip: IpAddr| Way {
            service: name.clone(),
            at: (ip, gateway.port).into(),
            host: gateway.host.clone(),
            path: gateway.path.clone(),
            status: gateway.status,
        };
        service.map(addresses).unwrap_or_default().into_iter().map(way).collect::<Vec<_>>()
    };
    gateways.iter().flat_map(of).collect()
}

fn addresses(service: &Service) -> Vec<IpAddr> {
    let balancer = service.status.as_ref().and_then(|s| s.load_balancer.as_ref());
    let ingress = balancer.and_then(|b| b.ingress.as_deref()).unwrap_or_default();
    ingress.iter().filter_map(|one| one.ip.as_ref()?.parse().ok()).collect()
}

/// What is asked along a way.
pub fn ask(way: &Way) -> Asked {
    Asked::new(Reach::Http { address: way.at, host: way.host.clone(), path: way.path.clone() }, WITHIN_MS)
}

/// What the answers of a way come to. Whoever asked from outside decides; nodes only where nobody did.
pub fn judge(way: &Way, answers: &[(Asker, Reached)]) -> Through {
    let outside = |asker: &Asker| !matches!(asker, Asker::Node(_));
    let chosen = answers.iter().find(|(asker, _)| outside(asker)).or(answers.first());
    let (proven, finding) = match chosen {
        None => (false, not_asked(way)),
        Some((asker, Reached::Http { status, server, .. })) if *status == way.status => match asker {
            Asker::Node(node) => (false, inside(way, node)),
            _ => (true, answers_well(way, asker, server)),
        },
        Some((asker, reached)) => (false, wrong(way, asker, reached)),
    };
    let what = if proven { finding.observed.clone() } else { format!("not proven ({})", finding.name) };
    Through { way: way.clone(), proven, line: format!("{} {}: {what}", way.service, url(way)), finding }
}

fn url(way: &Way) -> String {
    let to = way.host.as_ref().map(|host| format!(" for {host}")).unwrap_or_default();
    format!("http://{}{}{to}", way.at, way.path)
}

fn who(asker: &Asker) -> String {
    match asker {
        Asker::Here => "from here".into(),
        Asker::Outside(host) => format!("from {host}, which is no node"),
        Asker::Node(node) => format!("from node {node}"),
    }
}

fn by(server: &str) -> String {
    if server.is_empty() { String::new() } else { format!(" by {server}") }
}

fn checked(finding: Finding, way: &Way) -> Finding {
    finding
        .checked(format!("whether {} reaches a workload", url(way)))
        .expected(format!("HTTP status {} from outside of the cluster", way.status))
}

fn answers_well(way: &Way, asker: &Asker, server: &str) -> Finding {
    let observed = format!("HTTP {}{}, asked {}", way.status, by(server), who(asker));
    checked(pass(names::GATEWAY_ANSWERS, &way.service), way).observed(observed)
}

fn not_asked(way: &Way) -> Finding {
    checked(warning(names::GATEWAY_NOT_ASKED, &way.service), way)
        .observed("nobody could ask")
        .fix("mend the way to the hosts, or run rackwright from a machine on the segment of the address")
}

fn inside(way: &Way, node: &str) -> Finding {
    checked(warning(names::GATEWAY_FROM_INSIDE_ONLY, &way.service), way)
        .observed(format!(
            "node {node} got HTTP {}, but there its own kube-proxy answers for the address; nobody outside could ask",
            way.status
        ))
        .fix("run rackwright from a machine on the segment of the address, or add a host to the rack that is no node")
}

fn wrong(way: &Way, asker: &Asker, reached: &Reached) -> Finding {
    let asked = who(asker);
    let (name, observed, fix) = match reached {
        Reached::Http { status: 404, server, .. } if is_envoy(server) => (
            names::GATEWAY_NO_ROUTE,
            format!("HTTP 404{}, asked {asked}: the gateway has no route for this name and path", by(server)),
            "compare the Gateway's and VirtualService's hosts and paths with the rack's; `istioctl analyze` finds mismatches"
                .to_owned(),
        ),
        Reached::Http { status: 503, server, body } if is_envoy(server) => (
            names::GATEWAY_NO_WORKLOAD,
            format!("HTTP 503{}, asked {asked}: {}", by(server), short(body)),
            "look at the endpoints of the Service that the route leads to, and at mutual TLS between gateway and sidecar"
                .to_owned(),
        ),
        Reached::Http { status, server, .. } => (
            names::GATEWAY_OTHER_ANSWER,
            format!("HTTP {status}{}, asked {asked}", by(server)),
            format!("mend the workload behind it, or write `status: {status}` if that is right"),
        ),
        Reached::Failed { why } => (
            names::GATEWAY_SILENT,
            format!("no HTTP answer, asked {asked}: {why}"),
            "`rackwright diagnose` finds out where it ends".to_owned(),
        ),
        _ => (names::GATEWAY_SILENT, format!("another answer than HTTP, asked {asked}"), "ask again".to_owned()),
    };
    checked(error(name, &way.service), way).observed(observed).fix(fix)
}

/// Envoy as Istio names it, and as it names itself.
fn is_envoy(server: &str) -> bool {
    matches!(server, "istio-envoy" | "envoy")
}

fn short(body: &str) -> String {
    let line = body.trim().lines().next().unwrap_or_default();
    match line.is_empty() {
        true => "without a word".into(),
        false => list(&[line.chars().take(120).collect::<String>()]),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;
    use crate::proof::tests::golden::show;

    fn gateway(text: serde_json::Value) -> Gateway {
        serde_json::from_value(text).unwrap()
    }

    fn service(ips: &[&str]) -> Service {
        let ingress: Vec<_> = ips.iter().map(|ip| json!({"ip": ip})).collect();
        serde_json::from_value(json!({
            "metadata": {"name": "istio-ingressgateway", "namespace": "istio-system"},
            "status": {"loadBalancer": {"ingress": ingress}},
        }))
        .unwrap()
    }

    fn way() -> Way {
        let gateways = [gateway(json!({"host": "web.example", "path": "/x"}))];
        ways(&gateways, &[service(&["192.0.2.200"])]).remove(0)
    }

    fn http(status: u16, server: &str, body: &str) -> Reached {
        Reached::Http { status, server: server.into(), body: body.into() }
    }

    #[test]
    fn every_address_of_a_gateway_is_a_way_and_one_without_is_none() {
        let gateways = [gateway(json!({"port": 8080}))];
        assert_eq!(ways(&gateways, &[service(&[])]), []);
        assert_eq!(ways(&gateways, &[]), []);
        let found = ways(&gateways, &[service(&["192.0.2.200", "2001:db8::1"])]);
        let at: Vec<String> = found.iter().map(|way| way.at.to_string()).collect();
        assert_eq!(at, ["192.0.2.200:8080", "[2001:db8::1]:8080"]);
    }

    fn cases() -> Vec<(&'static str, Vec<(Asker, Reached)>)> {
        let ok = || http(200, "istio-envoy", "hello");
        let node = |name: &str| Asker::Node(name.into());
        vec![
            ("from here", vec![(Asker::Here, ok())]),
            ("from outside", vec![(node("w1"), http(503, "", "")), (Asker::Outside("nas".into()), ok())]),
            ("from a node only", vec![(node("w1"), ok())]),
            ("by nobody", vec![]),
            ("no route", vec![(Asker::Here, http(404, "istio-envoy", ""))]),
            ("no workload", vec![(Asker::Here, http(503, "istio-envoy", "no healthy upstream"))]),
            ("another server", vec![(Asker::Here, http(404, "nginx", ""))]),
            ("silence", vec![(Asker::Here, Reached::Failed { why: "no answer within 5 s".into() })]),
        ]
    }

    /// All findings, for the room's list of names.
    pub(crate) fn said_in_cases() -> Vec<Finding> {
        cases().into_iter().map(|(_, answers)| judge(&way(), &answers).finding).collect()
    }

    #[test]
    fn every_word_is_golden() {
        let told = cases().into_iter().map(|(case, answers)| {
            let through = judge(&way(), &answers);
            format!("=== asked {case}\n> {}\n{}", through.line, show(&[through.finding]))
        });
        insta::assert_snapshot!(told.collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn only_an_answer_from_outside_proves_it() {
        let proven: Vec<_> = cases()
            .into_iter()
            .filter(|(_, answers)| judge(&way(), answers).proven)
            .map(|(case, _)| case)
            .collect();
        assert_eq!(proven, ["from here", "from outside"]);
    }
}
