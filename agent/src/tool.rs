//! One run of a tool of the cluster, for as long as the session that asked for it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rackwright_proto::fault::{Fault, FaultKind};
use rackwright_proto::name::{ToolName, ToolVersion};
use rackwright_proto::tool::{ToolOutcome, ToolRun, TreeSeen, TreeStep};
use rackwright_proto::wire::{self, Reply};

use crate::fault::host_fault;
use crate::host::Host;
use crate::host::tool::{Program, Running};

/// The longest line that is told, in characters.
const LONGEST_LINE: usize = 1000;
/// The most lines that are told; all of them are in the outcome's end of standard error.
const MOST_LINES: usize = 2000;
/// The most arguments.
const MOST_ARGS: usize = 256;

/// Starts a run.
pub fn start(run: &ToolRun, host: &Host) -> Result<Running, Fault> {
    let doing = words(run);
    let refused = |why: String| Fault::new(FaultKind::Host, doing.clone(), why);
    check(run).map_err(refused)?;
    let tree = tree(run, host)?;
    let file = file(run, tree.as_deref(), host).map_err(|(why, next)| refused(why).next(next))?;
    let kubeconfig = host.kubeconfig()?.map(|found| host.path(&found.path));
    let folder = host.tool_folder(&run.files).map_err(|e| host_fault(doing.clone(), &e))?;
    let fill = |arg: &String| {
        let files = folder.files();
        let arg = arg.replace("{files}", &files.to_string_lossy());
        tree.as_ref().map_or(arg.clone(), |tree| arg.replace("{tool}", &tree.to_string_lossy()))
    };
    let args = run.args.iter().map(fill).collect();
    let deadline = Duration::from_secs(run.seconds.min(ToolRun::LONGEST).into());
    let program = Program { file, args, kubeconfig, deadline };
    host.start_tool(program, folder).map_err(|e| refused(format!("start {}: {e}", run.program)))
}

fn words(run: &ToolRun) -> String {
    let name = run.program.rsplit('/').next().unwrap_or_default();
    match run.version.is_empty() {
        true => format!("run {name}"),
        false => format!("run {name} of {} {}", run.tool, run.version),
    }
}

/// What comes over the wire names no path outside of the folders that it is meant for.
fn check(run: &ToolRun) -> Result<(), String> {
    let plain = |part: &str| {
        !part.is_empty() && !part.starts_with('.') && part.len() <= 255 && !part.contains(['/', '\0'])
    };
    if !run.program.split('/').all(plain) {
        return Err(format!("`{}` is no program's name", run.program));
    }
    if let Some(name) = run.files.keys().find(|name| !plain(name)) {
        return Err(format!("`{name}` is no file's name"));
    }
    if run.args.len() > MOST_ARGS || run.args.iter().any(|arg| arg.contains('\0')) {
        return Err("its arguments are too many, or no text".into());
    }
    if run.seconds == 0 || run.seconds > ToolRun::LONGEST {
        return Err(format!("it may take 1 to {} s, not {}", ToolRun::LONGEST, run.seconds));
    }
    Ok(())
}

/// The unpacked archive, as it really lies; whole, or it is not run.
fn tree(run: &ToolRun, host: &Host) -> Result<Option<PathBuf>, Fault> {
    if run.version.is_empty() {
        return Ok(None);
    }
    let doing = words(run);
    let refused = |why: String| Fault::new(FaultKind::Host, doing.clone(), why);
    let name: ToolName = run.tool.parse().map_err(|e| refused(format!("{e}")))?;
    let version: ToolVersion = run.version.parse().map_err(|e| refused(format!("{e}")))?;
    let path = TreeStep { name, version, archive: None }.path();
    let why = match host.look_at_tree(&path).map_err(|e| host_fault(doing.clone(), &e))? {
        TreeSeen::Unpacked { .. } => return Ok(Some(host.path(path))),
        TreeSeen::Absent => format!("{path} is not there"),
        TreeSeen::Damaged { what, .. } => format!("{path} is damaged: {what}"),
        TreeSeen::Foreign { what } => format!("{path} is {what}"),
    };
    Err(refused(why).next("`rackwright apply` unpacks it on control planes"))
}

/// The program's file; why there is none, and what to do.
fn file(run: &ToolRun, tree: Option<&Path>, host: &Host) -> Result<PathBuf, (String, &'static str)> {
    if !run.program.contains('/') {
        let why = || {
            (
                format!("this host has no {} on its PATH", run.program),
                "install it, or give its archive in the rack",
            )
        };
        return host.program(&run.program).ok_or_else(why);
    }
    let file = tree.map(|tree| tree.join(&run.program)).filter(|file| file.is_file());
    file.ok_or_else(|| {
        (format!("there is no {} in it", run.program), "give an archive in the rack that has it")
    })
}

/// Cuts a stream into lines and tells each, but neither too long ones nor too many.
pub struct Lines<F> {
    tell: F,
    line: Vec<u8>,
    told: usize,
    left_out: usize,
}

impl<F: FnMut(String) -> bool> Lines<F> {
    /// Lines for `tell`, which says whether it took one.
    pub fn new(tell: F) -> Self {
        Self { tell, line: Vec::new(), told: 0, left_out: 0 }
    }

    /// The stream's next bytes. A carriage return ends a line, too: progress is shown with it.
    pub fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' | b'\r' => self.tell(),
                byte if self.line.len() < LONGEST_LINE * 4 => self.line.push(*byte),
                _ => {}
            }
        }
    }

    /// The stream's end.
    pub fn end(&mut self) {
        self.tell();
    }

    /// Whether lines were not told.
    pub fn left_out(&self) -> bool {
        self.left_out > 0
    }

    fn tell(&mut self) {
        let text = String::from_utf8_lossy(&self.line);
        let line: String =
            text.chars().filter(|c| !c.is_control() || *c == '\t').take(LONGEST_LINE).collect();
        self.line.clear();
        if line.trim().is_empty() {
            return;
        }
        if self.told < MOST_LINES && (self.tell)(line) {
            self.told += 1;
        } else {
            self.left_out += 1;
        }
    }
}

/// An outcome that fits into a frame: text that has to be escaped becomes longer there.
pub fn fitting(mut outcome: ToolOutcome) -> Reply {
    loop {
        let reply = Reply::ToolEnded(Box::new(outcome.clone()));
        if wire::encode(&reply).is_ok() || outcome.stdout.is_empty() {
            return reply;
        }
        let middle = outcome.stdout.len() / 2;
        let half = (0..=middle).rev().find(|at| outcome.stdout.is_char_boundary(*at)).unwrap_or(0);
        outcome.stdout.truncate(half);
        outcome.cut = true;
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests change their own folders")]
mod tests;
