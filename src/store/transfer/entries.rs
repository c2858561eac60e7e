//! The entries of a file in their order: a header, items, a trailer that counts them, and nothing after it.

use std::io::Read;

use prost::Message;

use super::{
    entry::{Entry, FORMAT, Header, Kind, Trailer},
    frame::{FrameError, FrameReader},
    item::{Counts, Item},
};

/// Reads the items of a file.
pub(super) struct Entries<R> {
    frames: FrameReader<R>,
    counts: Counts,
    largest: usize,
}

impl<R: Read> Entries<R> {
    /// Reads the header of a file with so many bytes.
    pub(super) fn open(input: R, bytes: u64) -> Result<(Header, Self), FrameError> {
        let mut frames = FrameReader::new(input, bytes)?;
        match kind(frames.next()?)? {
            Kind::Header(header) if (1..=FORMAT).contains(&header.format) => {
                let entries = Entries {
                    frames,
                    counts: Counts::default(),
                    largest: 0,
                };
                Ok((header, entries))
            }
            Kind::Header(_) => Err(FrameError::Damaged(
                "it is of another version of the gateway",
            )),
            _ => Err(FrameError::Damaged("it has no header")),
        }
    }

    /// The next item; `None` after the last one of a file that is whole.
    pub(super) fn next(&mut self) -> Result<Option<Item>, FrameError> {
        let frame = self.frames.next()?;
        let size = frame.as_ref().map_or(0, Vec::len);
        let item = match kind(frame)? {
            Kind::Event(event) => event.into_item(),
            Kind::Request(request) => request.into_item(),
            Kind::Poll(poll) => poll.into_item(),
            Kind::Trailer(trailer) => return self.end(&trailer).map(|()| None),
            Kind::Header(_) => None,
        };
        let item = item.ok_or(FrameError::Damaged("a record is none"))?;
        self.counts += &item;
        self.largest = self.largest.max(size);
        Ok(Some(item))
    }

    /// How many bytes the largest item had, so far.
    pub(super) fn largest(&self) -> usize {
        self.largest
    }

    fn end(&mut self, trailer: &Trailer) -> Result<(), FrameError> {
        if *trailer != self.counts.into() {
            return Err(FrameError::Damaged("it does not hold what it says"));
        }
        match self.frames.next()? {
            None => Ok(()),
            Some(_) => Err(FrameError::Damaged("it goes on after its end")),
        }
    }
}

fn kind(frame: Option<Vec<u8>>) -> Result<Kind, FrameError> {
    let frame = frame.ok_or(FrameError::Damaged("it is cut"))?;
    let entry = Entry::decode(bytes::Bytes::from(frame)).ok();
    let kind = entry.and_then(|entry| entry.kind);
    kind.ok_or(FrameError::Damaged("a record is none"))
}
