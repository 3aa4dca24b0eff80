//! `rackwright init`: a commented rack from flags or from a list of hosts.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;

use rackwright_proto::name::{NameError, NodeName};
use rackwright_proto::range::{AddressRange, RangeError};
use serde::Serialize;

use crate::cli::InitArgs;
use crate::console::Console;
use crate::exit::Exit;
use crate::rack;
use crate::rack::model::Role;
use crate::rack::model::kubernetes::ProxyMode;
use crate::rack::words::{HostAddress, UserName, WordError};
use crate::report;

/// What the operator said on the command line.
#[derive(Debug, Clone, Default)]
pub struct InitOptions {
    /// The hosts, in order.
    pub nodes: Vec<InitNode>,
    /// The user to log in as.
    pub user: Option<UserName>,
    /// Whether that user becomes root with sudo.
    pub become_sudo: bool,
    /// Address ranges for services of type LoadBalancer; they become one pool.
    pub pool: Vec<AddressRange>,
    /// kube-proxy's mode; left alone if not said.
    pub mode: Option<ProxyMode>,
}

/// One host of a new rack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitNode {
    /// Its name.
    pub name: NodeName,
    /// Where it answers.
    pub address: HostAddress,
    /// Its roles; empty if not said.
    pub roles: Vec<Role>,
}

/// Why a list of hosts is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InitError {
    /// A flag that is not `NAME=ADDRESS[:ROLES]`.
    #[error("`{0}` is not NAME=ADDRESS or NAME=ADDRESS:ROLE[,ROLE]")]
    Form(String),
    /// A role that is none.
    #[error("`{0}` is no role; roles are control-plane and worker")]
    Role(String),
    /// A bad name.
    #[error("naming a node")]
    Name(#[from] NameError),
    /// A bad address.
    #[error("reading an address")]
    Address(#[from] WordError),
    /// Something wrong in a line of a list.
    #[error("line {line} of the list of hosts")]
    Line {
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        source: Box<InitError>,
    },
    /// Two hosts of one name or address.
    #[error("`{0}` is given twice")]
    Twice(String),
    /// A cluster, and only workers.
    #[error("a pool or a proxy mode needs a control plane: give `--node NAME=ADDRESS:control-plane`")]
    NoControlPlane,
    /// The parts do not fit together, such as a pool that holds a node. Diagnostics, rendered.
    #[error("what was asked for makes no valid rack\n{0}")]
    Invalid(String),
    /// The list of hosts cannot be read.
    #[error("read the list of hosts {0}: {1}")]
    Unreadable(String, String),
    /// A range that is none.
    #[error("reading a pool's range")]
    Range(#[from] RangeError),
    /// No hosts at all.
    #[error("no hosts: give `--node NAME=ADDRESS`, or a list with one host a line")]
    None,
}

impl FromStr for InitNode {
    type Err = InitError;

    /// `cp1=192.0.2.11:control-plane`, `w1=192.0.2.12`, `w2=2001:db8::2:worker`, `w3=[2001:db8::3]`.
    fn from_str(text: &str) -> Result<Self, InitError> {
        let (name, rest) = text.split_once('=').ok_or_else(|| InitError::Form(text.to_owned()))?;
        let (address, roles) = address_and_roles(rest.trim());
        let roles = roles.map(|r| r.split([',', '+']).map(role).collect()).transpose()?.unwrap_or_default();
        Ok(Self { name: name.trim().parse()?, address: address.parse()?, roles })
    }
}

/// An IPv6 address has colons of its own, so the whole is tried as an address first.
fn address_and_roles(text: &str) -> (&str, Option<&str>) {
    if let Some((address, rest)) = text.strip_prefix('[').and_then(|t| t.split_once(']')) {
        return (address, rest.strip_prefix(':').filter(|roles| !roles.is_empty()));
    }
    if text.parse::<IpAddr>().is_ok() {
        return (text, None);
    }
    match text.rsplit_once(':') {
        Some((address, roles)) => (address, Some(roles)),
        None => (text, None),
    }
}

fn role(text: &str) -> Result<Role, InitError> {
    match text.trim() {
        "control-plane" | "cp" => Ok(Role::ControlPlane),
        "worker" => Ok(Role::Worker),
        other => Err(InitError::Role(other.to_owned())),
    }
}

/// Reads a list of hosts: one a line, as `NAME ADDRESS`, as an address alone, or as in `/etc/hosts`.
/// Comments, blank lines, and loopback and multicast lines of an `/etc/hosts` are skipped.
///
/// # Errors
/// The first line that is none of these.
pub fn hosts_list(text: &str) -> Result<Vec<InitNode>, InitError> {
    let mut nodes = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start_matches('\u{feff}').split('#').next().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        let node = host_line(&words).map_err(|e| InitError::Line { line: index + 1, source: Box::new(e) })?;
        nodes.extend(node);
    }
    Ok(nodes)
}

fn host_line(words: &[&str]) -> Result<Option<InitNode>, InitError> {
    let (name, address) = match words {
        [] => return Ok(None),
        [address] => (None, *address),
        [first, second, ..] if first.parse::<IpAddr>().is_ok() => (Some(*second), *first),
        [name, address, ..] => (Some(*name), *address),
    };
    if address.parse().is_ok_and(|ip: IpAddr| ip.is_loopback() || ip.is_multicast() || local_net(ip)) {
        return Ok(None);
    }
    let address: HostAddress = address.parse()?;
    let name = match name {
        Some(name) => name.to_ascii_lowercase().parse()?,
        None => name_of(&address)?,
    };
    Ok(Some(InitNode { name, address, roles: vec![] }))
}

/// The `ip6-localnet` line of Debian's `/etc/hosts`.
fn local_net(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.segments() == [0xfe00, 0, 0, 0, 0, 0, 0, 0])
}

