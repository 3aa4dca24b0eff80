//! Our receipts of the cluster, kept in the cluster: one ConfigMap, written under optimistic lock, so that whichever
//! coordinator comes next finds them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};

use super::api::Api;
use super::error::{KubeError, KubeFault};
use super::resource::{Resource, text};

/// Where the ConfigMap is.
pub const NAMESPACE: &str = "kube-system";
/// Its name.
pub const NAME: &str = "rackwright-receipts";
/// The most that is stored: the API server takes 1 MiB of data, etcd 1.5 MiB with everything around it.
pub const MOST: usize = 900 << 10;

/// The receipts' place.
#[derive(Debug, Clone)]
pub struct Store {
    api: Api,
}

/// What is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The version that a [`Store::save`] must name.
    pub resource_version: String,
    /// Text by name.
    pub entries: BTreeMap<String, String>,
    uid: String,
}

impl Store {
    /// The receipts of this cluster.
    pub fn new(api: &Api) -> Self {
        Self { api: api.clone() }
    }

    /// What is stored; `None` if nothing ever was.
    ///
    /// # Errors
    /// The API's refusal.
    pub async fn load(&self) -> Result<Option<Stored>, KubeError> {
        let found = self.api.get_object(&Resource::of::<ConfigMap>(), Some(NAMESPACE), NAME).await?;
        Ok(found.as_ref().map(Stored::of))
    }

    /// Stores all entries in place of what `before` holds; what was saved is returned, for the next time.
    ///
    /// # Errors
    /// They are more than 900 KiB; somebody else stored meanwhile (a conflict); or the API's refusal.
    pub async fn save(
        &self,
        before: Option<&Stored>,
        entries: BTreeMap<String, String>,
    ) -> Result<Stored, KubeError> {
        let size: usize = entries.iter().map(|(key, text)| key.len() + text.len()).sum();
        if size > MOST {
            let what = format!("what is to be kept ({size} bytes)");
            let fault = KubeFault::TooLarge { what, most: MOST, unit: "bytes" };
            return Err(fault.at(format!("store receipts in ConfigMap {NAMESPACE}/{NAME}")));
        }
        let mut map = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": NAME, "namespace": NAMESPACE,
                "labels": {"app.kubernetes.io/managed-by": "rackwright"},
            },
            "data": entries,
        });
        let saved = match before {
            Some(before) => {
                map["metadata"]["resourceVersion"] = before.resource_version.as_str().into();
                map["metadata"]["uid"] = before.uid.as_str().into();
                self.api.replace_object(&map, false).await?
            }
            None => self.api.create(&map, false).await?,
        };
        Ok(Stored::of(&saved))
    }

    /// Removes the ConfigMap, if it is still the one that was read.
    ///
    /// # Errors
    /// The API's refusal.
    pub async fn delete(&self, stored: &Stored) -> Result<(), KubeError> {
        let resource = Resource::of::<ConfigMap>();
        self.api.delete(&resource, Some(NAMESPACE), NAME, &stored.uid, false).await.map(drop)
    }
}

impl Stored {
    fn of(map: &Value) -> Self {
        let data = map.get("data").and_then(Value::as_object).into_iter().flatten();
        let entries = data.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()));
        Self {
            resource_version: text(map, "/metadata/resourceVersion").to_owned(),
            entries: entries.collect(),
            uid: text(map, "/metadata/uid").to_owned(),
        }
    }
}
