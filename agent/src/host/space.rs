//! The networks of pods on this host. One is entered by a thread of its own, which ends there: the agent itself stays
//! where it is. Nothing is made, and nothing is changed.

use std::fs::File;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use nix::ifaddrs::getifaddrs;
use nix::sched::{CloneFlags, setns};
use rackwright_proto::examine::{Echo, Echoed, Examined, PodSpace};
use rackwright_proto::reach::{Asked, Reached};
use tokio::sync::oneshot;

use super::Host;
use super::echo::echo;
use super::read::SMALL;

/// Where container runtimes keep them.
const FOLDER: &str = "/run/netns";
/// A socket that is bound to UDP port 53, and one that listens on every address of IPv6 too.
const TABLES: [&str; 2] = ["/proc/thread-self/net/udp", "/proc/thread-self/net/udp6"];

/// A pod's network and how to enter it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Space {
    path: PathBuf,
    /// What is known of it.
    pub pod: PodSpace,
}

impl Host {
    /// The pods' networks that can be entered, sorted by address, and why the others cannot.
    pub(crate) async fn spaces(&self) -> (Vec<Space>, Vec<String>) {
        let host = self.clone();
        let look = move || {
            let (mut found, mut troubles) = (Vec::new(), Vec::new());
            for name in host.names(FOLDER).into_iter().take(Examined::SPACES) {
                let path = host.path(format!("{FOLDER}/{name}"));
                match enter(&path) {
                    Ok(()) => found.push(Space { path, pod: look_around(&host) }),
                    Err(e) => troubles.push(format!("enter {FOLDER}/{name}: {e}")),
                }
            }
            found.retain(|space| !space.pod.addresses.is_empty());
            found.sort_by(|a, b| a.pod.cmp(&b.pod));
            (found, troubles)
        };
        in_thread(look).await.unwrap_or_else(|why| (Vec::new(), vec![why]))
    }
}

impl Space {
    /// Asks from within; the answers are in the order of the questions and of the echoes.
    ///
    /// # Errors
    /// It went away, or may not be entered.
    pub async fn ask(
        &self,
        questions: Vec<Asked>,
        echoes: Vec<Echo>,
        within: Duration,
    ) -> Result<(Vec<Reached>, Vec<Echoed>), String> {
        let path = self.path.clone();
        let work = move || {
            enter(&path).map_err(|e| format!("enter the pod's network: {e}"))?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|e| format!("ask from the pod's network: {e}"))?;
            let ask = async { tokio::join!(crate::reach::ask(&questions), echo(&echoes, within)) };
            Ok(runtime.block_on(ask))
        };
        in_thread(work).await?
    }
}

/// Moves the calling thread.
fn enter(path: &PathBuf) -> std::io::Result<()> {
    Ok(setns(File::open(path)?, CloneFlags::CLONE_NEWNET)?)
}

fn look_around(host: &Host) -> PodSpace {
    let own = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
    };
    let addresses = getifaddrs().into_iter().flatten().filter_map(|entry| {
        let address = entry.address?;
        let four = address.as_sockaddr_in().map(|a| a.ip().into());
        four.or_else(|| address.as_sockaddr_in6().map(|a| a.ip().into()))
    });
    let addresses = addresses.filter(own).collect();
    let table = |path: &str| host.read_text(path, SMALL).ok().flatten().unwrap_or_default();
    PodSpace { addresses, names: TABLES.iter().any(|path| has_port_53(&table(path))) }
}

/// `sl local_address rem_address ...`, of which the second column ends in the port, in hexadecimal.
fn has_port_53(table: &str) -> bool {
    table
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().nth(1))
        .any(|local| local.ends_with(":0035"))
}

/// Runs it on a thread that nothing else ever runs on.
async fn in_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    let (send, receive) = oneshot::channel();
    let run = move || _ = send.send(work());
    let thread = std::thread::Builder::new().name("pod".into()).spawn(run);
    thread.map_err(|e| format!("start a thread: {e}"))?;
    receive.await.map_err(|_| "the thread in a pod's network broke off".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_server_is_known_by_its_port() {
        let head = "   sl  local_address rem_address   st tx_queue\n";
        assert!(has_port_53(&format!("{head}  7: 00000000000000000000000000000000:0035 00000:0000 07 0\n")));
        assert!(!has_port_53(&format!("{head}  7: 0100007F:0035A 00000000:0000 07 0\n")));
        assert!(!has_port_53(head));
    }

    #[tokio::test]
    async fn what_is_no_network_is_told_and_left() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(tree.path().join("run/netns")).unwrap();
        std::fs::write(tree.path().join("run/netns/cni-1"), "").unwrap();
        let (spaces, troubles) = Host::at(tree.path()).spaces().await;
        assert_eq!((spaces, troubles.len()), (vec![], 1), "{troubles:?}");
    }
}
