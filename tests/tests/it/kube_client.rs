//! The coordinator's client of the API, on a real cluster: through a control plane's SSH, from where the operator sits.

use std::fs::{self, File};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Node};
use nix::sched::{CloneFlags, setns};
use rackwright::kube::error::WebhookTrouble;
use rackwright::kube::lease::{self, Holder};
use rackwright::kube::trouble::TlsFault;
use rackwright::kube::{
    Access, Api, Apply, Door, Hold, KubeFault, LeaseError, Logs, Notice, Options, Resource, Selector, Set,
    Store, Stored, Watched,
};
use rackwright::ssh::{Dialer, Endpoint, Secret, Target};
use rackwright_lab::{Cluster, Lab, Release, Spec, need_lab, netns_path};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(120);
const ADMIN: &str = "cat /etc/kubernetes/admin.conf";

fn up() -> Cluster {
    Cluster::up(Spec::test(1).kube(Release::V1_37)).unwrap()
}

/// Does something asynchronous where the operator sits.
pub(crate) fn on_operator<T: Send>(lab: &Lab, work: impl AsyncFnOnce() -> T + Send) -> T {
    let network = File::open(netns_path(&lab.spec().name.operator())).unwrap();
    thread::scope(|scope| {
        let here = scope.spawn(move || {
            setns(network, CloneFlags::CLONE_NEWNET).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(work())
        });
        here.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn target(lab: &Lab, node: &str) -> Target {
    let host = lab.host(node);
    let mut endpoint = Endpoint::new(host.address().to_string(), 22, "ops");
    endpoint.identities = vec![lab.identity()];
    endpoint.identities_only = true;
    endpoint.known_hosts = vec![lab.known_hosts()];
    Target {
        node: node.to_owned(),
        endpoint,
        jump: Vec::new(),
        privilege: Default::default(),
        deadlines: Default::default(),
        rack: None,
    }
}

type Told = Arc<Mutex<Vec<String>>>;

/// The API through the control plane's SSH, with this kubeconfig's rights.
async fn through_ssh(lab: &Lab, kubeconfig: String) -> (Api, Told) {
    through(lab, kubeconfig, &["cp1"]).await
}

/// The same through several nodes, each of which knows the API server by the address in the kubeconfig.
async fn through(lab: &Lab, kubeconfig: String, nodes: &[&str]) -> (Api, Told) {
    let access = Access::from_node("cp1", &Secret::new(kubeconfig)).await.unwrap();
    let dialer = Arc::new(Dialer::new(Arc::new(|_| None)));
    let door = |node: &&str| Door::ssh(dialer.clone(), target(lab, node), None, access.local());
    let doors = nodes.iter().map(door).collect();
    let told = Told::default();
    let hears = told.clone();
    let said = Arc::new(move |notice: &Notice| hears.lock().unwrap().push(notice.to_string()));
    (Api::new(access.clone(), doors, Options { said: Some(said), ..Options::default() }), told)
}

fn admin(lab: &Lab) -> String {
    lab.host("cp1").read(ADMIN).unwrap()
}

fn config_map(name: &str, value: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default"}, "data": {"k": value},
    })
}

fn maps() -> Resource {
    Resource::of::<ConfigMap>()
}

#[test]
#[ignore = "long: builds Kubernetes"]
fn the_api_is_asked_through_a_control_planes_ssh() {
    need_lab!();
    let cluster = up();
    let lab = cluster.lab();
    let kubeconfig = admin(lab);
    on_operator(lab, async || {
        let (api, told) = through_ssh(lab, kubeconfig.clone()).await;
        verbs(&api).await;
        counted(&through_ssh(lab, kubeconfig.clone()).await.0).await;
        conflicts(&api, &cluster).await;
        strict(&api).await;
        pods(&api).await;
        webhooks(&api).await;
        receipts(&api).await;
        leases(&api).await;
        false_authority(lab, &kubeconfig).await;
        assert_eq!(*told.lock().unwrap(), Vec::<String>::new());
    });
    missing_right(&cluster);
}

async fn verbs(api: &Api) {
    let version = api.version().await.unwrap();
    assert_eq!((version.major, version.minor, version.git.as_str()), (1, 37, "v1.37.2"));
    let nodes = api.list::<Node>(&Selector::all()).await.unwrap();
    assert_eq!(nodes.items[0].metadata.name.as_deref(), Some("cp1"));
    let corefile = api.get::<ConfigMap>(Some("kube-system"), "coredns").await.unwrap().unwrap();
    assert!(corefile.data.unwrap()["Corefile"].contains("forward"));
    assert!(api.get::<ConfigMap>(Some("kube-system"), "none").await.unwrap().is_none());

    let tried = api.create(&config_map("a", "tried"), true).await.unwrap();
    assert_eq!(tried["data"]["k"], "tried");
    assert!(api.get_object(&maps(), Some("default"), "a").await.unwrap().is_none());
    api.create(&config_map("a", "one"), false).await.unwrap();
    let error = api.create(&config_map("a", "one"), false).await.unwrap_err();
    assert!(matches!(*error.fault, KubeFault::Exists), "{error}");
    let patched =
        api.patch_merge(&maps(), Some("default"), "a", &json!({"data": {"l": "m"}}), false).await.unwrap();
    assert_eq!(patched["data"], json!({"k": "one", "l": "m"}));
    let uid = patched["metadata"]["uid"].as_str().unwrap();
    let error = api.delete(&maps(), Some("default"), "a", "another", false).await.unwrap_err();
    assert!(error.is_conflict(), "{error}");
    assert!(api.delete(&maps(), Some("default"), "a", uid, false).await.unwrap());
    assert!(!api.delete(&maps(), Some("default"), "a", uid, false).await.unwrap());

    // A kind that is in no table, and one that nobody serves.
    let classes = api.resource("scheduling.k8s.io/v1", "PriorityClass").await.unwrap();
    assert_eq!((classes.plural.as_str(), classes.namespaced), ("priorityclasses", false));
    assert!(!api.list_objects(&classes, &Selector::all()).await.unwrap().items.is_empty());
    let pools = Resource::known("metallb.io/v1beta1", "IPAddressPool").unwrap();
    let error = api.list_objects(&pools, &Selector::all()).await.unwrap_err();
    assert!(error.to_string().contains("serves no IPAddressPool in metallb.io/v1beta1"), "{error}");
    let error = api.list_objects(&maps(), &Selector::all().most(3)).await.unwrap_err();
    assert!(matches!(*error.fault, KubeFault::TooLarge { most: 3, .. }), "{error}");
}

async fn counted(api: &Api) {
    api.version().await.unwrap();
    for _ in 0..3 {
        api.get_object(&maps(), Some("kube-system"), "coredns").await.unwrap();
    }
    api.list::<Node>(&Selector::all()).await.unwrap();
    api.create(&config_map("b", "one"), true).await.unwrap();
    let counts = api.counts();
    let expected = [("create configmaps", 1), ("get /version", 1), ("get configmaps", 3), ("list nodes", 1)];
    assert_eq!(counts.requests, expected.map(|(what, count)| (what.to_owned(), count)).into());
    assert_eq!((counts.total(), counts.connections), (6, 1));
    assert!(counts.sent > 1_000 && counts.received > 5_000, "{counts:?}");
}

async fn conflicts(api: &Api, cluster: &Cluster) {
    let mut read = api.create(&config_map("c", "one"), false).await.unwrap();
    let edit = ["patch", "configmap", "c", "--patch={\"data\":{\"k\":\"theirs\"}}", "--field-manager=bob"];
    cluster.kube(&edit, None).unwrap();
    read["data"]["k"] = "ours".into();
    let error = api.replace_object(&read, false).await.unwrap_err();
    assert!(error.is_conflict());
    let words = error.to_string();
    assert!(
        words.starts_with(
            "replace ConfigMap default/c: somebody changed it since it was read: bob set .data.k at"
        ),
        "{words}"
    );
    let stale =
        json!({"metadata": {"resourceVersion": read["metadata"]["resourceVersion"]}, "data": {"k": "x"}});
    assert!(api.patch_merge(&maps(), Some("default"), "c", &stale, false).await.unwrap_err().is_conflict());

    let error = api.apply_object(&config_map("c", "ours"), &Apply::default()).await.unwrap_err();
    assert!(error.to_string().contains("fields belong to others: .data.k belongs to bob"), "{error}");
    let forced = Apply { force: true, ..Apply::default() };
    let tried = api.apply_object(&config_map("c", "ours"), &Apply { dry_run: true, ..forced }).await.unwrap();
    assert_eq!(tried["data"]["k"], "ours");
    let theirs = api.get::<ConfigMap>(Some("default"), "c").await.unwrap().unwrap();
    assert_eq!(theirs.data.unwrap()["k"], "theirs");
    assert_eq!(api.apply_object(&config_map("c", "ours"), &forced).await.unwrap()["data"]["k"], "ours");
}

/// What the cluster does not know, or does not take, is said field by field.
async fn strict(api: &Api) {
    let mut unknown = config_map("d", "one");
    unknown["dataa"] = json!({});
    for error in [
        api.create(&unknown, false).await.unwrap_err(),
        api.apply_object(&unknown, &Apply::default()).await.unwrap_err(),
    ] {
        match &*error.fault {
            KubeFault::UnknownField { fields } => assert_eq!(fields, &["dataa"]),
            _ => panic!("{error}"),
        }
    }
    let mut invalid = config_map("d", "one");
    invalid["data"] = json!({"not/a/key": "x"});
    let error = api.create(&invalid, false).await.unwrap_err();
    assert!(
        matches!(&*error.fault, KubeFault::Invalid { causes, .. } if causes[0].field == "data[not/a/key]"),
        "{error}"
    );
}

async fn pods(api: &Api) {
    let selector =
        Selector::namespace("kube-system").labels("k8s-app=kube-proxy").fields("spec.nodeName=cp1");
    let found = api.list::<k8s_openapi::api::core::v1::Pod>(&selector).await.unwrap().items;
    let (name, uid) = (found[0].metadata.name.clone().unwrap(), found[0].metadata.uid.clone().unwrap());
    let which = Logs { tail_lines: Some(3), ..Logs::default() };
    assert!(!api.pod_log("kube-system", &name, &which).await.unwrap().is_empty());
    assert!(api.evict("kube-system", &name, &uid, true).await.unwrap());
    assert!(!api.evict("kube-system", "none", &uid, false).await.unwrap());
}

/// A webhook that cannot be asked, and whose Service is missing.
async fn webhooks(api: &Api) {
    let hook = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "late"},
        "webhooks": [{
            "name": "late.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None", "timeoutSeconds": 5,
            "clientConfig": {"service": {"name": "none", "namespace": "default", "path": "/"}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["serviceaccounts"]}],
        }],
    });
    let made = api.create(&hook, false).await.unwrap();
    let mut object = config_map("w", "");
    object["kind"] = "ServiceAccount".into();
    object.as_object_mut().unwrap().remove("data");
    // The API server takes in new webhooks a little later.
    let error = loop {
        match api.create(&object, true).await {
            Err(error) => break error,
            Ok(_) => tokio::task::yield_now().await,
        }
    };
    match &*error.fault {
        KubeFault::Webhook { webhook, trouble, .. } => {
            assert_eq!((webhook.as_str(), *trouble), ("late.example.com", WebhookTrouble::NoService));
        }
        _ => panic!("{error}"),
    }
    let resource =
        api.resource("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration").await.unwrap();
    assert!(
        api.delete(&resource, None, "late", made["metadata"]["uid"].as_str().unwrap(), false).await.unwrap()
    );
}

