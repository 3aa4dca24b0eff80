//! The files that make a host this host: written into its layer of the overlay before the first boot.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use crate::error::{Doing, Result};

/// A host's own layer above the base tree.
pub(crate) struct Tree<'a> {
    base: &'a Path,
    upper: PathBuf,
}

impl<'a> Tree<'a> {
    /// The layer at `upper`, above `base`.
    pub(crate) fn new(base: &'a Path, upper: PathBuf) -> Self {
        Self { base, upper }
    }

    /// Writes a file, owned by the owner of its directory.
    pub(crate) fn put(&self, path: &str, content: &str, mode: u32) -> Result<()> {
        let target = self.upper.join(path);
        self.open_directory(Path::new(path).parent().unwrap_or(Path::new("")))?;
        let doing = || format!("write {}", target.display());
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(mode).open(&target).doing(doing)?;
        file.write_all(content.as_bytes()).doing(doing)?;
        fs::set_permissions(&target, Permissions::from_mode(mode)).doing(doing)?;
        if let Some(owner) = target.parent().and_then(|directory| fs::metadata(directory).ok()) {
            chown(&target, Some(owner.uid()), Some(owner.gid())).doing(doing)?;
        }
        Ok(())
    }

    /// Appends to what the layer, or else the base tree, has there.
    pub(crate) fn append(&self, path: &str, text: &str) -> Result<()> {
        let before =
            [self.upper.join(path), self.base.join(path)].iter().find_map(|p| fs::read_to_string(p).ok());
        self.put(path, &(before.unwrap_or_default() + text), 0o644)
    }

    /// Makes a directory in the layer look like the one that it covers: mode and owner of the upper one count.
    fn open_directory(&self, path: &Path) -> Result<()> {
        let target = self.upper.join(path);
        if target.is_dir() {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.open_directory(parent)?;
        }
        let doing = || format!("create {}", target.display());
        let like = fs::metadata(self.base.join(path)).ok();
        let mode = like.as_ref().map_or(0o755, |meta| meta.mode() & 0o7777);
        DirBuilder::new().mode(mode).create(&target).doing(doing)?;
        fs::set_permissions(&target, Permissions::from_mode(mode)).doing(doing)?;
        if let Some(meta) = like {
            chown(&target, Some(meta.uid()), Some(meta.gid())).doing(doing)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_covered_directory_keeps_its_mode_and_a_file_its_text() {
        let dir = tempfile::tempdir().unwrap();
        let (base, upper) = (dir.path().join("base"), dir.path().join("upper"));
        fs::create_dir_all(base.join("root/.ssh")).unwrap();
        fs::create_dir(&upper).unwrap();
        fs::set_permissions(base.join("root/.ssh"), Permissions::from_mode(0o700)).unwrap();
        fs::write(base.join("root/note"), "one\n").unwrap();
        let tree = Tree::new(&base, upper.clone());
        tree.put("root/.ssh/authorized_keys", "key", 0o600).unwrap();
        tree.append("root/note", "two\n").unwrap();
        assert_eq!(fs::metadata(upper.join("root/.ssh")).unwrap().mode() & 0o7777, 0o700);
        assert_eq!(fs::read_to_string(upper.join("root/note")).unwrap(), "one\ntwo\n");
        assert_eq!(fs::metadata(upper.join("root/.ssh/authorized_keys")).unwrap().mode() & 0o7777, 0o600);
    }
}
