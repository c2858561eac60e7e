//! Where a run has its log, and what differs there.

/// Where the log of a run is, and who is in front of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// One gateway with a directory.
    Embedded,
    /// One gateway on NATS.
    Nats,
    /// Two gateways on one NATS server.
    Replicas,
}

impl Place {
    /// How many gateways there are.
    pub fn gateways(self) -> usize {
        match self {
            Place::Embedded | Place::Nats => 1,
            Place::Replicas => 2,
        }
    }

    /// Whether the log outlives a gateway that is killed.
    pub fn is_on_nats(self) -> bool {
        self != Place::Embedded
    }

    /// The gateway drops what is too old by its own clock, and what is too much by the sizes of events: the model
    /// does the same sums. On NATS the server drops, by its own clock, which nobody can set, and by the sizes of its
    /// messages. There the model asks the server after each append what is left, which an append alone decides; and
    /// the run takes the place of the server's clock, by purging what is to be too old. A gateway sees that later,
    /// once a second.
    pub fn trims_by_itself(self) -> bool {
        self == Place::Embedded
    }

    /// A body without an id is as old as its event would be younger than the newest with the same body. On NATS it is
    /// as old as the gateway's clock says, which can be behind the log.
    pub fn ages_by_the_log(self) -> bool {
        self == Place::Embedded
    }
}
