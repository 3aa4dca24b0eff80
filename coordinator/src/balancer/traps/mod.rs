//! What bites although every object is valid: judged from what is wanted and what is there.
//!
//! - `installed`: who installed MetalLB, which version, and who else does its work.
//! - `pools`: addresses. - `advertisements`: who announces them.

mod advertisements;
mod installed;
mod pools;
#[cfg(test)]
mod tests;

use rackwright_proto::cluster::{ClusterStep, ObjectStep};
use rackwright_proto::finding::Finding;
use serde_json::Value;

use super::objects::Context;
use super::release::Release;
use super::view::{self, View};
use crate::cluster::facts::ClusterFacts;
use crate::findings::Check;
use crate::rack::model::kubernetes::Metallb;

/// All that the traps are judged by.
struct Scope<'a> {
    metallb: &'a Metallb,
    steps: &'a [(ClusterStep, String)],
    context: &'a Context<'a>,
    facts: &'a ClusterFacts,
    /// What the cluster has.
    live: View,
    /// What it will have.
    after: View,
}

/// The traps of what [`super::wanted`] says on a cluster.
pub fn judge(
    metallb: &Metallb,
    steps: &[(ClusterStep, String)],
    context: &Context,
    facts: &ClusterFacts,
) -> Vec<Finding> {
    let live = View::live(&facts.balancer);
    let mut scope = Scope { metallb, steps, context, facts, after: live.clone(), live };
    scope.after = scope.future();
    let mut findings = installed::judge(&scope);
    findings.extend(pools::judge(&scope));
    findings.extend(advertisements::judge(&scope));
    findings
}

impl Scope<'_> {
    /// What is ours and no longer wanted goes; what is wanted comes.
    fn future(&self) -> View {
        let mut view = self.live.clone();
        view.pools.retain(|pool| !view::is_ours(&pool.object));
        view.advertisements.retain(|ad| !view::is_ours(&ad.object));
        view.after(self.steps.iter().map(|(step, _)| step))
    }

    /// The release that the rack wants.
    fn wanted_release(&self) -> Release {
        Release::of(&self.metallb.version)
    }

    fn objects(&self, kind: &str) -> impl Iterator<Item = &ObjectStep> {
        self.steps.iter().filter_map(move |(step, _)| match step {
            ClusterStep::Object(step) if step.kind == kind => Some(step.as_ref()),
            _ => None,
        })
    }

    /// Whether the rack wants an object of this name.
    fn wants(&self, kind: &str, name: &str) -> bool {
        self.objects(kind).any(|step| step.name == name)
    }

    /// The arguments of the speaker that is wanted.
    fn speaker_arguments(&self) -> Vec<&str> {
        let speaker = self.objects("DaemonSet").find(|step| step.name == "speaker");
        let object = speaker.and_then(|step| step.want.as_ref());
        object
            .map(|object| view::strings(object, "/spec/template/spec/containers/0/args"))
            .unwrap_or_default()
    }
}

/// A check about the cluster, not about nodes of the rack.
fn check(
    name: &str,
    subject: impl Into<String>,
    checked: impl Into<String>,
    expected: impl Into<String>,
) -> Check {
    Check::new(name, &[], subject, checked, expected)
}

/// The managers of an object but us, for people.
fn others(object: &Value) -> String {
    let managers = view::managers(object).into_iter();
    crate::network::list(managers.filter(|m| *m != rackwright_proto::cluster::object::FIELD_MANAGER))
}
