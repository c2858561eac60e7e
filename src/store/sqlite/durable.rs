//! Makes what is found in a file durable before anybody reads it.
//!
//! An earlier process can have written what was never synced: it was killed in between, or the sync failed.
//! It is readable all the same, from the system's memory. After a failed sync the system may even take it
//! for written, so that another sync does nothing: a power cut would then bring an older state back, under
//! whatever was built on the newer one. So the write-ahead log is written again, byte by byte, and synced.

use std::{
    fs::{self, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rusqlite::Connection;

/// The permissions of a log's files: events hold personal data.
const OWNER_ONLY: u32 = 0o600;

/// What nobody else may.
const OTHERS: u32 = 0o077;

/// How much is written again at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// Creates the file where there is none, and keeps others from reading it. SQLite gives the files beside it
/// the same permissions.
pub(super) fn create_for_owner(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(found) if found.permissions().mode() & OTHERS == 0 => Ok(()),
        // By its name: closing a file lets go of the locks that SQLite has on it.
        Ok(_) => fs::set_permissions(path, PermissionsExt::from_mode(OWNER_ONLY)),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(OWNER_ONLY);
            options.open(path).map(drop)
        }
        Err(error) => Err(error),
    }
}

/// Writes the write-ahead log of `path` again. Must not be interrupted by a writer, so it holds the file's
/// write lock.
///
/// # Errors
/// Of SQLite, where somebody else holds the lock; else of the disk.
pub(super) fn write_again(
    connection: &Connection,
    path: &Path,
) -> rusqlite::Result<io::Result<()>> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    // SQLite has it beside the file itself, not beside a symbolic link to it.
    let written = fs::canonicalize(path).and_then(|path| write_file_again(&write_ahead_log(&path)));
    connection.execute_batch("ROLLBACK")?;
    Ok(written)
}

/// The file beside a log's.
pub(super) fn write_ahead_log(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

fn write_file_again(path: &Path) -> io::Result<()> {
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut at = 0;
    loop {
        match file.read_at(&mut chunk, at)? {
            0 => return file.sync_all(),
            read => {
                file.write_all_at(&chunk[..read], at)?;
                at += read as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, time::SystemTime};

    use super::*;

    #[test]
    fn the_write_ahead_log_of_a_file_behind_a_symbolic_link_is_written_again() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (
            directory.path().join("elsewhere.db"),
            directory.path().join("log.db"),
        );
        create_for_owner(&file).unwrap();
        symlink(&file, &link).unwrap();
        let connection = Connection::open(&link).unwrap();
        connection
            .execute_batch("PRAGMA journal_mode = wal; CREATE TABLE t (a)")
            .unwrap();
        let wal = OpenOptions::new()
            .write(true)
            .open(write_ahead_log(&file))
            .unwrap();
        wal.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        write_again(&connection, &link).unwrap().unwrap();
        let modified = wal.metadata().unwrap().modified().unwrap();
        assert!(modified > SystemTime::UNIX_EPOCH);
    }
}
