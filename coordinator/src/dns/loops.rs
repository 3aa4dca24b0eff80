//! Upstreams that lead back to CoreDNS.
//!
//! The well-known one is `forward . 10.96.0.10`, the DNS Service itself. Where the Service works, `loop` notices within
//! seconds and every replica crash-loops; where it does not, nothing notices, and all other names time out until it
//! does. A server block that forwards to another one of the same Corefile by a port of its own is no loop.

use std::net::IpAddr;

use rackwright_proto::finding::Finding;
use rackwright_proto::name::NodeName;

use super::{Node, Policy, Scene, list};
use crate::corefile::{Corefile, Forward, Target, Transport};
use crate::findings::Check;

const FIX: &str = "name the resolvers of your network, outside of the cluster, in `kubernetes.dns.forward`; if it is meant, say `dns: {allowLoop: true}`";

/// Every upstream that loops, or one pass.
pub(super) fn findings(scene: &Scene<'_>, corefile: &Corefile) -> Vec<Finding> {
    let forwards = corefile.forwards();
    let judge = |forward| Judge { scene, corefile, forward };
    let mut found: Vec<Finding> = forwards.iter().flat_map(|forward| judge(forward).findings()).collect();
    if found.is_empty() && !forwards.is_empty() {
        found.push(check(&[], "forward").pass("none leads back to CoreDNS"));
    }
    found
}

/// The addresses of NodeLocal DNSCache, upstream's and kubespray's own.
pub(super) fn is_node_local(address: IpAddr) -> bool {
    ["169.254.20.10", "169.254.25.10"].iter().any(|known| known.parse() == Ok(address))
}

fn check(nodes: &[&NodeName], subject: &str) -> Check {
    let expected = "resolvers outside of the cluster";
    Check::new("dns-forward-loops", nodes, subject, "where CoreDNS's upstreams lead", expected)
}

struct Judge<'a> {
    scene: &'a Scene<'a>,
    corefile: &'a Corefile,
    forward: &'a Forward<'a>,
}