async fn receipts(api: &Api) {
    let store = Store::new(api);
    assert_eq!(store.load().await.unwrap(), None);
    let entries = |text: &str| [("r1".to_owned(), text.to_owned())].into();
    let first: Stored = store.save(None, entries("one")).await.unwrap();
    assert_eq!(store.load().await.unwrap().unwrap(), first);
    let second = store.save(Some(&first), entries("two")).await.unwrap();
    assert_eq!(second.entries["r1"], "two");
    for stale in [None, Some(&first)] {
        let error = store.save(stale, entries("three")).await.unwrap_err();
        assert!(matches!(*error.fault, KubeFault::Conflict { .. } | KubeFault::Exists), "{error}");
    }
    store.save(Some(&second), entries(&"x".repeat((900 << 10) - "r1".len()))).await.unwrap();
    let error = store.save(Some(&second), entries(&"x".repeat(900 << 10))).await.unwrap_err();
    assert!(error.to_string().contains("is larger than 921600 bytes"), "{error}");
    store.delete(&store.load().await.unwrap().unwrap()).await.unwrap();
    assert_eq!(store.load().await.unwrap(), None);
}

async fn leases(api: &Api) {
    let holder =
        |operator: &str| Holder { operator: operator.into(), machine: "desk".into(), run: "r1".into() };
    let lock = Hold::take(api, &holder("ann"), &|_| {}).await.unwrap();
    lock.check().unwrap();
    let resource = Resource::known("coordination.k8s.io/v1", "Lease").unwrap();
    let selector = Selector::namespace(lease::NAMESPACE).named(lease::NAME);
    let renewed = api.watch_until(&resource, &selector, LIMIT, |set: &Set<Value>| {
        let spec = &set.values().next()?["spec"];
        (spec["renewTime"] != spec["acquireTime"]).then_some(())
    });
    assert!(matches!(renewed.await.unwrap(), Watched::Met(())));
    match Hold::take(api, &holder("bob"), &|_| {}).await.unwrap_err() {
        LeaseError::Held { holder, since, quiet } => {
            assert_eq!(holder, "ann@desk/r1");
            assert!(since.starts_with("20") && quiet <= 5, "{since} {quiet}");
        }
        other => panic!("{other}"),
    }
    lock.release().await.unwrap();
    let lock = Hold::take(api, &holder("bob"), &|_| {}).await.unwrap();
    // As if bob had been silent for long.
    let old = json!({"spec": {"renewTime": "2020-01-01T00:00:00.000000Z"}});
    api.patch_merge(&resource, Some(lease::NAMESPACE), lease::NAME, &old, false).await.unwrap();
    let taken = Hold::take(api, &holder("ann"), &|_| {}).await.unwrap();
    match lock.release().await.unwrap_err() {
        LeaseError::Lost { why } => assert_eq!(why, "ann@desk/r1 took it over"),
        other => panic!("{other}"),
    }
    taken.remove().await.unwrap();
    assert!(api.get_object(&resource, Some(lease::NAMESPACE), lease::NAME).await.unwrap().is_none());
}

