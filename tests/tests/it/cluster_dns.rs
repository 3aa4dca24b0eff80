//! The cluster's DNS on a real cluster: loops and upstreams that are not there are found, refused and mended.

use std::time::Duration;

use rackwright_lab::{Cluster, ClusterDefect, Release, Spec, await_until, need_cluster};

use crate::cluster_rack::{state, steady, system, write};
use crate::operator::{ends, expect, rackwright, says};

const LIMIT: Duration = Duration::from_secs(120);

/// The errors and warnings about DNS that `check` tells.
fn findings(cluster: &Cluster) -> String {
    let output = ends(rackwright(cluster.lab(), &["check"]));
    // Where its two replicas run is chance.
    let about = |block: &&str| block.contains(": dns-") && !block.contains(": dns-one-node");
    let blocks: Vec<&str> = output.stdout.split("\n\n").filter(about).collect();
    let said = steady(&blocks.join("\n\n"));
    let places = ["cp1", "w1"].map(|node| format!(" on {node})"));
    places.iter().fold(said, |said, place| said.replace(place, " on NODE)"))
}

/// Waits until a name of the world is answered, or is not, on all hosts.
#[track_caller]
fn until_answered(cluster: &Cluster, wanted: bool) {
    for host in cluster.lab().hosts() {
        await_until(&format!("{} is answered: {wanted}", host.name()), LIMIT, || {
            let ask = "timeout 5 busybox nslookup -type=a operator.lab.test 10.96.0.10";
            let answer = host.sh(ask).map_err(|error| error.to_string())?;
            if answer.stdout.contains("192.0.2.1\n") == wanted { Ok(()) } else { Err(answer.stdout) }
        })
        .unwrap();
    }
}

#[test]
fn loops_and_missing_upstreams_are_found_and_mended() {
    need_cluster!();
    let cluster = Cluster::up(Spec::test(2).kube(Release::V1_37)).unwrap();
    let lab = cluster.lab();
    cluster.spoil("cp1", ClusterDefect::DnsNoUpstream).unwrap();
    system(&cluster, &["rollout", "status", "deployment/coredns", "--timeout=120s"]);
    until_answered(&cluster, false);
    write(&cluster, &["dns: {}"]);
    insta::assert_snapshot!("no_upstream", findings(&cluster));

    cluster.spoil("cp1", ClusterDefect::DnsLoop).unwrap();
    let looped = state(&cluster);
    // A CoreDNS that sees the loop in its first half minute ends; one that does not goes round in it. No answer comes
    // either way.
    until_answered(&cluster, false);
    // Whether its pods are down or between two ends at this moment is chance.
    let said = findings(&cluster);
    insta::assert_snapshot!(
        "looped",
        said.split("\n\n").find(|block| block.contains("dns-forward-loops")).unwrap()
    );

    // What the blog says is refused where the rack is read, and an operator who insists is warned.
    write(&cluster, &["dns: {forward: [10.96.0.10]}"]);
    let refused = expect(lab, &["plan"], 2);
    says(&refused, "forwarding to 10.96.0.10 makes a loop");
    write(&cluster, &["dns: {forward: [10.96.0.10], allowLoop: true}"]);
    let plan = expect(lab, &["plan"], 0);
    says(&plan, "the rack says that this is meant (dns.allowLoop)");
    assert_eq!(state(&cluster), looped);

    write(&cluster, &["dns: {forward: [192.0.2.53]}"]);
    expect(lab, &["apply", "--yes"], 0);
    until_answered(&cluster, true);
    assert_eq!(findings(&cluster), "");
    says(&expect(lab, &["apply", "--yes"], 0), "unchanged");
    write(&cluster, &["dns: {}"]);
    expect(lab, &["status"], 0);
}
