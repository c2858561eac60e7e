//! What the gateways of a run have in common.

use super::{
    hands::Hands,
    log::{DEDUP_WINDOW, RETENTION},
    place::Place,
    storage::Storage,
};

/// The day on which every run begins, in milliseconds.
const BEGINNING: i64 = 1_800_000_000_000;

/// What every gateway of a run is started with.
pub struct Setting {
    pub place: Place,
    pub storage: Storage,
    /// One clock for each gateway.
    pub hands: Vec<Hands>,
    pub retention_kib: u64,
}

impl Setting {
    pub fn new(place: Place, retention_kib: u64) -> Setting {
        let clocks = (0..place.gateways()).map(|_| Hands::at(BEGINNING));
        Setting {
            place,
            storage: Storage::new(place),
            hands: clocks.collect(),
            retention_kib,
        }
    }

    /// The flags of all gateways.
    pub fn flags(&self) -> Vec<(&'static str, String)> {
        let mut flags = vec![
            ("retention-age", format!("{RETENTION}ms")),
            ("retention-size", format!("{}KiB", self.retention_kib)),
            ("dedup-window", format!("{DEDUP_WINDOW}ms")),
        ];
        flags.extend(self.storage.flags());
        flags
    }
}
