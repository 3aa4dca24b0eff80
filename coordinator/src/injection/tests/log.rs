//! Causes in logs as pilot-agent and Envoy write them.

use proptest::prelude::*;

use crate::injection::log::cause;

fn name(log: &str) -> Option<&'static str> {
    cause(log).map(|cause| cause.name)
}

#[test]
fn known_lines_are_known() {
    let dns = "2026-11-23T20:00:00.1Z\twarn\tsds\tfailed to warm certificate: failed to generate workload certificate: \
        create certificate: rpc error: code = Unavailable desc = connection error: desc = \"transport: Error while \
        dialing: dial tcp: lookup istiod.istio-system.svc on 10.96.0.10:53: read udp 10.244.1.7:41332->10.96.0.10:53: \
        i/o timeout\"";
    assert_eq!(name(dns), Some("dns-timeout"));
    let rejected = "2026-11-23T20:00:00Z\twarning\tenvoy config\tgRPC config for \
        type.googleapis.com/envoy.config.listener.v3.Listener rejected: Error adding/updating listener(s) 0.0.0.0_80: x";
    assert_eq!(name(rejected), Some("config-rejected"));
    let waits = "warn Envoy proxy is NOT ready: config not received from XDS server (is Istiod running?): cds updates: 0";
    assert_eq!(name(waits), Some("no-config"));
    assert_eq!(name(&format!("{waits}\n{dns}")), Some("dns-timeout"));
    let refused =
        "dial tcp: lookup istiod.istio-system.svc on 10.96.0.10:53: read udp a->b: read: connection refused";
    assert_eq!(name(refused), Some("dns-refused"));
    let expired = "tls: failed to verify certificate: x509: certificate has expired or is not yet valid";
    assert_eq!(name(expired), Some("certificate-expired"));
    assert_eq!(name("[2026-11-23] \"GET / HTTP/1.1\" 200 - via_upstream"), None);
}

#[test]
fn what_was_before_all_went_well_is_no_cause() {
    let log =
        "warn Envoy proxy is NOT ready: config not received from XDS server\ninfo Envoy proxy is ready\n";
    assert_eq!(name(log), None);
    assert_eq!(name(&format!("{log}gRPC config for X rejected: y")), Some("config-rejected"));
}

proptest! {
    #[test]
    fn any_log_is_read(log in "(.{0,80}\n){0,8}") {
        let _ = cause(&log);
    }
}
