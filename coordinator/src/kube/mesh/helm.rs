//! What a helm that was cut off leaves behind: a release that is pending for ever, which no other helm touches.

use k8s_openapi::api::core::v1::Secret;
use rackwright_proto::tool::ToolRun;

use super::super::act::Manner;
use super::super::{Api, KubeError, Resource, Selector};

/// What helm writes down of a release before it works on it. It takes back none of it where it is killed.
const PENDING: &str = "status in (pending-install,pending-upgrade,pending-rollback)";

/// Removes the record of a revision that never came to its end, before helm upgrades that release: helm then goes on from
/// the last whole one, and takes over objects that are there already. Nobody works on it now: the lock on the cluster is
/// ours, and so is the release. True if there was one.
///
/// # Errors
/// The cluster cannot be reached, or refuses.
pub(super) async fn unlock(api: &Api, run: &ToolRun, manner: &Manner<'_>) -> Result<bool, KubeError> {
    let Some((release, namespace)) = upgraded(run) else { return Ok(false) };
    let labels = format!("owner=helm,name={release},{PENDING}");
    let pending = Selector::namespace(namespace).labels(labels).bare();
    let resource = Resource::of::<Secret>();
    let left = api.list_objects(&resource, &pending).await?.items;
    for record in &left {
        let of = |key: &str| record["metadata"][key].as_str().unwrap_or_default();
        (manner.tell)(&format!("a helm that was cut off left {} pending: it is removed", of("name")));
        api.delete(&resource, Some(namespace), of("name"), of("uid"), false).await?;
    }
    Ok(!left.is_empty())
}

/// The release that a run upgrades, and its namespace.
fn upgraded(run: &ToolRun) -> Option<(&str, &str)> {
    let [first, second, release, ..] = run.args.as_slice() else { return None };
    if run.program != "helm" || first != "upgrade" || second != "--install" {
        return None;
    }
    let at = run.args.iter().position(|arg| arg == "--namespace")?;
    Some((release, run.args.get(at + 1)?))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn run(program: &str, args: &[&str]) -> ToolRun {
        ToolRun {
            tool: "istio".into(),
            version: "1.29.1".into(),
            program: program.into(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            files: BTreeMap::new(),
            seconds: 1,
        }
    }

    #[test]
    fn only_upgrades_of_helm_have_a_release_to_unlock() {
        let upgrade = ["upgrade", "--install", "istiod", "charts/istiod", "--namespace", "istio-system"];
        assert_eq!(upgraded(&run("helm", &upgrade)), Some(("istiod", "istio-system")));
        assert_eq!(upgraded(&run("bin/istioctl", &["install", "--skip-confirmation"])), None);
        assert_eq!(upgraded(&run("helm", &["uninstall", "istiod", "--namespace", "istio-system"])), None);
    }
}
