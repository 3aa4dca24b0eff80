//! A rack of hosts: up, in use, down.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::error::{Doing, LabError, Result};
use crate::host::Host;
use crate::kube::{self, Parts};
use crate::layout::{Layout, device_at, lay_out};
use crate::names::{RACKS, RackName, netns_path};
use crate::prepare::{Shared, prepare};
use crate::run::{command, each, must};
use crate::spec::{BASTION, Kind, Login, Spec};
use crate::talk::say;
use crate::{base, files, keys, limits, need, netns, slot, sweep, sys, vm};

/// Hosts that boot at a time: more only make each other slow.
const BOOTS_AT_A_TIME: usize = 8;
const PORT_LIMIT: Duration = Duration::from_secs(10);
const PASSWORD_LIMIT: Duration = Duration::from_secs(30);

/// What the lab remembers of a rack. Taking it down does not depend on it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    spec: Spec,
    /// The tree below its hosts.
    base: PathBuf,
    /// Whether it was ever complete.
    ready: bool,
}

/// What hosts are made of.
struct Trees {
    base: PathBuf,
    parts: Option<Parts>,
    template: Option<PathBuf>,
    image: Option<vm::Image>,
}

impl Trees {
    fn ensure(spec: &Spec) -> Result<Self> {
        let Kind::Kube(release) = spec.kind else {
            let image = vm::image_for(spec, None)?;
            return Ok(Self { base: base::ensure()?, parts: None, template: None, image });
        };
        let parts = Parts::ensure(release, &spec.cluster)?;
        let template = Some(kube::template_of(spec, release, &parts)).filter(|path| path.is_dir());
        let image = vm::image_for(spec, Some(&parts))?;
        Ok(Self { base: parts.base.clone(), parts: Some(parts), template, image })
    }
}

/// A rack that stands.
#[derive(Debug)]
pub struct Lab {
    spec: Spec,
    layout: Layout,
    /// Whether it goes down with this value.
    owned: bool,
    /// Held by racks of tests with virtual machines; given back after the rack is down.
    _slot: Option<slot::Slot>,
}

impl Lab {
    /// Brings a rack up; it goes down when the value is dropped, unless [`Lab::keep`] is called.
    /// A rack that stands already with the same spec is taken as it is, its dead hosts booted.
    pub fn up(spec: Spec) -> Result<Self> {
        spec.validate()?;
        need::ensure()?;
        let trees = Trees::ensure(&spec)?;
        let takes_slot = spec.name.test_process().is_some() && !spec.vms.is_empty();
        let slot = if takes_slot { Some(slot::of_machines()?) } else { None };
        let _lock = lock_cleared(&spec.name)?;
        let mut lab = Self { layout: lay_out(&spec), spec, owned: false, _slot: slot };
        match read_state(&lab.spec.name) {
            Some(state) if state.spec == lab.spec => lab.boot_all()?,
            Some(_) => {
                let name = &lab.spec.name;
                let text = format!("rack `{name}` stands with another shape: `cargo lab down {name}` first");
                return Err(LabError::Refused(text));
            }
            None => lab.build(&trees)?,
        }
        lab.owned = true;
        Ok(lab)
    }

    /// A rack that stands, made by somebody else; dropping the value leaves it.
    pub fn open(name: &RackName) -> Result<Self> {
        let state = read_state(name).filter(|state| state.ready);
        let hint = || {
            LabError::Refused(format!("no rack `{name}` stands: `cargo lab up 3 --name {name}` makes one"))
        };
        let spec = state.ok_or_else(hint)?.spec;
        Ok(Self { layout: lay_out(&spec), spec, owned: false, _slot: None })
    }

    /// Leaves the rack standing when the value is dropped.
    pub fn keep(mut self) {
        self.owned = false;
    }

    /// Takes the rack down and says so when that fails, which dropping cannot.
    pub fn down(mut self) -> Result<()> {
        self.owned = false;
        sweep::down(&self.spec.name).map(drop)
    }

    /// What was ordered.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Addresses, interfaces and segments.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The rack's directory.
    pub fn dir(&self) -> PathBuf {
        self.spec.name.dir()
    }

