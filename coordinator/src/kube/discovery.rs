//! Where kinds are served that are not in the table: asked once per kind.

use std::sync::PoisonError;

use http::Method;
use serde_json::Value;

use super::api::Api;
use super::ask::Ask;
use super::error::{KubeError, KubeFault};
use super::resource::{Resource, text};

impl Api {
    /// The kind of these words; the cluster is asked only for kinds that are not well known.
    ///
    /// # Errors
    /// The cluster does not serve it, or could not be asked.
    pub async fn resource(&self, api_version: &str, kind: &str) -> Result<Resource, KubeError> {
        if let Some(known) = Resource::known(api_version, kind) {
            return Ok(known);
        }
        let key = (api_version.to_owned(), kind.to_owned());
        let found = self.discovered.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(found) = found {
            return Ok(found);
        }
        let resource = self.discover(api_version, kind).await?;
        self.discovered.lock().unwrap_or_else(PoisonError::into_inner).insert(key, resource.clone());
        Ok(resource)
    }

    async fn discover(&self, api_version: &str, kind: &str) -> Result<Resource, KubeError> {
        let root = if api_version.contains('/') { "apis" } else { "api" };
        let doing = format!("find out where {kind} of {api_version} is served");
        let mut ask = Ask::path("get", Method::GET, format!("/{root}/{api_version}"), doing);
        ask.kind = Some((api_version.to_owned(), kind.to_owned()));
        let list = self.value(&ask).await?;
        let resources = list.get("resources").and_then(Value::as_array);
        // Subresources have a slash in their names, and may have the kind of their parent.
        let mut resources = resources.into_iter().flatten().filter(|one| !text(one, "/name").contains('/'));
        let found = resources.find(|one| text(one, "/kind") == kind).ok_or_else(|| {
            let (api_version, kind) = (api_version.to_owned(), kind.to_owned());
            KubeFault::NoSuchKind { api_version, kind }.at(&ask.doing)
        })?;
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Ok(Resource {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
            plural: text(found, "/name").to_owned(),
            namespaced: found.get("namespaced").and_then(Value::as_bool).unwrap_or(true),
        })
    }
}