/// A kubeconfig of another cluster: nothing is sent.
async fn false_authority(lab: &Lab, kubeconfig: &str) {
    let other = lab.host("cp1").read("base64 -w0 /etc/kubernetes/pki/front-proxy-ca.crt").unwrap();
    let line = kubeconfig.lines().find(|line| line.contains("certificate-authority-data")).unwrap();
    let kubeconfig = kubeconfig.replace(line, &format!("    certificate-authority-data: {other}"));
    let (api, _) = through_ssh(lab, kubeconfig).await;
    let error = api.version().await.unwrap_err();
    assert!(matches!(&*error.fault, KubeFault::Tls { tls: TlsFault::UnknownAuthority, .. }), "{error}");
    assert_eq!(api.counts().total(), 0);
}

/// A kubeconfig of the operator's own, with a token that may read ConfigMaps and no more.
fn missing_right(cluster: &Cluster) {
    let kube = |arguments: &[&str]| cluster.kube(arguments, None).unwrap().text().to_owned();
    kube(&["create", "serviceaccount", "ann"]);
    kube(&["create", "role", "reader", "--verb=get,list", "--resource=configmaps"]);
    kube(&["create", "rolebinding", "ann", "--role=reader", "--serviceaccount=default:ann"]);
    let token = kube(&["create", "token", "ann"]);
    let lab = cluster.lab();
    let admin = admin(lab);
    let kept = admin.lines().take_while(|line| *line != "users:");
    let user = format!("users:\n- name: kubernetes-admin\n  user:\n    token: {token}\n");
    let path = lab.dir().join("ann.conf");
    fs::write(&path, kept.collect::<Vec<_>>().join("\n") + "\n" + &user).unwrap();
    on_operator(lab, async || {
        let access = Access::from_file(&path, None).await.unwrap();
        let api = Api::new(access.clone(), vec![Door::direct(access.server())], Options::default());
        let mut map = api.get_object(&maps(), Some("default"), "c").await.unwrap().unwrap();
        map["data"]["k"] = "ann's".into();
        let error = api.replace_object(&map, false).await.unwrap_err();
        let words = format!("{error} {error:?}");
        assert!(
            words.starts_with(
                "replace ConfigMap default/c: system:serviceaccount:default:ann may not update configmaps in namespace \
                 default; a Role there bound to it needs the rule {apiGroups: [\"\"], resources: [\"configmaps\"], \
                 verbs: [\"update\"]}"
            ),
            "{words}"
        );
        assert!(!words.contains(&token));
        let error = api.list::<Node>(&Selector::all()).await.unwrap_err().to_string();
        assert!(error.contains("may not list nodes in the whole cluster; a ClusterRole"), "{error}");
    });
}

