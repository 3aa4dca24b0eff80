//! Tables, chains, rules and maps of nftables, asked of the kernel itself over netlink(7)
//! (`linux/netfilter/nf_tables.h`). The namespace is the calling thread's.

use std::io;

use nix::libc;
use rackwright_proto::traces::{Chain, Family};

use super::netfilter::{self, List, attribute, attributes, text, value};

const NFTA_TABLE_NAME: i32 = 1;
const NFTA_CHAIN_TABLE: i32 = 1;
const NFTA_CHAIN_NAME: i32 = 3;
const NFTA_CHAIN_HOOK: i32 = 4;
const NFTA_CHAIN_POLICY: i32 = 5;
const NFTA_HOOK_HOOKNUM: i32 = 1;
const NFTA_RULE_TABLE: i32 = 1;
const NFTA_RULE_CHAIN: i32 = 2;
const NFTA_SET_ELEM_LIST_TABLE: i32 = 1;
const NFTA_SET_ELEM_LIST_SET: i32 = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS: i32 = 3;
const NFTA_SET_ELEM_KEY: i32 = 1;
const NFTA_DATA_VALUE: i32 = 1;

fn of(family: Family, ask: i32, told: i32, narrow: &[Vec<u8>]) -> List<'_> {
    List { subsystem: libc::NFNL_SUBSYS_NFTABLES, ask, told, family, narrow }
}

/// The names of all tables of one family.
pub(super) fn tables(family: Family) -> io::Result<Vec<String>> {
    let what = of(family, libc::NFT_MSG_GETTABLE, libc::NFT_MSG_NEWTABLE, &[]);
    netfilter::list(&what, |entry| attribute(entry, NFTA_TABLE_NAME).map(str::to_owned))
}

/// All chains of one family that are `wanted` by name.
pub(super) fn chains(family: Family, wanted: impl Fn(&str) -> bool) -> io::Result<Vec<Chain>> {
    let what = of(family, libc::NFT_MSG_GETCHAIN, libc::NFT_MSG_NEWCHAIN, &[]);
    netfilter::list(&what, |entry| {
        let name = attribute(entry, NFTA_CHAIN_NAME).filter(|name| wanted(name))?;
        Some(Chain { family, table: attribute(entry, NFTA_CHAIN_TABLE)?.into(), name: name.into() })
    })
}

/// The chains of one family that see forwarded packets and drop those that no rule lets pass.
pub(super) fn closed_forward(family: Family) -> io::Result<Vec<Chain>> {
    let what = of(family, libc::NFT_MSG_GETCHAIN, libc::NFT_MSG_NEWCHAIN, &[]);
    netfilter::list(&what, |entry| {
        let hook = number(value(entry, &[NFTA_CHAIN_HOOK, NFTA_HOOK_HOOKNUM])?)?;
        let policy = number(value(entry, &[NFTA_CHAIN_POLICY])?)?;
        let closed = hook == libc::NF_INET_FORWARD as u32 && policy == libc::NF_DROP as u32;
        let (table, name) = (attribute(entry, NFTA_CHAIN_TABLE)?, attribute(entry, NFTA_CHAIN_NAME)?);
        closed.then(|| Chain { family, table: table.into(), name: name.into() })
    })
}

/// The keys of a set or map, as the kernel has them.
pub(super) fn keys(family: Family, table: &str, set: &str) -> io::Result<Vec<Vec<u8>>> {
    let narrow = [text(NFTA_SET_ELEM_LIST_TABLE, table), text(NFTA_SET_ELEM_LIST_SET, set)];
    let what = of(family, libc::NFT_MSG_GETSETELEM, libc::NFT_MSG_NEWSETELEM, &narrow);
    let parts = netfilter::list(&what, |entry| {
        let elements = value(entry, &[NFTA_SET_ELEM_LIST_ELEMENTS])?;
        let key = |(_, element)| value(element, &[NFTA_SET_ELEM_KEY, NFTA_DATA_VALUE]).map(<[u8]>::to_vec);
        Some(attributes(elements).filter_map(key).collect::<Vec<_>>())
    })?;
    Ok(parts.concat())
}

/// Whether a rule of a chain compares something with these bytes.
pub(super) fn compares(family: Family, table: &str, chain: &str, with: &[u8]) -> io::Result<bool> {
    let narrow = [text(NFTA_RULE_TABLE, table), text(NFTA_RULE_CHAIN, chain)];
    let what = of(family, libc::NFT_MSG_GETRULE, libc::NFT_MSG_NEWRULE, &narrow);
    let length = (with.len() + 4) as u16;
    // The attribute that a comparison holds its value in.
    let mut wanted = [length.to_ne_bytes(), (NFTA_DATA_VALUE as u16).to_ne_bytes()].concat();
    wanted.extend(with);
    let found =
        netfilter::list(&what, |entry| entry.windows(wanted.len()).any(|w| w == wanted).then_some(()))?;
    Ok(!found.is_empty())
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}
