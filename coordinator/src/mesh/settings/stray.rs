//! A `profile` that stands where nobody reads it: beside an empty `spec`, by a slip of the indentation.
//!
//! The kind's definition takes any field, so the API server says nothing, and the in-cluster operator installs `default`
//! in its place. istioctl refuses the same file (1.17.5, 1.23.2, 1.29.1: `unknown field "profile"`).

use super::{Settings, language};
use crate::mesh::install::Install;
use crate::mesh::profile::{Expected, Kind, expected, profiles};
use crate::network::list;
use crate::rack::Diagnostic;
use crate::rack::language::top;
use crate::rack::model::kubernetes::{Istio, IstioMethod};

/// The diagnostics, with the one about a stray profile told in full.
pub(super) fn explain(istio: &Istio, text: &str, mut found: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let Some(diagnostic) = found.iter_mut().find(|d| d.path == "profile") else { return found };
    let top = top(text, &language::OPERATOR);
    let of = |key: &str| top.iter().find(|field| field.key == key);
    let Some(profile) = of("profile").and_then(|field| field.scalar.as_deref()) else { return found };
    let spec = of("spec");
    if spec.is_some_and(|spec| spec.below.iter().any(|key| key == "profile")) {
        diagnostic.message = "a second `profile`, beside `spec` instead of under it".to_owned();
        diagnostic.help = Some("remove it: nobody reads it there".to_owned());
        return found;
    }
    let beside = match spec {
        Some(spec) if spec.is_null => "beside an empty `spec`",
        Some(_) => "beside `spec`",
        None => "without a `spec`",
    };
    let fate = match istio.method {
        IstioMethod::Operator => fate(istio, profile),
        _ => "istioctl refuses that, and an in-cluster operator would install `default` in its place"
            .to_owned(),
    };
    diagnostic.message = format!("`profile: {profile}` stands {beside}, where nobody reads it: {fate}");
    diagnostic.help = Some(format!("indent it below `spec`:\n    spec:\n      profile: {profile}"));
    found
}

/// What the operator would make of it, and what of the profile would be missing.
fn fate(istio: &Istio, profile: &str) -> String {
    let install =
        |profile: &str| Install { profile: profile.to_owned(), ..Install::of(istio, Settings::None) };
    let instead = install("default");
    let said = "the API server takes it without a word, and the operator installs `default`";
    if !profiles(instead.release.minor).contains(&profile) {
        return said.to_owned();
    }
    let (has, wanted) = (expected(&instead), expected(&install(profile)));
    let workload = |kind: Kind| matches!(kind, Kind::Deployment | Kind::DaemonSet);
    let names = |from: &[Expected], without: &[Expected]| -> Vec<String> {
        let only = from.iter().filter(|o| workload(o.kind) && !without.contains(o));
        only.map(|o| o.name.clone()).collect()
    };
    let (missing, more) = (names(&wanted, &has), names(&has, &wanted));
    let mut said = said.to_owned();
    if !missing.is_empty() {
        said.push_str(&format!(": without {}", list(missing)));
    }
    if !more.is_empty() {
        said.push_str(&format!("{} with {}", if said.contains(": without") { "," } else { ":" }, list(more)));
    }
    said
}
