//! Tunnels between hosts, as rtnetlink(7) tells them.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use rackwright_proto::examine::Tunnel;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::link::{
    InfoData, InfoVxlan, LinkAttribute, LinkExtentMask, LinkInfo, LinkMessage,
};

use super::Host;

const DEADLINE: Duration = Duration::from_secs(5);
/// Kinds of links that carry packets between hosts.
const KINDS: [&str; 6] = ["vxlan", "geneve", "ipip", "sit", "gre", "wireguard"];

impl Host {
    /// All tunnels, by name.
    ///
    /// # Errors
    /// In words, where the kernel does not answer.
    pub(crate) async fn tunnels(&self) -> Result<Vec<Tunnel>, String> {
        let why = |e: &dyn std::fmt::Display| format!("ask the kernel for its tunnels: {e}");
        let (connection, handle, _unsolicited) = rtnetlink::new_connection().map_err(|e| why(&e))?;
        let list = async {
            let skip = vec![LinkExtentMask::SkipStats];
            let links = handle.link().get().set_filter_mask(AddressFamily::Unspec, skip).execute();
            links.try_collect::<Vec<LinkMessage>>().await
        };
        let work = async {
            tokio::select! {
                biased;
                () = connection => Err(why(&"the connection was closed")),
                links = list => links.map_err(|e| why(&e)),
            }
        };
        let links =
            tokio::time::timeout(DEADLINE, work).await.unwrap_or_else(|_| Err(why(&"no answer in time")))?;
        let mut tunnels: Vec<Tunnel> = links.iter().filter_map(tunnel).collect();
        tunnels.sort_unstable();
        Ok(tunnels)
    }
}

fn tunnel(message: &LinkMessage) -> Option<Tunnel> {
    let mut tunnel = Tunnel { link: String::new(), kind: String::new(), port: None };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => tunnel.link.clone_from(name),
            LinkAttribute::LinkInfo(infos) => infos.iter().for_each(|info| fill(&mut tunnel, info)),
            _ => {}
        }
    }
    KINDS.contains(&tunnel.kind.as_str()).then_some(tunnel)
}

fn fill(tunnel: &mut Tunnel, info: &LinkInfo) {
    match info {
        LinkInfo::Kind(kind) => tunnel.kind = kind.to_string(),
        LinkInfo::Data(InfoData::Vxlan(infos)) => {
            tunnel.port = infos.iter().find_map(|info| match info {
                InfoVxlan::Port(port) => Some(*port),
                _ => None,
            });
        }
        _ => {}
    }
}
