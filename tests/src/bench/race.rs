//! One number of hosts: a rack, and both tools in turns.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Cost, Heat, Order, Pair};
use crate::error::{Doing, LabError, Result};
use crate::host::Host;
use crate::rack::Lab;
use crate::run::{command, each, must};
use crate::spec::{Login, Spec};
use crate::talk::say;

/// Runs without a change for each first one.
const UNCHANGED_RUNS: usize = 3;
const AT_A_TIME: usize = 8;
const FLOOR: &str = include_str!("../../bench/floor.sh");
const WANTED: &str = include_str!("../../bench/bench.yaml");

/// All hosts at once; each script's words go to a file, and a host where it fails is named.
const FLOOR_ON_ALL: &str = r#"
script=$1 config=$2 said=$3; shift 3
for host do
    ssh -F "$config" -o BatchMode=yes -o KexAlgorithms=curve25519-sha256 "$host" sh -s \
        <"$script" >"$said/$host" || { echo "the script failed on $host" >&2; : >"$said/failed"; } &
done
wait
! [ -e "$said/failed" ]
"#;

/// The sysctls of both jobs, as paths.
const SYSCTLS: &[&str] = &[
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/arp_ignore",
    "net/ipv4/conf/all/arp_announce",
    "net/ipv4/conf/all/rp_filter",
    "net/ipv4/conf/default/rp_filter",
    "net/ipv6/conf/all/forwarding",
    "net/ipv4/tcp_keepalive_time",
    "net/core/somaxconn",
];

#[derive(Clone, Copy, PartialEq)]
enum Tool {
    Ours,
    Floor,
}

/// Makes a rack of `count` hosts, lets both tools work on it in turns, and takes it down.
pub fn race(order: &Order, count: usize) -> Result<Heat> {
    let lab = Lab::up(Spec::new(order.rack.clone(), count).light().login(Login::Root))?;
    let track = Track::lay(order, &lab)?;
    let (mut first, mut unchanged) = (Pair::default(), Pair::default());
    for run in 0..order.runs {
        say(format_args!("{count} hosts: run {} of {}", run + 1, order.runs));
        let turns = if run % 2 == 0 { [Tool::Ours, Tool::Floor] } else { [Tool::Floor, Tool::Ours] };
        for tool in turns {
            track.reset(tool)?;
            first.push(tool, track.run(tool, true)?);
        }
        for tool in turns.iter().cycle().take(2 * UNCHANGED_RUNS) {
            unchanged.push(*tool, track.run(*tool, false)?);
        }
    }
    lab.down()?;
    Ok(Heat { hosts: count, first, unchanged })
}

impl Pair {
    fn push(&mut self, tool: Tool, cost: Cost) {
        match tool {
            Tool::Ours => self.ours.push(cost),
            Tool::Floor => self.floor.push(cost),
        }
    }
}

/// A rack with all that both tools need.
struct Track<'a> {
    order: &'a Order,
    lab: &'a Lab,
    hosts: Vec<Host>,
    /// A script that puts back the sysctls as they were.
    sysctls: String,
}

impl<'a> Track<'a> {
    fn lay(order: &'a Order, lab: &'a Lab) -> Result<Self> {
        let dir = lab.dir();
        let said = dir.join("said");
        fs::create_dir_all(&said).doing(|| format!("create {}", said.display()))?;
        for (file, text) in [("bench.yaml", rack(lab)), ("floor.sh", FLOOR.to_owned())] {
            fs::write(dir.join(file), text).doing(|| format!("write {file}"))?;
        }
        let hosts = lab.hosts();
        let read =
            SYSCTLS.iter().map(|key| format!("echo \"echo $(cat /proc/sys/{key}) >/proc/sys/{key}\";"));
        let sysctls =
            hosts.first().map_or_else(|| Ok(String::new()), |host| host.read(&read.collect::<String>()))?;
        Ok(Self { order, lab, hosts, sysctls })
    }

