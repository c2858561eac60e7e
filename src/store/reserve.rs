//! Disk space that the embedded log sets aside, and gives up when the disk is full: writing the write-ahead log back
//! and trimming need some before they free any.

use std::{
    fs::{self, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use nix::{fcntl::posix_fallocate, sys::statvfs::statvfs};

/// The file that takes the space.
const RESERVE_FILE: &str = "reserve";

/// Written and removed again to find out whether the disk takes anything.
const PROBE_FILE: &str = "reserve.probe";

/// How large the reserve is: enough to write back what the write-ahead log holds between two checkpoints, twice over.
const RESERVE_BYTES: u64 = 16 << 20;

/// How much has to be free before the reserve is allocated, so that it does not fill the disk itself.
const FREE_BYTES: u64 = 2 * RESERVE_BYTES;

/// How much a probe writes.
const PROBE_BYTES: usize = 64 << 10;

/// How long to wait after an attempt to allocate the reserve, and after it was given up.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// The permissions of its files.
const OWNER_ONLY: u32 = 0o600;

/// The reserve of one directory, shared by all logs in it.
#[derive(Debug)]
pub(super) struct Reserve {
    directory: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    is_held: bool,
    next_attempt: Option<Instant>,
}

impl Reserve {
    /// The reserve of this directory. Nothing is allocated before [`Reserve::allocate`].
    pub(super) fn of(directory: &Path) -> Self {
        Reserve {
            directory: directory.to_owned(),
            state: Mutex::default(),
        }
    }

    /// Gives the space back to the disk. Returns whether there was any to give. Blocks.
    pub(super) fn give_up(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_held = false;
        state.next_attempt = Some(Instant::now() + RETRY_PAUSE);
        let path = self.directory.join(RESERVE_FILE);
        match fs::remove_file(&path) {
            Ok(()) => {
                let path = path.display();
                tracing::warn!(%path, "the disk is full: its reserve is given up until there is room again");
                true
            }
            Err(error) => {
                if error.kind() != ErrorKind::NotFound {
                    tracing::warn!(path = %path.display(), %error, "the reserve cannot be given up");
                }
                false
            }
        }
    }

    /// Allocates the space unless it is held, if the disk has room for twice as much. Blocks.
    pub(super) fn allocate(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if state.is_held || state.next_attempt.is_some_and(|next| now < next) {
            return;
        }
        state.next_attempt = Some(now + RETRY_PAUSE);
        match self.try_allocate() {
            Ok(is_held) => state.is_held = is_held,
            Err(error) => {
                let _ = fs::remove_file(self.directory.join(RESERVE_FILE));
                tracing::debug!(%error, "there is no room for the disk's reserve");
            }
        }
    }

    fn try_allocate(&self) -> io::Result<bool> {
        let path = self.directory.join(RESERVE_FILE);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let file = options.mode(OWNER_ONLY).open(path)?;
        let found = file.metadata()?;
        if found.len() >= RESERVE_BYTES && is_allocated(&found) {
            return Ok(true);
        }
        if free_bytes(&self.directory)? < FREE_BYTES {
            return Err(ErrorKind::StorageFull.into());
        }
        posix_fallocate(&file, 0, RESERVE_BYTES as i64)?;
        Ok(true)
    }
}

/// Whether the disk of this directory takes no more data, by its room or by a quota. Blocks.
pub(super) fn is_disk_full(directory: &Path) -> bool {
    let path = directory.join(PROBE_FILE);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    let written = options
        .mode(OWNER_ONLY)
        .open(&path)
        .and_then(|file| file.write_all_at(&[1; PROBE_BYTES], 0));
    let _ = fs::remove_file(path);
    written.is_err_and(|error| is_full(&error))
}

/// Whether a write failed because there was no room for it.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded
    )
}

fn is_allocated(found: &fs::Metadata) -> bool {
    // Blocks of 512 bytes, whatever the file system's are.
    found.blocks() * 512 >= RESERVE_BYTES
}

fn free_bytes(directory: &Path) -> io::Result<u64> {
    let found = statvfs(directory)?;
    Ok(found.blocks_available() * found.fragment_size())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_takes_real_space_and_gives_it_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(RESERVE_FILE);
        // One that takes no space is none.
        let sparse = fs::File::create(&path).unwrap();
        sparse.set_len(RESERVE_BYTES).unwrap();
        let reserve = Reserve::of(directory.path());
        reserve.allocate();
        assert!(path.metadata().unwrap().blocks() * 512 >= RESERVE_BYTES);
        assert!(reserve.give_up());
        assert!(!path.exists());
        assert!(!reserve.give_up());
        // Not at once: whoever filled the disk may still be at it.
        reserve.allocate();
        assert!(!path.exists());
    }

    #[test]
    fn a_disk_with_room_is_not_full_and_keeps_no_probe() {
        let directory = tempfile::tempdir().unwrap();
        assert!(!is_disk_full(directory.path()));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
