//! What may be in a release archive, and where it may go. Pure: an archive is somebody else's word, even where its hash
//! is the expected one.

use std::io::{self, Read};

/// The most that an archive may become: Istio's becomes some 130 MB.
const LARGEST: u64 = 1 << 30;
/// The most that is unpacked of the smallest archive.
const SMALL: u64 = 16 << 20;
/// How many times its size an archive may become, beyond that. Programs and texts become 3 to 10 times theirs.
const RATIO: u64 = 100;
/// The most entries.
pub const MOST_ENTRIES: usize = 20_000;
/// The most bytes of headers, long names and padding before an entry.
const BETWEEN: u64 = 64 * 1024;
/// The longest path of an entry, in bytes.
const LONGEST_PATH: usize = 1024;
/// The longest part of one (`NAME_MAX`).
const LONGEST_NAME: usize = 255;

/// The most bytes that an archive of `size` bytes may become.
pub fn most_bytes(size: u64) -> u64 {
    size.saturating_mul(RATIO).saturating_add(SMALL).min(LARGEST)
}

/// Where an entry goes, relative to the unpacked tree; `None` for the tree's own folder.
///
/// # Errors
/// Why it may go nowhere.
pub fn place(name: &[u8], folder: &str) -> Result<Option<String>, &'static str> {
    let name = std::str::from_utf8(name).map_err(|_| "has a name that is not UTF-8")?;
    if name.len() > LONGEST_PATH {
        return Err("has a name that is too long");
    }
    if name.chars().any(char::is_control) {
        return Err("has a control character in its name");
    }
    if name.starts_with('/') {
        return Err("has an absolute path");
    }
    let mut parts = name.split('/').filter(|part| !part.is_empty() && *part != ".").peekable();
    if parts.clone().any(|part| part == "..") {
        return Err("has `..` in its path");
    }
    if parts.clone().any(|part| part.len() > LONGEST_NAME) {
        return Err("has a name that is too long");
    }
    match parts.next() {
        // `./`, as tar(1) writes it for the current folder.
        None => return Ok(None),
        Some(first) if first == folder => {}
        Some(_) => return Err("lies outside of the folder that all of it is to lie in"),
    }
    if parts.peek().is_some_and(|part| part.starts_with(".rackwright")) {
        return Err("has a name of rackwright's own");
    }
    let path = parts.collect::<Vec<_>>().join("/");
    Ok((!path.is_empty()).then_some(path))
}

/// Whether a symbolic link at `at`, relative to the tree, leads into the tree. `..` may stand only in front: behind a
/// part that is itself a link it would lead elsewhere than it says.
pub fn leads_inside(at: &str, target: &str) -> bool {
    let depth = at.split('/').count() - 1;
    let ups = target.split('/').take_while(|part| *part == "..").count();
    let mut rest = target.split('/').skip(ups);
    let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && part.len() <= LONGEST_NAME;
    let clean = target.len() <= LONGEST_PATH && !target.chars().any(char::is_control);
    clean && ups <= depth && rest.clone().next().is_some() && rest.all(plain)
}

/// A reader that gives no more bytes than were allowed for what comes next, and none beyond a total.
#[derive(Debug)]
pub struct Meter<'a, R> {
    inner: R,
    allowance: &'a Allowance,
}

/// What a [`Meter`] may still give.
#[derive(Debug)]
pub struct Allowance {
    next: std::cell::Cell<u64>,
    total: std::cell::Cell<u64>,
}

impl Allowance {
    /// For an archive of `size` bytes.
    pub fn of(size: u64) -> Self {
        Self { next: BETWEEN.into(), total: most_bytes(size).into() }
    }

    /// An entry's headers come next.
    pub fn headers(&self) {
        self.next.set(BETWEEN);
    }

    /// An entry's bytes come next.
    pub fn bytes(&self, size: u64) {
        self.next.set(size);
    }
}

impl<'a, R> Meter<'a, R> {
    /// Meters a reader.
    pub fn new(inner: R, allowance: &'a Allowance) -> Self {
        Self { inner, allowance }
    }
}

impl<R: Read> Read for Meter<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Allowance { next, total } = self.allowance;
        let left = next.get().min(total.get());
        if left == 0 && !buffer.is_empty() {
            let why = if total.get() == 0 { "it becomes too large" } else { "its headers are too long" };
            return Err(io::Error::other(why));
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.inner.read(&mut buffer[..most])?;
        next.set(next.get() - read as u64);
        total.set(total.get() - read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn entries_go_below_the_folder_or_nowhere() {
        let at = |name: &str| place(name.as_bytes(), "t-1");
        assert_eq!(at("t-1/bin/t"), Ok(Some("bin/t".into())));
        assert_eq!(at("./t-1//bin/./t/"), Ok(Some("bin/t".into())));
        assert_eq!((at("t-1/"), at("./"), at("t-1")), (Ok(None), Ok(None), Ok(None)));
        for bad in [
            "/t-1/x",
            "t-1/../x",
            "../t-1/x",
            "x",
            "t-10/x",
            "bin/t",
            "t-1/a\nb",
            "t-1/.rackwright.json",
            "t-1/..",
        ] {
            assert!(at(bad).is_err(), "{bad:?}");
        }
        assert!(place(b"t-1/\xff", "t-1").is_err());
        assert!(at(&format!("t-1/{}", "x".repeat(256))).is_err());
        assert!(at(&format!("t-1/{}", "x/".repeat(600))).is_err());
    }

    #[test]
    fn links_lead_into_the_tree() {
        for (at, target) in [("a", "b"), ("a/b", "../c"), ("a/b/c", "../../d/e"), ("a/b", "c")] {
            assert!(leads_inside(at, target), "{at} -> {target}");
        }
        for (at, target) in [
            ("a", "/etc"),
            ("a", "../b"),
            ("a/b", "../../c"),
            ("a/b", "c/../../../d"),
            ("a", ""),
            ("a/b", ".."),
            ("a", "./b"),
            ("a", "b//c"),
        ] {
            assert!(!leads_inside(at, target), "{at} -> {target}");
        }
    }

    proptest! {
        #[test]
        fn no_name_leads_out(name in prop::collection::vec("(t|\\.|\\.\\.|/|a|\u{0}|\\\\|//)", 0..12)) {
            if let Ok(Some(path)) = place(name.concat().as_bytes(), "t") {
                let straight = Path::new(&path).components().all(|c| matches!(c, Component::Normal(_)));
                prop_assert!(straight && !path.is_empty(), "{}", path);
            }
        }

        #[test]
        fn no_link_leads_out(
            at in prop::collection::vec("[ab]", 1..5),
            target in prop::collection::vec("(a|\\.|\\.\\.|/|//)", 0..8),
        ) {
            let (at, target) = (at.join("/"), target.join("/"));
            if leads_inside(&at, &target) {
                let mut depth = at.split('/').count() as i64 - 1;
                prop_assert!(!target.starts_with('/'));
                for part in target.split('/') {
                    depth += match part { ".." => -1, "" | "." => 0, _ => 1 };
                    prop_assert!(depth >= 0, "{} -> {}", at, target);
                }
            }
        }

        #[test]
        fn a_meter_gives_what_is_allowed_and_then_fails(size in 0u64..200, chunk in 1usize..64) {
            let allowance = Allowance::of(0);
            allowance.bytes(size);
            let mut meter = Meter::new(io::repeat(1), &allowance);
            let (mut buffer, mut got) = (vec![0; chunk], 0);
            while let Ok(read) = meter.read(&mut buffer) { got += read as u64; }
            prop_assert_eq!(got, size);
        }
    }
}