    /// The rack's file for the coordinator.
    pub fn rack_yaml(&self) -> PathBuf {
        self.dir().join("rack.yaml")
    }

    /// A configuration for `ssh -F`.
    pub fn ssh_config(&self) -> PathBuf {
        self.dir().join("ssh_config")
    }

    /// The private key that opens all hosts.
    pub fn identity(&self) -> PathBuf {
        self.dir().join("id_ed25519")
    }

    /// The hosts' keys.
    pub fn known_hosts(&self) -> PathBuf {
        self.dir().join("known_hosts")
    }

    /// What sudo asks of `ops` under [`Login::SudoPassword`].
    pub fn sudo_password(&self) -> Result<String> {
        let path = self.dir().join("sudo-password");
        fs::read_to_string(&path).doing(|| format!("read {}", path.display()))
    }

    /// All hosts, the bastion first.
    pub fn hosts(&self) -> Vec<Host> {
        self.layout
            .hosts
            .iter()
            .map(|(name, station)| {
                let inside = self.spec.bastion && name != BASTION;
                let vantage = if inside { self.spec.name.host(BASTION) } else { self.spec.name.operator() };
                let (id, dir) = (station.id.clone(), self.dir().join("hosts").join(name));
                Host {
                    name: name.clone(),
                    id,
                    kind: self.spec.kind_of(name),
                    dir,
                    address: station.address(),
                    vantage,
                    operator: self.spec.name.operator(),
                }
            })
            .collect()
    }

