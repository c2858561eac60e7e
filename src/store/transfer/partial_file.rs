//! A file that is being written. It has its name only when it is whole.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use prost::Message;
use tokio::sync::mpsc;

use super::{
    TransferError,
    entry::{Entry, Header, Kind},
    frame::FrameWriter,
    item::{Counts, Item},
};

/// What the name ends with until then.
const SUFFIX: &str = ".partial";

/// The permissions of the file: it holds personal data.
const OWNER_ONLY: u32 = 0o600;

/// A file that is whole but for its end. It is removed if it does not get that.
pub(super) struct PartialFile {
    path: PathBuf,
    partial: Partial,
    frames: FrameWriter<BufWriter<File>>,
    counts: Counts,
}

/// The name of the file, for as long as it is not whole.
struct Partial(PathBuf);

impl PartialFile {
    /// Writes a header and all items that come. Blocks.
    pub(super) fn write(
        path: PathBuf,
        header: Header,
        mut items: mpsc::Receiver<Item>,
    ) -> Result<Self, TransferError> {
        let explain = explain(&path);
        let mut file = Self::create(path, header).map_err(&explain)?;
        while let Some(item) = items.blocking_recv() {
            file.put(item).map_err(&explain)?;
        }
        Ok(file)
    }

    /// Ends it, makes it durable, and gives it its name.
    pub(super) fn finish(self) -> Result<Counts, TransferError> {
        let explain = explain(&self.path);
        self.end().map_err(explain)
    }

    fn create(path: PathBuf, header: Header) -> io::Result<Self> {
        if path.try_exists()? {
            let what = "is there already, and is not replaced";
            return Err(io::Error::new(ErrorKind::AlreadyExists, what));
        }
        let mut name = path.clone().into_os_string();
        name.push(SUFFIX);
        let partial = Partial(name.into());
        // One that is left over is of an export that was killed.
        match fs::remove_file(&partial.0) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(OWNER_ONLY);
        let output = BufWriter::new(options.open(&partial.0)?);
        let mut frames = FrameWriter::new(output)?;
        frames.write(&Entry::from(Kind::Header(header)).encode_to_vec())?;
        Ok(PartialFile {
            path,
            partial,
            frames,
            counts: Counts::default(),
        })
    }

    fn put(&mut self, item: Item) -> io::Result<()> {
        self.counts += &item;
        let entry = Entry::from(Kind::from(item));
        self.frames.write(&entry.encode_to_vec())
    }

    fn end(self) -> io::Result<Counts> {
        let PartialFile {
            path,
            partial,
            mut frames,
            counts,
        } = self;
        let trailer = Entry::from(Kind::Trailer(counts.into()));
        frames.write(&trailer.encode_to_vec())?;
        let mut output = frames.into_output();
        output.flush()?;
        output.get_ref().sync_all()?;
        fs::rename(&partial.0, &path)?;
        let parent = path.parent().filter(|parent| *parent != Path::new(""));
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(counts)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Once it was renamed, nothing has this name.
        let _ = fs::remove_file(&self.0);
    }
}

/// Says which file it is about.
pub(super) fn explain(path: &Path) -> impl Fn(io::Error) -> TransferError + use<> {
    let path = path.to_owned();
    move |source| TransferError::File {
        path: path.clone(),
        source,
    }
}