/// A name for a host that has none: the first part of its DNS name, or its address with dashes.
fn name_of(address: &HostAddress) -> Result<NodeName, InitError> {
    let name = match address {
        HostAddress::Name(name) => name.split('.').next().unwrap_or_default().to_owned(),
        HostAddress::Ip(IpAddr::V4(ip)) => format!("node-{}", ip.to_string().replace('.', "-")),
        HostAddress::Ip(IpAddr::V6(ip)) => {
            format!("node-{}", ip.segments().map(|s| format!("{s:x}")).join("-"))
        }
    };
    Ok(name.parse()?)
}

/// The text of a new rack. It parses without errors.
///
/// # Errors
/// No hosts, two of one name or address, a cluster without a control plane, or parts that do not fit together.
pub fn rack_text(options: &InitOptions) -> Result<String, InitError> {
    distinct(&options.nodes)?;
    let mut out = String::from(HEAD);
    ssh(&mut out, options);
    let planes = nodes(&mut out, &options.nodes);
    out.push_str(HOSTS);
    match options.mode.is_some() || !options.pool.is_empty() {
        true if planes == 0 => return Err(InitError::NoControlPlane),
        true => kubernetes(&mut out, options),
        false => out.push_str(NO_CLUSTER),
    }
    match rack::parse("rack.yaml", &out) {
        Ok(_) => Ok(out),
        Err(found) => Err(InitError::Invalid(rack::diagnostic::render("rack.yaml", &out, &found))),
    }
}

fn distinct(nodes: &[InitNode]) -> Result<(), InitError> {
    if nodes.is_empty() {
        return Err(InitError::None);
    }
    let mut names = std::collections::HashSet::new();
    let mut addresses = std::collections::HashSet::new();
    for node in nodes {
        if !names.insert(&node.name) {
            return Err(InitError::Twice(node.name.to_string()));
        }
        if !addresses.insert(&node.address) {
            return Err(InitError::Twice(node.address.to_string()));
        }
    }
    Ok(())
}

const HEAD: &str = "\
# A rack: hosts, how to reach them, and what is wanted of them.
# Every field: docs/rack.md. For an editor: rackwright schema > rack.schema.json
apiVersion: rackwright.dev/v1
kind: Rack

";

const HOSTS: &str = "
# What every host shall be like, beyond what `kubernetes` below asks for.
hosts:
  swap: off
  # modules: [overlay]
  # sysctls: {vm.max_map_count: 262144}

# Addresses that no pool may hold, such as a DHCP server's.
# network:
#   reserved: [{range: 192.0.2.100-192.0.2.199, why: DHCP}]
";

/// A scalar that YAML cannot take for anything but text.
fn quoted(text: &str) -> String {
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        && text.bytes().any(|b| b.is_ascii_alphabetic())
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "null" | "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n"
        )
        && text.parse::<f64>().is_err()
        && !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '.'));
    let address = text.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4());
    if plain || address { text.to_owned() } else { format!("\"{}\"", text.replace('\\', "\\\\")) }
}

fn ssh(out: &mut String, options: &InitOptions) {
    let user = options.user.as_ref();
    out.push_str("# What is left out follows ~/.ssh/config.\nssh:\n");
    // Writing to a String cannot fail, here and below.
    let _ = match user {
        Some(user) => writeln!(out, "  user: {}", quoted(user.as_str())),
        None => writeln!(out, "  # user: ops"),
    };
    let _ = match options.become_sudo {
        true => writeln!(out, "  become: sudo\n  # becomePassword: prompt"),
        false => writeln!(out, "  become: none"),
    };
    out.push_str("  # identity: ~/.ssh/id_ed25519\n\n");
}

