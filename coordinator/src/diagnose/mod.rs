//! The doctor: why something in the cluster does not work, from what its API tells and what its hosts measure.
//!
//! [`read`] makes a [`case::Case`] of the API's objects, [`ask`] says what each host is asked, and [`diagnose`] walks the
//! tree of hypotheses in its order: what lies at the bottom of most others comes first. Each hypothesis is a small
//! function of the case, and is confirmed, ruled out, or cannot be told. The first that is confirmed is the cause. All
//! of it is pure.

mod answers;
pub mod ask;
pub mod case;
pub mod cause;
pub mod hook;
pub mod read;
#[cfg(test)]
mod tests;
mod tree;
pub mod verdict;

pub use case::Case;
pub use cause::{Cause, NAMES};
pub use verdict::{Diagnosis, Found, Line, Tested, Verdict};

use self::tree::TREE;

/// Walks the tree. The same case gives the same diagnosis.
pub fn diagnose(case: &Case) -> Diagnosis {
    let mut found = Vec::new();
    let (mut ruled_out, mut cannot_tell) = (Vec::new(), Vec::new());
    for (what, test) in TREE {
        let line = |why| Line { what: (*what).to_owned(), why };
        match test(case) {
            Tested::Confirmed(one) => found.push(one),
            Tested::RuledOut(why) => ruled_out.push(line(why)),
            Tested::CannotTell(why) => cannot_tell.push(line(why)),
            Tested::Beside => {}
        }
    }
    let not_asked = not_asked(case);
    let verdict = match found.is_empty() {
        false => Verdict::Cause(found.remove(0)),
        true => without_cause(case),
    };
    Diagnosis { verdict, also: found, ruled_out, cannot_tell, not_asked }
}

/// Nothing was confirmed: all is well only where all that matters was asked and answered.
fn without_cause(case: &Case) -> Verdict {
    let seen = tree::symptoms(case);
    let deaf: Vec<&str> =
        case.hosts.iter().filter(|host| host.examined.is_err()).map(|host| host.name.as_str()).collect();
    if seen.is_empty() && deaf.is_empty() && case.cluster.is_ok() {
        return Verdict::Well;
    }
    let mut look = Vec::new();
    if case.cluster.is_err() {
        look.push("let the API be asked, and diagnose again: see what was not asked, below".to_owned());
    }
    if !deaf.is_empty() {
        look.push(format!(
            "let {} be asked: `rackwright check` says why they are not reached",
            crate::network::list(deaf)
        ));
    }
    if !seen.is_empty() {
        look.push("the log of kube-proxy and of the CNI's pods on the nodes named above: `kubectl -n kube-system logs POD`".to_owned());
        look.push(
            "what leaves and what arrives: `tcpdump -ni any port 53` on both nodes while a pod asks"
                .to_owned(),
        );
    }
    Verdict::CannotTell { seen, look }
}

fn not_asked(case: &Case) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(case.cluster.as_ref().err().map(|why| format!("the API: {why}")));
    for host in &case.hosts {
        match &host.examined {
            Err(why) => lines.push(format!("{}: {why}", host.name)),
            Ok(examined) => {
                let pod = &examined.from_pod.why_not;
                lines.extend((!pod.is_empty()).then(|| format!("from a pod on {}: {pod}", host.name)));
                lines.extend(examined.tracked.is_none().then(|| {
                    format!(
                        "{}: what its kernel remembers of connections (nf_conntrack_netlink is not loaded)",
                        host.name
                    )
                }));
                lines.extend(examined.troubles.iter().map(|trouble| format!("{}: {trouble}", host.name)));
            }
        }
    }
    lines.extend(case.not_asked.iter().cloned());
    lines
}
