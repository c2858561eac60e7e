//! Who goes next.

use std::collections::{BTreeMap, HashMap, VecDeque};

use tokio::time::Instant;

/// The background gets one turn in so many, however many wait in front of it.
const BACKGROUND_TURN: u32 = 10;

/// Which of the two queues a call waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Somebody waits for the result: synchronous screenings, subjects, reads.
    Interactive,
    /// The result comes later anyway: asynchronous screenings, polls.
    Background,
}

/// The place of a call in its lane.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) lane: Lane,
    pub(super) caller: String,
    pub(super) deadline: Instant,
    /// Tells calls with the same deadline apart; the lower goes first.
    pub(super) number: u64,
}

/// The calls that wait. The interactive lane goes first, but for the background's turns.
pub(super) struct Lanes<T> {
    interactive: Turns<T>,
    background: Turns<T>,
    /// Turns that the background has waited for one, below [`BACKGROUND_TURN`].
    since_background: u32,
}

/// One lane: its callers take turns, and each one's calls go by deadline.
struct Turns<T> {
    calls: HashMap<String, BTreeMap<(Instant, u64), T>>,
    /// Every caller that waits, the next one first.
    order: VecDeque<String>,
    len: u32,
}

impl Lane {
    pub(super) fn name(self) -> &'static str {
        match self {
            Lane::Interactive => "interactive",
            Lane::Background => "background",
        }
    }
}

impl<T> Lanes<T> {
    pub(super) fn push(&mut self, place: Place, call: T) {
        self.lane_mut(place.lane).push(place, call);
    }

    /// Takes a call out; `None` if it is not there any more.
    pub(super) fn remove(&mut self, place: &Place) -> Option<T> {
        self.lane_mut(place.lane).remove(place)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.interactive.len == 0 && self.background.len == 0
    }

    /// How many wait in a lane.
    pub(super) fn len(&self, lane: Lane) -> u32 {
        self.lane(lane).len
    }

    /// Takes the call whose turn it is.
    pub(super) fn next(&mut self) -> Option<(Lane, T)> {
        let is_due = self.since_background >= BACKGROUND_TURN - 1;
        let lane = match (self.interactive.len, self.background.len) {
            (_, 1..) if is_due => Lane::Background,
            (1.., _) => Lane::Interactive,
            _ => Lane::Background,
        };
        let call = self.lane_mut(lane).next()?;
        self.since_background = match lane {
            Lane::Interactive if self.background.len > 0 => self.since_background + 1,
            Lane::Interactive | Lane::Background => 0,
        };
        Some((lane, call))
    }

    /// About how many calls go before one with this place, if nobody else comes.
    pub(super) fn ahead(&self, lane: Lane, caller: &str, deadline: Instant) -> u32 {
        let in_lane = self.lane(lane).ahead(caller, deadline);
        let in_front = BACKGROUND_TURN - 1;
        in_lane
            + match lane {
                Lane::Interactive => {
                    let due = (self.since_background + in_lane) / in_front;
                    self.background.len.min(due)
                }
                Lane::Background => {
                    let first = in_front - self.since_background;
                    self.interactive.len.min(first + in_lane * in_front)
                }
            }
    }

    /// Takes out every call whose deadline is before `time`.
    pub(super) fn take_due_before(&mut self, time: Instant) -> Vec<(Place, T)> {
        let mut taken = self.interactive.take_due_before(Lane::Interactive, time);
        taken.extend(self.background.take_due_before(Lane::Background, time));
        taken
    }

    fn lane(&self, lane: Lane) -> &Turns<T> {
        match lane {
            Lane::Interactive => &self.interactive,
            Lane::Background => &self.background,
        }
    }

    fn lane_mut(&mut self, lane: Lane) -> &mut Turns<T> {
        match lane {
            Lane::Interactive => &mut self.interactive,
            Lane::Background => &mut self.background,
        }
    }
}

impl<T> Turns<T> {
    fn push(&mut self, place: Place, call: T) {
        let key = (place.deadline, place.number);
        match self.calls.get_mut(&place.caller) {
            Some(calls) => {
                calls.insert(key, call);
            }
            None => {
                self.order.push_back(place.caller.clone());
                self.calls
                    .insert(place.caller, BTreeMap::from([(key, call)]));
            }
        }
        self.len += 1;
    }

    fn remove(&mut self, place: &Place) -> Option<T> {
        let calls = self.calls.get_mut(&place.caller)?;
        let call = calls.remove(&(place.deadline, place.number))?;
        self.len -= 1;
        if calls.is_empty() {
            self.calls.remove(&place.caller);
            self.order.retain(|caller| *caller != place.caller);
        }
        Some(call)
    }

    fn next(&mut self) -> Option<T> {
        let caller = self.order.pop_front()?;
        let calls = self.calls.get_mut(&caller)?;
        let (_, call) = calls.pop_first()?;
        self.len -= 1;
        match calls.is_empty() {
            true => {
                self.calls.remove(&caller);
            }
            false => self.order.push_back(caller),
        }
        Some(call)
    }

    fn ahead(&self, caller: &str, deadline: Instant) -> u32 {
        let own = self.calls.get(caller);
        let own = own.map_or(0, |calls| calls.range(..=(deadline, u64::MAX)).count());
        let others = self.calls.iter().filter(|(other, _)| *other != caller);
        let others: usize = others.map(|(_, calls)| calls.len().min(own + 1)).sum();
        (own + others) as u32
    }

    fn take_due_before(&mut self, lane: Lane, time: Instant) -> Vec<(Place, T)> {
        let mut taken = Vec::new();
        for (caller, calls) in &mut self.calls {
            while let Some(first) = calls.first_entry().filter(|first| first.key().0 < time) {
                let ((deadline, number), call) = first.remove_entry();
                let caller = caller.clone();
                taken.push((
                    Place {
                        lane,
                        caller,
                        deadline,
                        number,
                    },
                    call,
                ));
            }
        }
        self.len -= taken.len() as u32;
        self.calls.retain(|_, calls| !calls.is_empty());
        self.order.retain(|caller| self.calls.contains_key(caller));
        taken
    }
}

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Lanes {
            interactive: Turns::default(),
            background: Turns::default(),
            since_background: 0,
        }
    }
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Turns {
            calls: HashMap::new(),
            order: VecDeque::new(),
            len: 0,
        }
    }
}
