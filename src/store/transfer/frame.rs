//! The frames of a file: each has a length, a checksum over its place and its bytes, and the bytes.

use std::io::{self, ErrorKind, Read, Write};

use thiserror::Error;
use xxhash_rust::xxh3::Xxh3;

/// What a file begins with.
const MAGIC: &[u8; 18] = b"kora-gateway log\r\n";

/// How many bytes a frame has before its content: a length of 4 and a checksum of 8, little-endian.
const HEAD_BYTES: usize = 4 + 8;

/// How large the content of a frame may be.
const MAX_CONTENT_BYTES: usize = 1 << 30;

/// Why there is no next frame.
#[derive(Debug, Error)]
pub(super) enum FrameError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{0}")]
    Damaged(&'static str),
}

/// Writes frames, one after the other.
pub(super) struct FrameWriter<W> {
    output: W,
    written: u64,
}

/// Reads them back.
pub(super) struct FrameReader<R> {
    input: R,
    bytes_left: u64,
    read: u64,
}

impl<W: Write> FrameWriter<W> {
    pub(super) fn new(mut output: W) -> io::Result<Self> {
        output.write_all(MAGIC)?;
        Ok(FrameWriter { output, written: 0 })
    }

    pub(super) fn write(&mut self, content: &[u8]) -> io::Result<()> {
        if content.len() > MAX_CONTENT_BYTES {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                "a record is too large",
            ));
        }
        self.output
            .write_all(&(content.len() as u32).to_le_bytes())?;
        let checksum = checksum(self.written, content);
        self.output.write_all(&checksum.to_le_bytes())?;
        self.written += 1;
        self.output.write_all(content)
    }

    pub(super) fn into_output(self) -> W {
        self.output
    }
}

impl<R: Read> FrameReader<R> {
    /// Reads from the beginning of a file with so many bytes.
    pub(super) fn new(mut input: R, bytes: u64) -> Result<Self, FrameError> {
        let mut magic = [0; MAGIC.len()];
        let bytes_left = bytes.checked_sub(MAGIC.len() as u64);
        let bytes_left = bytes_left.ok_or(FrameError::Damaged("it is cut"))?;
        input.read_exact(&mut magic)?;
        match magic == *MAGIC {
            true => Ok(FrameReader {
                input,
                bytes_left,
                read: 0,
            }),
            false => Err(FrameError::Damaged("it is something else")),
        }
    }

    /// The next frame; `None` where the file ends with a whole one.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        if self.bytes_left == 0 {
            return Ok(None);
        }
        let mut length = [0; 4];
        let mut expected = [0; 8];
        self.take(HEAD_BYTES)?;
        self.input.read_exact(&mut length)?;
        self.input.read_exact(&mut expected)?;
        let length = u32::from_le_bytes(length) as usize;
        // A length that is not what was written must not become memory.
        self.take(length)?;
        if length > MAX_CONTENT_BYTES {
            return Err(FrameError::Damaged("a length differs"));
        }
        let mut content = vec![0; length];
        self.input.read_exact(&mut content)?;
        if checksum(self.read, &content) != u64::from_le_bytes(expected) {
            return Err(FrameError::Damaged("a record differs from its checksum"));
        }
        self.read += 1;
        Ok(Some(content))
    }

    fn take(&mut self, bytes: usize) -> Result<(), FrameError> {
        let left = self.bytes_left.checked_sub(bytes as u64);
        self.bytes_left = left.ok_or(FrameError::Damaged("it is cut, or a length differs"))?;
        Ok(())
    }
}

/// A frame that is left out, twice there or at another place differs too.
fn checksum(place: u64, content: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&place.to_le_bytes());
    hash.update(&(content.len() as u64).to_le_bytes());
    hash.update(content);
    hash.digest()
}
