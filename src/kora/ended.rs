//! What the end of an attempt means: for the rate limit, the circuit, the metrics, and the caller.

use super::{
    Endpoint,
    admission::Admitted,
    exchange::{Answer, Lost},
    metrics::Ending,
    transmission::Transmission,
};
use crate::error::{CallError, Reason};

/// How an attempt ended.
pub(super) enum Ended {
    Answered(Answer),
    /// Without a whole answer; certainly not sent if a POST's body was never asked for.
    Lost(Lost),
    /// The attempt's limit passed.
    TimedOut,
    /// The caller's deadline passed first.
    CallerGaveUp,
}

/// What an attempt came to.
pub(super) struct Outcome {
    pub(super) ending: Ending,
    /// Whether Kora answers; `None` if the attempt says nothing about it.
    pub(super) answers: Option<bool>,
    pub(super) result: Result<Answer, CallError>,
}

impl Ended {
    /// Tells what the attempt was admitted by how it ended. A POST has a `transmission`.
    pub(super) fn settle(
        self,
        endpoint: Endpoint,
        transmission: Option<&Transmission>,
        admitted: Admitted,
    ) -> Outcome {
        match self {
            Ended::Answered(answer) => {
                admitted.answered(&answer);
                Outcome {
                    ending: Ending::Status(answer.status.as_u16()),
                    answers: Some(true),
                    result: Ok(answer),
                }
            }
            Ended::Lost(lost) => settle_lost(lost, endpoint, transmission, admitted),
            Ended::TimedOut => {
                admitted.lost();
                Outcome::timed_out(Some(false))
            }
            // A caller in a hurry says nothing about Kora.
            Ended::CallerGaveUp => Outcome::timed_out(None),
        }
    }
}

impl Outcome {
    fn timed_out(answers: Option<bool>) -> Self {
        Outcome {
            ending: Ending::TimedOut,
            answers,
            result: Err(Reason::DeadlineExceeded.into()),
        }
    }
}

fn settle_lost(
    lost: Lost,
    endpoint: Endpoint,
    transmission: Option<&Transmission>,
    admitted: Admitted,
) -> Outcome {
    let Lost {
        cause,
        kora_request_id,
    } = lost;
    let was_not_sent = match transmission {
        Some(transmission) => transmission.revoke(),
        None => cause.is_before_sending(),
    };
    let (ending, answers, reason) = match was_not_sent {
        true if cause.is_before_sending() => {
            admitted.unreachable();
            (Ending::NotSent, Some(false), Reason::KoraUnreachable)
        }
        // Taken back by its caller, or handed back by the client.
        true => {
            admitted.not_sent();
            (Ending::NotSent, None, Reason::KoraUnreachable)
        }
        false => {
            let answers = cause.is_answer();
            match answers {
                true => admitted.unread(),
                false => admitted.lost(),
            }
            (Ending::Lost, Some(answers), cause.reason(endpoint))
        }
    };
    Outcome {
        ending,
        answers,
        result: Err(CallError {
            kora_request_id,
            ..CallError::new(reason).because(cause)
        }),
    }
}
