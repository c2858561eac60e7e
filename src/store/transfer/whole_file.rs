//! A file of which every byte was read and compared.

use std::{
    fs::File,
    io::{BufReader, Seek},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::{
    Beginning, TransferError, entries::Entries, entry::Header, frame::FrameError, item::Item,
    partial_file::explain,
};

/// The file.
pub(super) struct WholeFile {
    path: PathBuf,
    file: File,
    header: Header,
    beginning: Beginning,
}

impl WholeFile {
    /// Reads all of it. Blocks.
    pub(super) fn open(path: PathBuf) -> Result<Self, TransferError> {
        let file = File::open(&path).map_err(explain(&path))?;
        let (header, mut entries) = entries(&path, &file)?;
        while entries.next().map_err(refused(&path))?.is_some() {}
        let trimmed_time = match header.trimmed_time.map(Timestamp::from_millisecond) {
            None => None,
            Some(Ok(time)) => Some(time),
            Some(Err(_)) => return Err(refused(&path)(FrameError::Damaged("it tells no time"))),
        };
        let beginning = Beginning {
            trimmed_time,
            largest_item: entries.largest(),
        };
        Ok(WholeFile {
            path,
            file,
            header,
            beginning,
        })
    }

    /// Whose log it holds.
    pub(super) fn tenant(&self) -> &str {
        &self.header.tenant
    }

    /// What the log is told that takes it in.
    pub(super) fn beginning(&self) -> Beginning {
        self.beginning
    }

    /// Reads it again and sends what it holds, unless nobody wants it any more. Blocks.
    pub(super) fn send(&self, items: &mpsc::Sender<Item>) -> Result<(), TransferError> {
        let (_, mut entries) = entries(&self.path, &self.file)?;
        while let Some(item) = entries.next().map_err(refused(&self.path))? {
            if items.blocking_send(item).is_err() {
                break;
            }
        }
        Ok(())
    }
}

fn entries<'a>(
    path: &Path,
    mut file: &'a File,
) -> Result<(Header, Entries<BufReader<&'a File>>), TransferError> {
    file.rewind().map_err(explain(path))?;
    let bytes = file.metadata().map_err(explain(path))?.len();
    Entries::open(BufReader::new(file), bytes).map_err(refused(path))
}

fn refused(path: &Path) -> impl Fn(FrameError) -> TransferError + use<> {
    let path = path.to_owned();
    move |error| match error {
        FrameError::Io(source) => explain(&path)(source),
        FrameError::Damaged(what) => TransferError::NotWhole {
            path: path.clone(),
            what,
        },
    }
}
