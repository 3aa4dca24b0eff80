//! Which node asks for which addresses of the pools.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use rackwright_proto::l2::{Probe, Span};

use super::interface::subnet_around;
use super::{NodeInput, PoolInput, Scene, arp, choose_interface, range};

/// The most addresses of one pool that are asked for. They are the first ones: MetalLB hands them out in order.
pub const MOST_PER_POOL: u128 = 4096;
/// How many nodes ask for each address: none hears what it answers itself.
const ASKERS: usize = 2;
/// Addresses are shared out in pieces of this size; one takes little longer than one address.
const PIECE: u128 = 256;

/// What each node is to ask, so that every address of every pool is asked for by two nodes of its segment where
/// there are two, and no node asks for more than [`Probe::MOST`] addresses in all.
pub fn pool_probes(scene: &Scene) -> BTreeMap<String, Vec<Probe>> {
    let mut work = Work::default();
    for pool in &scene.pools {
        let mut left = MOST_PER_POOL;
        for span in &pool.ranges {
            let askers = askers(scene, pool, span);
            for piece in range::pieces(span, PIECE, left) {
                work.share_out(&askers, &piece);
                left -= range::count(&piece);
            }
        }
    }
    work.into_probes(scene)
}

/// Who could ask for a range: by subnet, the node and its link. Nodes that announce the pool come first.
type Askers<'a> = BTreeMap<IpNet, Vec<(&'a str, &'a str)>>;

fn askers<'a>(scene: &'a Scene, pool: &PoolInput, span: &Span) -> Askers<'a> {
    let mut askers = Askers::new();
    for node in scene.nodes_of(pool) {
        if let Some((link, subnet)) = carrier(scene, pool, node, span) {
            askers.entry(subnet).or_default().push((&node.name, link));
        }
    }
    let eligible: BTreeSet<_> = pool.nodes.iter().collect();
    for node in scene.nodes.iter().filter(|node| !eligible.contains(&node.name)) {
        for link in node.network.links.iter().filter(|link| arp::on_segment(link)) {
            if let Some(subnet) = subnet_around(node.network, link, span) {
                let known = askers.entry(subnet).or_default();
                if known.len() < ASKERS {
                    known.push((&node.name, &link.name));
                }
            }
        }
    }
    askers
}

fn carrier<'a>(
    scene: &Scene,
    pool: &PoolInput,
    node: &NodeInput<'a>,
    span: &Span,
) -> Option<(&'a str, IpNet)> {
    let choice = choose_interface(pool, node, &scene.speaker).ok()?;
    let carrier = choice.carriers.into_iter().find(|carrier| carrier.range == *span)?;
    let link = node.network.links.iter().find(|link| link.name == carrier.link)?;
    Some((&link.name, carrier.subnet))
}

/// What has been shared out so far.
#[derive(Default)]
struct Work {
    load: BTreeMap<String, u128>,
    spans: BTreeMap<(String, String), Vec<Span>>,
}

impl Work {
    /// Gives a piece to the least busy nodes of each subnet, as far as they may take more.
    fn share_out(&mut self, askers: &Askers, piece: &Span) {
        let size = range::count(piece);
        for nodes in askers.values() {
            let mut free: Vec<_> =
                nodes.iter().filter(|(node, _)| self.load_of(node) + size <= Probe::MOST as u128).collect();
            free.sort_by_key(|(node, _)| self.load_of(node));
            for (node, link) in free.into_iter().take(ASKERS) {
                *self.load.entry((*node).to_owned()).or_default() += size;
                let key = ((*node).to_owned(), (*link).to_owned());
                self.spans.entry(key).or_default().push(piece.clone());
            }
        }
    }

    fn load_of(&self, node: &str) -> u128 {
        self.load.get(node).copied().unwrap_or_default()
    }

    fn into_probes(self, scene: &Scene) -> BTreeMap<String, Vec<Probe>> {
        let mut probes = BTreeMap::<_, Vec<_>>::new();
        for ((node, link), spans) in self.spans {
            // A link whose name is no name cannot be asked on; the verdict says that nobody asked.
            let Ok(link) = link.parse() else { continue };
            let probe = Probe { link, spans, patience: scene.patience, as_ourselves: false };
            probes.entry(node).or_default().push(probe);
        }
        probes
    }
}