impl Judge<'_> {
    fn findings(&self) -> Vec<Finding> {
        let judge = |target: &Target| match target {
            Target::Server { transport, address, port, .. } => {
                let who = self.loops(*address, *transport, *port);
                who.map(|who| self.say(&[], &address.to_string(), who, true)).into_iter().collect()
            }
            Target::File(path) if path == "/etc/resolv.conf" => self.file(),
            Target::File(_) | Target::Host(_) | Target::Variable(_) => Vec::new(),
        };
        self.forward.to.iter().flat_map(judge).collect()
    }

    /// `/etc/resolv.conf` as CoreDNS's pods see it.
    fn file(&self) -> Vec<Finding> {
        let subject = "/etc/resolv.conf";
        match &self.scene.policy {
            Policy::ClusterFirst => {
                let who = format!(
                    "CoreDNS's pods have dnsPolicy ClusterFirst: their /etc/resolv.conf names the DNS Service itself ({})",
                    list(self.scene.service)
                );
                vec![self.say(&[], subject, who, true)]
            }
            Policy::Own(servers) => {
                let found = self.nameserver(servers);
                found.map(|who| self.say(&[], subject, who, true)).into_iter().collect()
            }
            Policy::Default => self.scene.nodes.iter().filter_map(|node| self.of_node(node)).collect(),
        }
    }

    /// A node without CoreDNS may get a replica at any time, but has none yet.
    fn of_node(&self, node: &Node) -> Option<Finding> {
        let conf = node.resolver.as_ref()?;
        let who = self.nameserver(&conf.nameservers)?;
        let here = self.scene.pods.iter().any(|pod| pod.node.as_ref() == Some(&node.name));
        let now = here || self.scene.pods.is_empty();
        Some(self.say(&[&node.name], &conf.path, who, now))
    }

    fn nameserver(&self, servers: &[String]) -> Option<String> {
        let address = |server: &String| server.split('%').next().unwrap_or_default().parse().ok();
        servers.iter().filter_map(address).find_map(|address| self.loops(address, Transport::Dns, 53))
    }

    /// Who is at an address, if asking there leads back to where the question came from.
    fn loops(&self, address: IpAddr, transport: Transport, port: u16) -> Option<String> {
        let who = self.own(address)?;
        let mut seen = vec![self.forward.server];
        self.returns(transport, port, &mut seen).then_some(who)
    }

    /// Who of the cluster's DNS is at an address, in words.
    fn own(&self, address: IpAddr) -> Option<String> {
        let pod = self.scene.pods.iter().find(|pod| pod.addresses.contains(&address));
        if self.scene.service.contains(&address) {
            return Some(format!("{address} is the cluster's own DNS Service, behind which is CoreDNS"));
        }
        if let Some(pod) = pod {
            return Some(format!("{address} is CoreDNS's own pod {}", pod.name));
        }
        if is_node_local(address) {
            return Some(format!("{address} is the node's DNS cache, which asks CoreDNS"));
        }
        let stub =
            if address.to_string() == "127.0.0.53" { " (systemd-resolved's, on the host)" } else { "" };
        let own = address.to_canonical().is_loopback() || address.is_unspecified();
        own.then(|| format!("{address}{stub} is, in CoreDNS's pod, CoreDNS itself"))
    }

    /// Whether a question that goes to CoreDNS by this way comes to a server block that it has been to.
    fn returns(&self, transport: Transport, port: u16, seen: &mut Vec<usize>) -> bool {
        let Some(next) = self.answering(transport, port) else { return false };
        if seen.contains(&next) {
            return true;
        }
        seen.push(next);
        let forwards = self.corefile.forwards();
        let onward = forwards.iter().filter(|f| f.server == next && within(&self.forward.from, &f.from));
        onward.flat_map(|f| &f.to).any(|to| match to {
            Target::Server { transport, address, port, .. } if self.own(*address).is_some() => {
                self.returns(*transport, *port, seen)
            }
            _ => false,
        })
    }

    /// The server block that a question comes to: the one with the longest zone that holds its name.
    fn answering(&self, transport: Transport, port: u16) -> Option<usize> {
        let zones = |at: usize| {
            let keys = self.corefile.servers[at].keys.iter();
            let keys = keys.filter(|key| key.transport == transport && key.port == Some(port));
            keys.flat_map(|key| &key.zones).filter(|zone| within(&self.zone(), zone)).map(String::len).max()
        };
        let fits = (0..self.corefile.servers.len()).filter_map(|at| zones(at).map(|length| (length, at)));
        fits.max_by_key(|(length, _)| *length).map(|(_, at)| at)
    }

    /// The zone that questions of this `forward` are of: its own, or its server block's if that is narrower.
    fn zone(&self) -> String {
        let of_server = self.forward.keys.iter().flat_map(|key| &key.zones).max_by_key(|zone| zone.len());
        match of_server {
            Some(zone) if within(zone, &self.forward.from) => zone.clone(),
            _ => self.forward.from.clone(),
        }
    }

    /// Whether all names go round; names of a zone alone may be rewritten on the way.
    fn is_root(&self) -> bool {
        self.forward.from == "."
            && self.forward.keys.iter().any(|key| key.zones.iter().any(|zone| zone == "."))
    }

    fn say(&self, nodes: &[&NodeName], subject: &str, who: String, now: bool) -> Finding {
        let check = check(nodes, subject);
        if self.scene.allow_loop {
            let observed = format!("{who}; the rack says that this is meant (dns.allowLoop)");
            return check.warning(observed, "if names outside of the cluster time out, this is why");
        }
        if !self.is_root() {
            let observed = format!("{who}; names of {} go round unless they are rewritten", self.zone());
            return check.warning(observed, "let the server block of that zone ask another resolver");
        }
        let observed = format!(
            "{who}: it would ask itself. With the plugin `loop` it stops at once, again and again; without, names outside of the cluster time out"
        );
        match (nodes, now) {
            ([], _) => check.error(observed, FIX),
            (_, true) => check.error(observed, self.fix_of_node()),
            (_, false) => check.warning(format!("{observed}. No replica runs there now"), self.fix_of_node()),
        }
    }

    fn fix_of_node(&self) -> String {
        format!(
            "on the node, set `resolvConf: /run/systemd/resolve/resolv.conf` (or a file with real servers) in kubelet's configuration and restart kubelet and CoreDNS; or {FIX}"
        )
    }
}

/// Whether a zone lies within another.
fn within(zone: &str, of: &str) -> bool {
    of == "." || zone == of || zone.strip_suffix(of).is_some_and(|rest| rest.ends_with('.'))
}
