//! The next door is taken when one breaks, and nothing is done twice that must not be.

use std::time::Duration;

use serde_json::json;

use super::server::{Authority, Server, Turn, api, shut};
use crate::kube::{Door, KubeFault, Notice, Options, Patience, Resource};

const NAMES: &[&str] = &["kubernetes.default.svc"];
pub(super) const URL: &str = "https://192.0.2.99:6443";

fn quick() -> Options {
    let limit = Duration::from_millis(300);
    Options { patience: Patience { read: limit, write: limit, trouble: Duration::from_secs(2) }, said: None }
}

fn map() -> serde_json::Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "x"}, "data": {"k": "v"}})
}

fn missing() -> Turn {
    Turn::Answer(404, json!({"kind": "Status", "reason": "NotFound", "message": "no"}).to_string())
}

pub(super) async fn server(authority: &Authority, script: Vec<Turn>) -> Server {
    Server::start(authority.server(NAMES, |_| {}), script).await
}

#[tokio::test]
async fn a_shut_door_is_passed_by_and_told_of() {
    let authority = Authority::new();
    let second = server(&authority, vec![]).await;
    let access = authority.access(URL).await;
    let (api, notices) = api(&access, vec![shut("cp1", false), second.door("cp2")], quick());
    api.version().await.unwrap();
    assert_eq!(api.node(), "cp2");
    let told = notices.lock().unwrap()[0].to_string();
    assert_eq!(told, "cp1 does not answer (the cable is cut); going on through cp2");
    api.version().await.unwrap();
    assert_eq!(notices.lock().unwrap().len(), 1);
    // What was never sent is not counted.
    assert_eq!((api.counts().of("get", "/version"), api.counts().connections), (2, 1));
}

#[tokio::test]
async fn reads_and_locked_writes_go_on_through_the_next_door() {
    let authority = Authority::new();
    let access = authority.access(URL).await;
    for turn in [Turn::Hangup, Turn::Silence] {
        let first = server(&authority, vec![turn.clone()]).await;
        let second = server(&authority, vec![Turn::Answer(200, map().to_string())]).await;
        let (api, _) = api(&access, vec![first.door("cp1"), second.door("cp2")], quick());
        let got = api.get_object(&Resource::known("v1", "ConfigMap").unwrap(), Some("x"), "a").await.unwrap();
        assert_eq!(got, Some(map()), "{turn:?}");
        assert_eq!(api.counts().total(), 2);
    }
}

#[tokio::test]
async fn a_replace_that_arrived_before_the_connection_broke_is_no_conflict() {
    let authority = Authority::new();
    let access = authority.access(URL).await;
    let mut sent = map();
    sent["metadata"]["resourceVersion"] = json!("1");
    let mut live = sent.clone();
    live["metadata"]["resourceVersion"] = json!("2");
    let conflict = json!({"kind": "Status", "reason": "Conflict", "message": "modified"}).to_string();
    let turns = |live: &serde_json::Value| {
        vec![Turn::Hangup, Turn::Answer(409, conflict.clone()), Turn::Answer(200, live.to_string())]
    };
    let only = server(&authority, turns(&live)).await;
    let (landed, _) = api(&access, vec![only.door("cp1")], quick());
    assert_eq!(landed.replace_object(&sent, false).await.unwrap(), live);

    live["data"]["k"] = json!("theirs");
    let only = server(&authority, turns(&live)).await;
    let (lost, _) = api(&access, vec![only.door("cp1")], quick());
    assert!(lost.replace_object(&sent, false).await.unwrap_err().is_conflict());
}

#[tokio::test]
async fn a_create_that_broke_is_looked_for_before_it_is_sent_again() {
    let authority = Authority::new();
    let access = authority.access(URL).await;
    let path = "/api/v1/namespaces/x/configmaps";
    let (get, post) =
        (format!("GET {path}/a"), format!("POST {path}?fieldManager=rackwright&fieldValidation=Strict"));

    let first = server(&authority, vec![Turn::Hangup]).await;
    let second = server(&authority, vec![Turn::Answer(200, map().to_string())]).await;
    let (arrived, _) = api(&access, vec![first.door("cp1"), second.door("cp2")], quick());
    arrived.create(&map(), false).await.unwrap();
    assert_eq!(first.heard(), std::slice::from_ref(&post));
    assert_eq!(second.heard(), std::slice::from_ref(&get));

    let second = server(&authority, vec![missing(), Turn::Answer(201, map().to_string())]).await;
    let first = server(&authority, vec![Turn::Hangup]).await;
    let (lost, _) = api(&access, vec![first.door("cp1"), second.door("cp2")], quick());
    lost.create(&map(), false).await.unwrap();
    assert_eq!(second.heard(), [get.clone(), post.clone()]);

    let mut theirs = map();
    theirs["data"]["k"] = json!("theirs");
    let only = server(&authority, vec![Turn::Hangup, Turn::Answer(200, theirs.to_string())]).await;
    let (other, _) = api(&access, vec![only.door("cp1")], quick());
    let error = other.create(&map(), false).await.unwrap_err();
    assert!(matches!(*error.fault, KubeFault::Exists), "{error}");
}

