//! A gateway's clock, which the run sets. It is in a file, for gateways that are processes of their own.

use std::{fs::File, os::unix::fs::FileExt, path::Path};

use jiff::Timestamp;
use kora_gateway::clock::Clock;
use tempfile::NamedTempFile;

/// The hands of one clock, in milliseconds.
pub struct Hands(NamedTempFile);

impl Hands {
    pub fn at(milliseconds: i64) -> Hands {
        let hands = Hands(NamedTempFile::new().unwrap());
        hands.set(milliseconds);
        hands
    }

    pub fn now(&self) -> i64 {
        read(self.0.as_file())
    }

    pub fn pass(&self, milliseconds: i64) {
        self.set(self.now() + milliseconds);
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    fn set(&self, milliseconds: i64) {
        let bytes = milliseconds.to_le_bytes();
        self.0.as_file().write_all_at(&bytes, 0).unwrap();
    }
}

/// The clock with the hands in this file.
pub fn clock(path: &Path) -> Clock {
    let hands = File::open(path).unwrap();
    Clock::from_fn(move || Timestamp::from_millisecond(read(&hands)).unwrap())
}

fn read(hands: &File) -> i64 {
    let mut bytes = [0; 8];
    hands.read_exact_at(&mut bytes, 0).unwrap();
    i64::from_le_bytes(bytes)
}
