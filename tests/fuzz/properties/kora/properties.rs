//! What holds for every answer of Kora's.

mod refusals;
mod screenings;
mod subjects;
mod waits;

pub use waits::retry_after;

use crate::fuzzing::input::Input;

/// An answer: the screening or the subject that was made or asked for, or an error. None is an approval that it
/// does not say, and none is safe to be sent again that does not say so.
pub fn kora_answer(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 5 {
        0 => screenings::created(&mut input),
        1 => screenings::found(input.rest()),
        2 => subjects::created(input.rest()),
        3 => subjects::found(input.rest()),
        _ => refusals::refused(&mut input),
    }
}