    /// Makes the hosts as if the tool had never been there.
    fn reset(&self, tool: Tool) -> Result<()> {
        let files = match tool {
            Tool::Ours => {
                "rm -rf /usr/local/lib/rackwright /var/lib/rackwright /run/rackwright /etc/*/*rackwright* \
                 /etc/rackwright.marker"
            }
            Tool::Floor => {
                "rm -f /etc/modules-load.d/floor.conf /etc/sysctl.d/90-floor.conf /etc/floor.marker"
            }
        };
        let script = format!("set -e\n{files}\n{}", self.sysctls);
        each(&self.hosts, AT_A_TIME, |host| host.read(&script).map(drop))
            .into_iter()
            .collect::<Result<()>>()?;
        // Else the first sync of the next run would write what this one removed.
        must(command("sync"), "write to the disk", Duration::from_secs(120)).map(drop)
    }

    fn run(&self, tool: Tool, first: bool) -> Result<Cost> {
        match tool {
            Tool::Ours => self.ours(first),
            Tool::Floor => self.floor(first),
        }
    }

    fn ours(&self, first: bool) -> Result<Cost> {
        let mut command = self.lab.op_command(&self.order.program)?;
        command.args(["apply", "--yes", "--json", "bench.yaml"]);
        let said = self.lab.dir().join("said/ours");
        let cost = self.measure(command, "ours")?;
        let text = fs::read_to_string(&said).doing(|| format!("read {}", said.display()))?;
        let wanted = if first { "\"result\": \"changed\"" } else { "\"result\": \"unchanged\"" };
        self.insist("rackwright", text.matches(wanted).count(), &text)?;
        Ok(cost)
    }

    fn floor(&self, first: bool) -> Result<Cost> {
        let mut command = self.lab.op_command("sh")?;
        command.args(["-c", FLOOR_ON_ALL, "sh", "floor.sh", "ssh_config", "said"]);
        command.args(self.hosts.iter().map(Host::name));
        let cost = self.measure(command, "floor")?;
        let said = |host: &Host| fs::read_to_string(self.lab.dir().join("said").join(host.name()));
        let texts: Vec<String> = self.hosts.iter().map(|host| said(host).unwrap_or_default()).collect();
        let as_wanted = |text: &&String| {
            let changed = text.lines().any(|line| line.starts_with("changed: "));
            text.ends_with("\ndone\n") && changed == first
        };
        self.insist("the script", texts.iter().filter(as_wanted).count(), &texts.concat())?;
        Ok(cost)
    }

    /// Runs where the rack's files are; what it says goes to `said/NAME`, its talk to `said/NAME.err`.
    fn measure(&self, mut command: Command, name: &str) -> Result<Cost> {
        let said = self.lab.dir().join("said").join(name);
        let create = |path: &Path| File::create(path).doing(|| format!("create {}", path.display()));
        let talk = said.with_extension("err");
        command.current_dir(self.lab.dir()).stdin(Stdio::null()).stdout(create(&said)?);
        command.stderr(create(&talk)?);
        Cost::of(command, &self.hosts, &talk)
    }

    /// A run that did not do its job is not to be compared with one that did.
    fn insist(&self, tool: &str, count: usize, said: &str) -> Result<()> {
        if count == self.hosts.len() {
            return Ok(());
        }
        let text = format!("{tool} did its job on {count} of {} hosts: {said}", self.hosts.len());
        Err(LabError::Refused(text))
    }
}

/// The rack's file.
fn rack(lab: &Lab) -> String {
    let mut yaml = format!(
        "apiVersion: rackwright.dev/v1\nkind: Rack\nssh: {{user: root, identity: {}, known_hosts: {}}}\nnodes:\n",
        lab.identity().display(),
        lab.known_hosts().display()
    );
    for (index, host) in lab.hosts().iter().enumerate() {
        let roles = if index == 0 { ", roles: [control-plane]" } else { "" };
        let _ = writeln!(yaml, "  - {{name: {}, address: {}{roles}}}", host.name(), host.address());
    }
    yaml + WANTED
}