    /// A host by its name.
    ///
    /// # Panics
    /// When the rack has no such host: the caller named it.
    pub fn host(&self, name: &str) -> Host {
        self.find(name).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A host by a name that somebody typed.
    pub fn find(&self, name: &str) -> Result<Host> {
        let hosts = self.hosts();
        let names = hosts.iter().map(Host::name).collect::<Vec<_>>().join(", ");
        let missing =
            || LabError::Refused(format!("no host `{name}` in rack `{}`: it has {names}", self.spec.name));
        hosts.iter().find(|host| host.name() == name).cloned().ok_or_else(missing)
    }

    /// A command that will run where the operator sits: in the rack's network, on this machine's files.
    pub fn op_command(&self, program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
        let mut command = command(program);
        let path = netns_path(&self.spec.name.operator());
        sys::enter_network(&mut command, &path).doing(|| format!("open {}", path.display()))?;
        Ok(command)
    }

    /// `ssh` to a host, from where the operator sits.
    pub fn ssh(&self, host: &str) -> Result<Command> {
        let mut ssh = self.op_command("ssh")?;
        ssh.arg("-F").arg(self.ssh_config()).arg(host);
        Ok(ssh)
    }

    /// Pulls a host's cables, all of them: nothing it sends arrives, and it sees no carrier.
    pub fn unplug(&self, host: &str) -> Result<()> {
        self.switch_ports(host, "down")
    }

    /// Plugs them in again.
    pub fn plug(&self, host: &str) -> Result<()> {
        self.switch_ports(host, "up")
    }

    fn switch_ports(&self, host: &str, state: &str) -> Result<()> {
        let nics = self.layout.host(self.find(host)?.name()).map_or(&[][..], |station| &station.nics);
        for nic in nics {
            let mut ip = command("ip");
            ip.args(["-n", &self.layout.switch, "link", "set", &nic.port, state]);
            must(ip, &format!("set {host}'s port {state}"), PORT_LIMIT)?;
        }
        Ok(())
    }

    fn build(&self, trees: &Trees) -> Result<()> {
        let started = Instant::now();
        let made = self.build_steps(trees);
        if made.is_err() {
            // The error already carries what the host said; a half rack is of no use to anybody.
            let _ = sweep::down(&self.spec.name);
        }
        made?;
        let (name, hosts) = (&self.spec.name, self.layout.hosts.len());
        if self.tells() {
            say(format_args!("rack `{name}`: {hosts} hosts up in {:.1} s", started.elapsed().as_secs_f64()));
        }
        Ok(())
    }

    /// Racks of tests are quiet: their output would run into each other.
    pub(crate) fn tells(&self) -> bool {
        self.spec.name.test_process().is_none()
    }

    fn build_steps(&self, trees: &Trees) -> Result<()> {
        limits::raise_for(self.layout.hosts.len(), self.spec.kind)?;
        self.write_state(&trees.base, false)?;
        keys::generate(&self.identity(), &format!("operator of {}", self.spec.name))?;
        netns::run_script(&netns::rack_script(&self.layout), "make the rack's network")?;
        self.prepare_all(trees)?;
        self.write_operator_files(trees)?;
        self.boot_all()?;
        self.set_password()?;
        self.write_state(&trees.base, true)
    }

    fn prepare_all(&self, trees: &Trees) -> Result<()> {
        let authorized = keys::public(&self.identity())?;
        let shared = Shared {
            spec: &self.spec,
            layout: &self.layout,
            base: &trees.base,
            parts: trees.parts.as_ref(),
            template: trees.template.as_deref(),
            image: trees.image.as_ref(),
            authorized: &authorized,
        };
        let pairs: Vec<_> = self.hosts().into_iter().zip(&self.layout.hosts).collect();
        each(&pairs, BOOTS_AT_A_TIME, |(host, (_, station))| prepare(&shared, host, station))
            .into_iter()
            .collect()
    }

    fn write_operator_files(&self, trees: &Trees) -> Result<()> {
        let manifest = trees.parts.as_ref().map(|parts| self.copy_manifest(parts)).transpose()?;
        let mut known = String::new();
        for host in self.hosts() {
            let key = keys::public(&host.dir.join("ssh_host_ed25519_key"))?;
            known.push_str(&keys::known_host(&host.name, host.address, &key));
        }
        self.write("known_hosts", &known)?;
        self.write("ssh_config", &files::ssh_config(&self.spec, &self.layout, &self.dir()))?;
        let mesh = self.spec.cluster.istio.map(|istio| self.give_archive(istio)).transpose()?;
        let rack = files::rack_yaml(&self.spec, &self.layout, &self.dir(), manifest.as_ref(), mesh.as_ref());
        self.write("rack.yaml", &rack)
    }

    /// Beside the rack's file, as an operator has it.
    fn copy_manifest(&self, parts: &Parts) -> Result<files::Manifest> {
        let text =
            fs::read_to_string(&parts.manifest).doing(|| format!("read {}", parts.manifest.display()))?;
        let manifest = files::Manifest::new(self.spec.cluster.metallb, &text);
        self.write(&manifest.file, &text)?;
        Ok(manifest)
    }

    /// Istio's archive and settings, likewise.
    fn give_archive(&self, istio: kube::Istio) -> Result<files::Mesh> {
        let archive = istio.archive()?;
        let there = self.dir().join(archive.file());
        // The cache may be another file system.
        let linked =
            fs::hard_link(&archive.path, &there).or_else(|_| fs::copy(&archive.path, &there).map(drop));
        linked.doing(|| format!("put {} beside the rack's file", archive.path.display()))?;
        self.write(files::Mesh::SETTINGS, &kube::settings_for(&self.spec))?;
        self.write(files::Mesh::VALUES, &kube::values_for(&self.spec))?;
        Ok(files::Mesh { istio, archive: archive.file(), sha256: archive.sha256 })
    }

    /// Plugs a device that is no node into the segment; it answers ARP for its address, which is one of
    /// 192.0.2.0/24, and lives until it is unplugged or the rack goes down.
    pub fn plug_in(&self, device: &str, address: std::net::Ipv4Addr) -> Result<()> {
        let station = device_at(&self.spec, device, address);
        let script = netns::station_script(&self.layout, &station);
        netns::run_script(&script, &format!("plug {device} in"))
    }

    /// Takes such a device away.
    pub fn unplug_device(&self, device: &str) -> Result<()> {
        netns::remove(&self.spec.name.neighbour(device))
    }

    /// The bastion first: the others are reached through it.
    fn boot_all(&self) -> Result<()> {
        let hosts = self.hosts();
        let (bastion, nodes) = hosts.split_at(usize::from(self.spec.bastion));
        boot(bastion, self.tells())?;
        boot(nodes, self.tells())
    }

    /// Random, and only ever on standard input and in a file of root's.
    fn set_password(&self) -> Result<()> {
        if self.spec.login != Login::SudoPassword {
            return Ok(());
        }
        let mut bytes = [0; 12];
        let mut random = File::open("/dev/urandom").doing(|| "open /dev/urandom".to_owned())?;
        random.read_exact(&mut bytes).doing(|| "read /dev/urandom".to_owned())?;
        let password: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.write("sudo-password", &password)?;
        let line = format!("ops:{password}\n");
        each(&self.hosts(), BOOTS_AT_A_TIME, |host| {
            let output = host.sh_with("chpasswd", Some(line.as_bytes()), PASSWORD_LIMIT)?;
            let refused =
                || LabError::Refused(format!("chpasswd on {}: {}", host.name, output.stderr.trim()));
            if output.success() { Ok(()) } else { Err(refused()) }
        })
        .into_iter()
        .collect()
    }

    fn write_state(&self, base: &Path, ready: bool) -> Result<()> {
        let state = State { spec: self.spec.clone(), base: base.to_owned(), ready };
        let text = serde_json::to_string_pretty(&state)
            .map_err(std::io::Error::from)
            .doing(|| "write state".to_owned())?;
        self.write("state.json.new", &text)?;
        let path = self.dir().join("state.json");
        fs::rename(path.with_extension("json.new"), &path).doing(|| format!("write {}", path.display()))
    }

    /// Readable by root only: there are keys and passwords among them.
    fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.dir().join(file);
        let mut options = OpenOptions::new();
        let opened = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
        opened
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .doing(|| format!("write {}", path.display()))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.owned
            && let Err(error) = sweep::down(&self.spec.name)
        {
            say(format_args!("rack `{}` did not go down: {}", self.spec.name, crate::error::chain(&error)));
        }
    }
}

