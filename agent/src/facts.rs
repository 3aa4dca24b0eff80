//! Everything about a host at one time. Reads only: a check must change nothing anywhere.

use std::collections::BTreeMap;

use rackwright_proto::facts::{Basics, Depth, Facts, FullFacts};
use rackwright_proto::link::Network;
use rackwright_proto::receipt::Ledger;
use rackwright_proto::step::Seen;

use crate::host::Host;
use crate::host::modules::Modules;

/// The little that is known at hello.
pub fn basics(host: &Host) -> Basics {
    host.basics()
}

/// Observes the host. What steps would find (`seen`) and what earlier runs did (`ledger`) come from the caller,
/// who also adds the last drift result. What could not be observed is told in [`Facts::troubles`].
pub async fn observe(
    host: &Host,
    basics: Basics,
    seen: BTreeMap<String, Seen>,
    ledger: Ledger,
    depth: Depth,
) -> Facts {
    let mut troubles = Vec::new();
    let (swap, trouble) = host.swap();
    troubles.extend(trouble);
    let (sysctl_files, trouble) = host.sysctl_files();
    troubles.extend(trouble);
    let network = host.network().await.unwrap_or_else(|fault| {
        troubles.push(fault.to_string());
        Network::default()
    });
    let full = match depth {
        Depth::Quick => None,
        Depth::Full => Some(full(host, &network, &mut troubles).await),
    };
    let machine = host.machine();
    // Last, so that the time is as near as can be to when the coordinator hears of it.
    let clock = host.clock();
    Facts { basics, machine, network, swap, sysctl_files, clock, seen, ledger, drift: None, full, troubles }
}

/// What only findings need.
async fn full(host: &Host, network: &Network, troubles: &mut Vec<String>) -> FullFacts {
    let mut facts = FullFacts::default();
    match host.disk().await {
        Ok(disk) => facts.disk = disk,
        Err(e) => troubles.push(format!("measure the file system of /var/lib: {e}")),
    }
    let (listening, trouble) = host.listening();
    facts.listening = listening;
    troubles.extend(trouble);
    let firewall = match Modules::read(host) {
        Ok(modules) => host.firewall(&modules).await,
        Err(fault) => {
            troubles.push(fault.to_string());
            Default::default()
        }
    };
    facts.leftovers = host.leftovers(network, &firewall);
    facts.firewall = firewall.words;
    troubles.extend(firewall.troubles);
    facts.tools = host.tools().await;
    facts
}
