//! Known causes in the log of Istio's proxy, told in one line.

/// A cause that a log tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cause {
    /// In one word, stable for ever.
    pub name: &'static str,
    /// What it means.
    pub words: &'static str,
}

/// All of these words stand in one line of the log.
struct Sign {
    all: &'static [&'static str],
    cause: Cause,
}

const fn sign(all: &'static [&'static str], name: &'static str, words: &'static str) -> Sign {
    Sign { all, cause: Cause { name, words } }
}

/// The first that holds is told: what comes first lies deeper. Sources: Go's resolver (`net` package), pilot-agent and
/// Envoy 1.26 to 1.37.
const SIGNS: &[Sign] = &[
    sign(
        &["lookup ", "read udp", "i/o timeout"],
        "dns-timeout",
        "the cluster's DNS does not answer: the question leaves the pod and nothing comes back",
    ),
    sign(
        &["lookup ", "connection refused"],
        "dns-refused",
        "nobody listens behind the DNS Service: CoreDNS has no ready pod",
    ),
    sign(
        &["lookup ", "server misbehaving"],
        "dns-fails",
        "the cluster's DNS answers with a failure (SERVFAIL or REFUSED)",
    ),
    sign(
        &["lookup ", "no such host"],
        "dns-no-such-name",
        "DNS works, but knows no such name: is istiod's Service there, in the namespace that the proxy looks in?",
    ),
    sign(
        &["x509: certificate has expired"],
        "certificate-expired",
        "a certificate has expired, or the clocks of two nodes differ",
    ),
    sign(
        &["x509: certificate signed by unknown authority"],
        "certificate-unknown",
        "istiod's certificate is of another authority than the one in this namespace's istio-ca-root-cert",
    ),
    sign(&["x509:"], "certificate", "a certificate does not hold"),
    sign(
        &["failed to warm certificate"],
        "certificate-none",
        "the proxy gets no certificate of its own from istiod (port 15012)",
    ),
    sign(
        &["gRPC config for", "rejected"],
        "config-rejected",
        "the proxy rejects a configuration that istiod sent",
    ),
    sign(
        &["Error adding/updating listener"],
        "config-rejected",
        "the proxy rejects a configuration that istiod sent",
    ),
    sign(
        &["istiod", "connection refused"],
        "istiod-refuses",
        "nobody listens behind istiod's Service: istiod has no ready pod",
    ),
    sign(&["istiod", "i/o timeout"], "istiod-silent", "istiod's address does not answer"),
    sign(
        &["config not received from XDS server"],
        "no-config",
        "the proxy has no configuration yet: is istiod running, and does this node reach it?",
    ),
];

/// The cause that a log tells of, if it is one that is known. What it says after its last word that all is well counts.
pub fn cause(log: &str) -> Option<Cause> {
    let lines: Vec<&str> = log.lines().collect();
    let well = lines.iter().rposition(|line| line.contains("Envoy proxy is ready"));
    let since = &lines[well.map_or(0, |at| at + 1)..];
    let holds = |sign: &&Sign| since.iter().any(|line| sign.all.iter().all(|word| line.contains(word)));
    SIGNS.iter().find(holds).map(|sign| sign.cause)
}