#[test]
#[ignore = "long: builds Kubernetes"]
fn an_api_server_that_dies_in_the_middle_of_things_is_waited_for() {
    need_lab!();
    let cluster = up();
    let lab = cluster.lab();
    let kubeconfig = admin(lab);
    on_operator(lab, async || {
        let (api, told) = through_ssh(lab, kubeconfig).await;
        api.create(&config_map("a", "one"), false).await.unwrap();
        let watching = tokio::sync::Notify::new();
        let selector = Selector::namespace("default").named("a");
        let resource = maps();
        let watch = api.watch_until(&resource, &selector, LIMIT, |set: &Set<ConfigMap>| {
            match set.values().next()?.data.as_ref()?["k"].as_str() {
                "one" | "two" => watching.notify_one(),
                _ => return Some(()),
            }
            None
        });
        let put = async |value: &str| {
            let patch = json!({"data": {"k": value}});
            api.patch_merge(&maps(), Some("default"), "a", &patch, false).await.unwrap();
        };
        let work = async {
            watching.notified().await;
            put("two").await;
            watching.notified().await;
            lab.host("cp1").read("kill -9 $(pgrep -x kube-apiserver)").unwrap();
            api.create(&config_map("b", "made while it was down"), false).await.unwrap();
            put("three").await;
        };
        let (watched, ()) = tokio::join!(watch, work);
        assert!(matches!(watched.unwrap(), Watched::Met(())));
        assert!(api.get_object(&maps(), Some("default"), "b").await.unwrap().is_some());
        let notices = told.lock().unwrap().clone();
        assert!(notices.iter().any(|notice| notice.contains("cp1 does not answer")), "{notices:?}");
        // The watch was resumed, or its version was too old for the new server; nothing was asked in a loop.
        let counts = api.counts();
        assert!(counts.of("list", "configmaps") <= 2, "{counts:?}");

        lab.host("cp1").read("kill $(pgrep -f '^[s]shd: ops')").unwrap();
        api.version().await.unwrap();
        assert!(api.counts().connections > counts.connections);

        let set = api.watch_until(&resource, &selector, Duration::from_secs(1), |_: &Set<Value>| None::<()>);
        match set.await.unwrap() {
            Watched::Late(set) => assert_eq!(set.len(), 1),
            Watched::Met(()) => panic!("nothing was to be met"),
        }
    });
}

