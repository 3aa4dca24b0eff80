//! What is taken from a kubeconfig, and what is refused, without a word of its secrets.

use serde_json::{Value, json};

use super::server::Authority;
use crate::kube::{Access, KubeconfigError};
use crate::ssh::Secret;

fn edited(edit: impl FnOnce(&mut Value)) -> String {
    let mut text = serde_json::from_str(&Authority::new().kubeconfig("https://127.0.0.1:6443")).unwrap();
    edit(&mut text);
    text.to_string()
}

async fn of_node(text: String) -> Result<Access, KubeconfigError> {
    Access::from_node("cp1", &Secret::new(text)).await
}

#[tokio::test]
async fn what_a_node_says_never_reaches_into_the_operators_machine() {
    let set = |path: &'static str, value: Value| {
        edited(move |text| {
            let (parent, key) = path.rsplit_once('/').unwrap();
            text.pointer_mut(parent).unwrap()[key] = value;
        })
    };
    let cases = [
        (set("/users/0/user/exec", json!({"command": "sh", "apiVersion": "v1"})), "an exec plugin"),
        (set("/users/0/user/tokenFile", json!("/etc/shadow")), "a tokenFile"),
        (set("/users/0/user/client-key", json!("/root/.ssh/id_rsa")), "a path to its key"),
        (set("/clusters/0/cluster/insecure-skip-tls-verify", json!(true)), "insecure-skip-tls-verify"),
        (set("/clusters/0/cluster/proxy-url", json!("http://proxy:3128")), "proxy-url"),
        (set("/clusters/0/cluster/server", json!("http://127.0.0.1:6443")), "not https://"),
        (set("/clusters/0/cluster/certificate-authority-data", json!("?")), "a certificate authority"),
        (edited(|text| text["current-context"] = json!("other")), "there is no context other"),
        ("token: sesame-open: :".to_owned(), "is not a kubeconfig"),
        ("x".repeat(2 << 20), "is longer than"),
    ];
    for (text, words) in cases {
        let error = of_node(text).await.unwrap_err();
        let said = format!("{error} {error:?}");
        assert!(said.starts_with("the kubeconfig of cp1: ") && said.contains(words), "{said}");
        assert!(!said.contains("sesame"), "{said}");
    }
}

#[tokio::test]
async fn an_access_shows_no_secret_and_knows_its_places() {
    let access =
        of_node(edited(|text| text["clusters"][0]["cluster"]["server"] = json!("https://[2001:db8::1]")))
            .await;
    let access = access.unwrap();
    assert!(!format!("{access:?}").contains("sesame"));
    let places: Vec<String> = access.local().iter().map(ToString::to_string).collect();
    assert_eq!(places, ["127.0.0.1:443", "[2001:db8::1]:443"]);
}

#[tokio::test]
async fn a_file_of_the_operators_may_name_files_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config");
    let text = edited(|text| {
        text["users"][0]["user"] = json!({"tokenFile": "token"});
    });
    std::fs::File::create(&path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()))
        .unwrap();
    Access::from_file(&path, Some("it")).await.unwrap();
    let error = Access::from_file(&path, Some("no")).await.unwrap_err().to_string();
    assert!(error.contains("there is no context no"), "{error}");
    let error = Access::from_file(&folder.path().join("none"), None).await.unwrap_err().to_string();
    assert!(error.contains("cannot be read: No such file"), "{error}");
}