/// Writes the nodes; says how many are control planes. If none was named, the first without a role is one.
fn nodes(out: &mut String, nodes: &[InitNode]) -> usize {
    out.push_str("nodes:\n");
    let named = nodes.iter().any(|node| node.roles.contains(&Role::ControlPlane));
    let chosen = if named { None } else { nodes.iter().position(|node| node.roles.is_empty()) };
    let mut planes = 0;
    for (index, node) in nodes.iter().enumerate() {
        let roles = if chosen == Some(index) { &[Role::ControlPlane][..] } else { &node.roles[..] };
        planes += usize::from(roles.contains(&Role::ControlPlane));
        let words: Vec<&str> = roles.iter().map(|r| role_word(*r)).collect();
        let roles = match words.is_empty() {
            true => String::new(),
            false => format!(", roles: [{}]", words.join(", ")),
        };
        let (name, address) = (quoted(node.name.as_str()), quoted(&node.address.to_string()));
        let _ = writeln!(out, "  - {{name: {name}, address: {address}{roles}}}");
    }
    planes
}

fn role_word(role: Role) -> &'static str {
    match role {
        Role::ControlPlane => "control-plane",
        Role::Worker => "worker",
    }
}

fn kubernetes(out: &mut String, options: &InitOptions) {
    out.push_str("\nkubernetes:\n");
    match options.mode {
        Some(ProxyMode::Ipvs) => out.push_str("  # Without strictARP every node would answer ARP for the pools.\n  proxy: {mode: ipvs, scheduler: rr, strictARP: true}\n"),
        Some(ProxyMode::Iptables) => out.push_str("  proxy: {mode: iptables}\n"),
        Some(ProxyMode::Nftables) => out.push_str("  proxy: {mode: nftables}\n"),
        None => out.push_str("  # proxy: {mode: iptables}\n"),
    }
    out.push_str("  # dns: {forward: [192.0.2.53]}\n");
    if options.pool.is_empty() {
        return;
    }
    let ranges: Vec<String> = options.pool.iter().map(|range| quoted(&range.to_string())).collect();
    let _ = write!(
        out,
        "  metallb:\n    version: 0.16.1\n    pools: [{{name: first, addresses: [{}]}}]\n    advertisements: [{{pools: [first]}}]\n",
        ranges.join(", ")
    );
    out.push_str("  # istio: {version: 1.30.3, method: istioctl, profile: default}\n");
}

const NO_CLUSTER: &str = "
# The cluster on these hosts. One node at least needs `roles: [control-plane]`.
# kubernetes:
#   proxy: {mode: iptables}
#   metallb:
#     version: 0.16.1
#     pools: [{name: first, addresses: [192.0.2.200-192.0.2.219]}]
#     advertisements: [{pools: [first]}]
";
/// Runs the command.
pub fn run(console: Console, args: &InitArgs) -> Exit {
    let text = match options(args).and_then(|options| rack_text(&options)) {
        Ok(text) => text,
        Err(error) => {
            console.error(&error);
            return Exit::Invalid;
        }
    };
    if let Some(path) = &args.output
        && let Err(exit) = save(console, path, &text)
    {
        return exit;
    }
    console.data(|out| match (args.json, &args.output) {
        (true, written) => report::json(out, "init", Told { rack: &text, written: written.as_deref() }),
        (false, Some(_)) => Ok(()),
        (false, None) => out.write_all(text.as_bytes()),
    });
    Exit::Done
}

/// `{"format", "kind": "init", "rack": TEXT, "written": FILE or null}`
#[derive(Serialize)]
struct Told<'a> {
    rack: &'a str,
    written: Option<&'a Path>,
}

fn save(console: Console, path: &Path, text: &str) -> Result<(), Exit> {
    if path.exists() {
        console.say(format_args!("error: {} is there already; it was left alone", path.display()));
        return Err(Exit::Invalid);
    }
    crate::atomic::write(path, text.as_bytes(), 0o644).map_err(|error| {
        console.say(format_args!("error: write {}: {error}", path.display()));
        Exit::Failed
    })?;
    console.say(format_args!("wrote {}; next: `rackwright check {0}`", path.display()));
    Ok(())
}

fn options(args: &InitArgs) -> Result<InitOptions, InitError> {
    let mut nodes = args.nodes.iter().map(|n| n.parse()).collect::<Result<Vec<InitNode>, _>>()?;
    if let Some(path) = &args.hosts {
        let text =
            read_list(path).map_err(|e| InitError::Unreadable(path.display().to_string(), e.to_string()))?;
        nodes.extend(hosts_list(&text)?);
    }
    let pool = args.pools.iter().map(|p| p.parse()).collect::<Result<_, RangeError>>()?;
    Ok(InitOptions { nodes, user: Some(args.user.parse()?), become_sudo: args.sudo, pool, mode: args.mode })
}

/// The list's text; `-` is standard input. At most 1 MiB.
fn read_list(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let source: Box<dyn std::io::Read> = if path.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(path)?)
    };
    source.take(1 << 20).read_to_string(&mut text)?;
    Ok(text)
}