/// Boots hosts side by side; after a first failure no more are begun.
fn boot(hosts: &[Host], tell: bool) -> Result<()> {
    let failed = AtomicBool::new(false);
    let boot_one = |host: &Host| {
        if failed.load(Ordering::Relaxed) || host.pid().is_some() {
            return Ok(());
        }
        let started = Instant::now();
        let result = host.boot();
        failed.fetch_or(result.is_err(), Ordering::Relaxed);
        if result.is_ok() && tell && host.kind != Kind::Light {
            say(format_args!(
                "{} is up ({}, {:.1} s)",
                host.name,
                host.address,
                started.elapsed().as_secs_f64()
            ));
        }
        result
    };
    each(hosts, BOOTS_AT_A_TIME, boot_one).into_iter().collect()
}

/// Takes the rack's lock, and clears away what an interrupted `up` left.
fn lock_cleared(name: &RackName) -> Result<Flock<File>> {
    let taken = lock(name)?;
    let dir = name.dir();
    let empty = fs::read_dir(&dir).doing(|| format!("read {}", dir.display()))?.next().is_none();
    if empty || read_state(name).is_some_and(|state| state.ready) {
        return Ok(taken);
    }
    say(format_args!("rack `{name}` was left half made: making it anew"));
    sweep::down(name)?;
    // The directory that was locked is gone.
    lock(name)
}

fn read_state(name: &RackName) -> Option<State> {
    serde_json::from_str(&fs::read_to_string(name.dir().join("state.json")).ok()?).ok()
}

/// One `up` at a time per rack; the kernel drops the lock with its holder.
fn lock(name: &RackName) -> Result<Flock<File>> {
    let dir = name.dir();
    loop {
        DirBuilder::new().recursive(true).mode(0o755).create(RACKS).doing(|| format!("create {RACKS}"))?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .doing(|| format!("create {}", dir.display()))?;
        let file = File::open(&dir).doing(|| format!("open {}", dir.display()))?;
        let busy = || {
            LabError::Refused(format!("rack `{name}` is being changed by another `cargo lab`: wait for it"))
        };
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| busy())?;
        let held = lock.metadata().doing(|| format!("look at {}", dir.display()))?.ino();
        // `down` may have removed the directory that we locked.
        if fs::metadata(&dir).is_ok_and(|meta| meta.ino() == held) {
            return Ok(lock);
        }
    }
}
