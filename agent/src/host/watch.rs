//! Waiting for files to change, through inotify(7): no polling.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::fs::FsError;

/// Waits for changes below some paths.
#[derive(Debug)]
pub struct Watch {
    events: AsyncFd<OwnedFd>,
}

impl Watch {
    /// Watches files, and the entries of directories: written, created, moved in, closed by their writer.
    /// Paths that do not exist are left out.
    pub fn on(paths: &[&Path]) -> Result<Self, FsError> {
        let doing = |path| FsError::of("watch", path);
        let first = paths.first().copied().unwrap_or(Path::new("/"));
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)
            .map_err(|e| doing(first)(e.into()))?;
        let kinds = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_CLOSE_WRITE;
        for path in paths {
            match inotify.add_watch(*path, kinds) {
                Ok(_) | Err(Errno::ENOENT) => {}
                Err(e) => return Err(doing(path)(e.into())),
            }
        }
        #[expect(deprecated, reason = "its danger is a descriptor that changes; this one is owned and stays")]
        let events = AsyncFd::with_interest(OwnedFd::from(inotify), Interest::READABLE);
        Ok(Self { events: events.map_err(doing(first))? })
    }

    /// Returns at the next change, or after `tick` at the latest. Changes since the last call count.
    pub async fn changed(&mut self, tick: Duration) {
        let _ = tokio::time::timeout(tick, self.drain()).await;
    }

    async fn drain(&self) {
        let mut buffer = [0; 4096];
        let Ok(mut ready) = self.events.readable().await else { return };
        // What changed does not matter: the caller looks at its files again.
        while nix::unistd::read(self.events.get_ref().as_fd(), &mut buffer).is_ok_and(|n| n > 0) {}
        ready.clear_ready();
    }
}
