//! What it costs to ask whose pods get a sidecar.

use std::time::Duration;

use rackwright_proto::cluster::ClusterLedger;
use serde_json::json;

use super::failover::{URL, server};
use super::server::{Authority, Turn, api};
use crate::kube::{Options, injection};

#[tokio::test]
async fn each_namespace_costs_four_requests_and_one_that_is_not_there_none() {
    let authority = Authority::new();
    let list =
        |items: serde_json::Value| Turn::Answer(200, json!({"metadata": {}, "items": items}).to_string());
    let namespaces = ["shop", "legacy", "other"].map(|name| json!({"metadata": {"name": name}}));
    let mut script = vec![list(json!([])), list(json!(namespaces))];
    script.extend((0..20).map(|_| list(json!([]))));
    let server = server(&authority, script).await;
    let access = authority.access(URL).await;
    let (api, _) = api(&access, vec![server.door("cp1")], Options::default());
    let wanted = json!({"namespaces": ["shop", "gone"], "off": ["legacy"]});
    let wanted = serde_json::from_value(wanted).unwrap();
    let nothing = ClusterLedger::default();
    let asked = injection::gather(&api, Some(&wanted), &nothing, &[]);
    tokio::time::timeout(Duration::from_secs(60), asked).await.unwrap().unwrap();
    let mut heard = server.heard();
    let first: Vec<String> = heard.drain(..3).collect();
    assert!(first[1].starts_with("GET /api/v1/namespaces?"), "{first:?}");
    heard.sort();
    let kinds = ["deployments", "daemonsets", "statefulsets", "pods"];
    let once = |place: &str, kind: &str| {
        heard.iter().filter(|asked| asked.contains(&format!("/namespaces/{place}/{kind}?"))).count()
    };
    for place in ["shop", "legacy"] {
        assert_eq!(kinds.map(|kind| once(place, kind)), [1; 4], "{heard:?}");
    }
    assert_eq!((heard.len(), api.counts().total()), (8, 11), "{heard:?}");
}
