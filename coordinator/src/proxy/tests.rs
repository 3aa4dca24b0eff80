//! What is changed, refused and said of kube-proxy.

mod config;
mod gates;
mod home;
mod prove;
mod random;

use rackwright_proto::finding::{Finding, Severity};

/// Findings in words.
fn words(findings: &[Finding]) -> String {
    let line = |f: &Finding| {
        let fix = if f.severity == Severity::Pass { String::new() } else { format!("\n  fix: {}", f.fix) };
        format!("{:?} {} {:?} [{}]\n  saw: {}{fix}", f.severity, f.name, f.nodes, f.subject, f.observed)
    };
    findings.iter().map(line).collect::<Vec<_>>().join("\n")
}
