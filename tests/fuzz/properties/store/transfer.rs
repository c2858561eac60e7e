//! What holds for every file of a log that moves.

use prost::Message;

use super::{
    entries::Entries,
    entry::{Entry, FORMAT, Header, Kind},
    frame::{FrameError, FrameWriter},
    item::{Counts, Item, MovedEvent},
};
use crate::{
    fuzzing::input::Input,
    store::{Record, properties},
};

/// How many items a file has at most.
const MAX_ITEMS: usize = 8;

/// A file of any bytes: what is taken holds what it is written as again.
pub(in crate::store) fn any_file(file: &[u8]) {
    if let Ok((header, items)) = read(file) {
        let written = write(header, &items);
        let (_, again) = read(&written).expect("it was taken once");
        assert!(contents(&again) == contents(&items));
    }
}

/// A file as it was written is read as it was; one that was changed or cut is refused.
pub(in crate::store) fn changed_file(input: &mut Input<'_>) {
    let header = Header {
        format: FORMAT,
        tenant: input.text(),
        trimmed_time: (input.byte() & 1 != 0).then(|| properties::time(input).as_millisecond()),
    };
    let count = usize::from(input.byte()) % MAX_ITEMS;
    let items: Vec<_> = (0..count).map(|_| item(input)).collect();
    let file = write(header.clone(), &items);
    let (header_read, items_read) = read(&file).expect("it was written so");
    assert!(header_read == header && contents(&items_read) == contents(&items));
    let changed = properties::changed(input, &file);
    assert!(
        changed == file || read(&changed).is_err(),
        "it was changed and is taken"
    );
}

fn item(input: &mut Input<'_>) -> Item {
    match input.byte() % 3 {
        0 => {
            let (time, event) = (properties::time(input), properties::event(input));
            let record = Record::seal(crate::event::LogId([1; 16]), (0, 0), time, event);
            Item::Event(MovedEvent::from(&record))
        }
        1 => Item::Request(properties::request(input)),
        _ => Item::Poll(properties::poll(input)),
    }
}

fn read(file: &[u8]) -> Result<(Header, Vec<Item>), FrameError> {
    let (header, mut entries) = Entries::open(file, file.len() as u64)?;
    let mut items = Vec::new();
    while let Some(item) = entries.next()? {
        items.push(item);
    }
    assert!(entries.largest() <= file.len());
    Ok((header, items))
}

fn write(header: Header, items: &[Item]) -> Vec<u8> {
    let mut counts = Counts::default();
    items.iter().for_each(|item| counts += item);
    let mut frames = FrameWriter::new(Vec::new()).expect("memory takes all");
    let ends = (Kind::Header(header), Kind::Trailer(counts.into()));
    let kinds = [ends.0]
        .into_iter()
        .chain(items.iter().map(kind))
        .chain([ends.1]);
    for kind in kinds {
        let frame = Entry::from(kind).encode_to_vec();
        frames.write(&frame).expect("memory takes all");
    }
    frames.into_output()
}

fn kind(item: &Item) -> Kind {
    match item {
        Item::Event(event) => Kind::Event(event.clone().into()),
        Item::Request(request) => Kind::Request(request.clone().into()),
        Item::Poll(poll) => Kind::Poll(poll.clone().into()),
    }
}

fn contents(items: &[Item]) -> Vec<Kind> {
    items.iter().map(kind).collect()
}