/// The doors of two nodes to one API server; one with two control planes is not there yet in the lab.
#[test]
#[ignore = "long: builds Kubernetes"]
fn a_node_that_is_cut_off_is_passed_by() {
    need_lab!();
    let cluster = Cluster::up(Spec::test(2).kube(Release::V1_37)).unwrap();
    let lab = cluster.lab();
    let kubeconfig = admin(lab);
    on_operator(lab, async || {
        let (api, told) = through(lab, kubeconfig, &["w1", "cp1"]).await;
        api.create(&config_map("a", "one"), false).await.unwrap();
        assert_eq!(api.node(), "w1");
        let (watching, selector, resource) =
            (tokio::sync::Notify::new(), Selector::namespace("default").named("a"), maps());
        let watch = api.watch_until(&resource, &selector, LIMIT, |set: &Set<Value>| {
            watching.notify_one();
            (set.values().next()?["data"]["k"] == "two").then_some(())
        });
        let work = async {
            watching.notified().await;
            lab.unplug("w1").unwrap();
            let patch = json!({"data": {"k": "two"}});
            api.patch_merge(&maps(), Some("default"), "a", &patch, false).await.unwrap();
        };
        let (watched, ()) = tokio::join!(watch, work);
        assert!(matches!(watched.unwrap(), Watched::Met(())));
        assert_eq!(api.node(), "cp1");
        let told = told.lock().unwrap();
        assert!(
            told[0].starts_with("w1 does not answer") && told[0].ends_with("going on through cp1"),
            "{told:?}"
        );
    });
}