#[tokio::test]
async fn patience_ends_with_the_reason_of_every_door() {
    let authority = Authority::new();
    let access = authority.access(URL).await;
    let busy =
        Turn::Answer(503, json!({"kind": "Status", "message": "apiserver is shutting down"}).to_string());
    let server = server(&authority, vec![busy; 100]).await;
    let options = || Options {
        patience: Patience { trouble: Duration::from_millis(500), ..quick().patience },
        said: None,
    };
    let (one, notices) = api(&access, vec![server.door("cp1")], options());
    let error = one.version().await.unwrap_err().to_string();
    assert!(error.contains("cp1: 503 apiserver is shutting down"), "{error}");
    assert!(matches!(&notices.lock().unwrap()[..], [Notice::Waiting { .. }]), "told once");

    let (two, _) = api(&access, vec![shut("cp1", false), shut("cp2", false)], options());
    let error = two.version().await.unwrap_err().to_string();
    assert!(error.contains("cp1: the cable is cut; cp2: the cable is cut"), "{error}");
}

#[tokio::test]
async fn what_cannot_get_better_is_not_tried_again() {
    let authority = Authority::new();
    let access = authority.access(URL).await;
    let (api, notices) = api(&access, vec![shut("cp1", true)], Options::default());
    let error = api.version().await.unwrap_err().to_string();
    assert_eq!(error, "ask for the version: no API server can be asked: cp1: the cable is cut");
    assert!(notices.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_refusal_of_a_server_that_only_starts_is_doubted_once() {
    let authority = Authority::new();
    let access = authority.access(URL).await;
    let no = || {
        Turn::Answer(403, json!({"kind": "Status", "reason": "Forbidden", "message": "not yet"}).to_string())
    };
    let ok = || Turn::Answer(200, "{}".to_owned());
    let starting = server(&authority, vec![no(), no(), Turn::Answer(500, String::new()), ok(), ok()]).await;
    let (patient, _) = api(&access, vec![starting.door("cp1")], Options::default());
    patient.version().await.unwrap();
    assert_eq!(
        starting.heard(),
        ["GET /version", "GET /readyz", "GET /readyz", "GET /readyz", "GET /version"]
    );

    let firm = server(&authority, vec![no(), ok(), no(), no()]).await;
    let (refused, _) = api(&access, vec![firm.door("cp1")], Options::default());
    assert!(refused.version().await.is_err());
    assert!(refused.version().await.is_err());
    // The second time the connection is an old one, so the refusal is believed at once.
    assert_eq!(firm.heard(), ["GET /version", "GET /readyz", "GET /version", "GET /version"]);
}

#[tokio::test]
async fn a_node_that_serves_only_the_name_of_its_url_is_believed_too() {
    let authority = Authority::new();
    let server = Server::start(authority.server(&["192.0.2.99"], |_| {}), vec![]).await;
    let (api, _) = api(&authority.access(URL).await, vec![server.door("cp1")], quick());
    api.version().await.unwrap();
}

#[tokio::test]
async fn an_operators_own_door_is_the_one_of_the_url() {
    let authority = Authority::new();
    let server = Server::start(authority.server(&["127.0.0.1"], |_| {}), vec![]).await;
    let access = authority.access(&format!("https://{}", server.place)).await;
    let (api, _) = api(&access, vec![Door::direct(access.server())], quick());
    api.version().await.unwrap();
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let authority = Authority::new();
    let long = format!("\"{}\"", "x".repeat(33 << 20));
    let server = server(&authority, vec![Turn::Answer(200, long)]).await;
    let (api, _) = api(&authority.access(URL).await, vec![server.door("cp1")], Options::default());
    let error = api.version().await.unwrap_err();
    assert!(matches!(*error.fault, KubeFault::TooLarge { .. }), "{error}");
}
