//! `watch`: prints events as they come, remembers the place, and comes back when the stream is lost.

mod arguments;
mod delivery;
mod ending;
mod lines;
mod notices;
mod place;
mod seen;
#[cfg(test)]
mod tests;
mod waits;

use std::{io, process::ExitCode, time::Duration};

use tokio::{task, time};
use tonic::Streaming;

use super::{
    BAD_CONFIGURATION, client, complain, failure::Failed, gateway_args::GatewayArgs, way_in::WayIn,
};
use crate::{
    lifecycle::{Shutdown, stop_on_signals},
    pb::{
        WatchEventsRequest, WatchEventsResponse, watch_events_request::Start,
        watch_events_response::Signal,
    },
};
pub(super) use arguments::WatchArgs;
use delivery::{Delivery, Form, Undelivered};
use ending::{Ending, Loss};
use notices::Notices;
use place::Place;
use waits::Waits;

/// How large a message of the gateway's may be, in bytes: many events, each with Kora's body.
const MAX_MESSAGE_BYTES: usize = 48 * 1024 * 1024;

/// Follows the events of a gateway, from one stream to the next.
struct Watcher {
    gateway: GatewayArgs,
    /// What was shown to the gateway last.
    way_in: Option<WayIn>,
    /// What the next stream is asked for. It starts where the last one got to.
    request: WatchEventsRequest,
    waits: Waits,
    /// Streams in a row that were lost before they brought anything.
    failures: u32,
    delivery: Delivery,
    notices: Notices,
    shutdown: Shutdown,
}

/// One stream and what it said of itself.
struct Stream {
    messages: Streaming<WatchEventsResponse>,
    /// How long it may be silent.
    silence: Duration,
    caught_up: bool,
    /// How long the gateway, which is about to end it, asks to stay away.
    asked: Option<Duration>,
}

pub(super) async fn watch(args: WatchArgs) -> ExitCode {
    // Later it is a rotation that can be waited for; now it would be tried for ever.
    if let Err(bad) = args.gateway.way_in().await {
        return complain(BAD_CONFIGURATION, bad);
    }
    let mut request = args.request();
    let place = match args.resume_file.map(Place::open).transpose() {
        Ok(place) => place,
        Err(problem) => return complain(1, problem),
    };
    if let Some(token) = place.as_ref().and_then(Place::token) {
        request.start = Some(Start::ResumeToken(token.to_owned()));
    }
    let shutdown = Shutdown::default();
    if let Err(error) = stop_on_signals(shutdown.clone()) {
        return complain(1, error);
    }
    let form = if args.json { Form::Json } else { Form::Line };
    let watcher = Watcher {
        gateway: args.gateway,
        way_in: None,
        request,
        waits: Waits::default(),
        failures: 0,
        delivery: Delivery::new(Box::new(io::stdout()), form, place),
        notices: Notices::new(Box::new(io::stderr())),
        shutdown,
    };
    match watcher.run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => complain(1, problem),
    }
}

impl Watcher {
    /// Watches until it is told to stop, or cannot or need not go on.
    ///
    /// # Errors
    /// What went wrong, and what to do.
    async fn run(mut self) -> Result<(), String> {
        loop {
            let loss = match self.follow_one().await {
                Ending::Lost(loss) => loss,
                Ending::Unidentified(_) if self.has_another_way_in().await => Loss {
                    why: "the gateway does not know the caller, whose file says something else by now".to_owned(),
                    asked: None,
                },
                Ending::Done => return Ok(()),
                Ending::Unidentified(problem) | Ending::Failed(problem) => return Err(problem),
            };
            let wait = self.waits.before_return(self.failures, loss.asked);
            self.failures = self.failures.saturating_add(1);
            self.notices.lost(&loss.why, wait);
            tokio::select! {
                () = self.shutdown.started() => return Ok(()),
                () = time::sleep(wait) => {}
            }
        }
    }

    /// Opens a stream and follows it to its end.
    async fn follow_one(&mut self) -> Ending {
        let mut stream = match self.open().await {
            Ok(stream) => stream,
            Err(ending) => return ending,
        };
        loop {
            let handled = match self.next(&mut stream).await {
                Ok(message) => self.handle(&mut stream, message),
                Err(ending) => Err(ending),
            };
            if let Err(ending) = handled {
                return ending;
            }
        }
    }

    async fn open(&mut self) -> Result<Stream, Ending> {
        let (limit, shutdown) = (self.waits.opening, self.shutdown.clone());
        let opened = tokio::select! {
            () = shutdown.started() => return Err(Ending::Done),
            opened = time::timeout(limit, self.connect()) => opened,
        };
        match opened {
            Ok(Ok(messages)) => Ok(Stream {
                messages,
                silence: limit,
                caught_up: false,
                asked: None,
            }),
            Ok(Err(failed)) => Err(self.ending(&failed)),
            Err(_) => Err(silent(limit)),
        }
    }

    /// Connects anew, because a connection that lost its stream may be dead itself, and with what the files say by now.
    async fn connect(&mut self) -> Result<Streaming<WatchEventsResponse>, Failed> {
        let way_in = self.way_in.insert(self.gateway.way_in().await?);
        let client = client::connect(way_in.endpoint()).await?;
        let mut client = client.max_decoding_message_size(MAX_MESSAGE_BYTES);
        let request = way_in.request(self.request.clone());
        Ok(client.watch_events(request).await?.into_inner())
    }

    /// The next message of a stream.
    async fn next(&self, stream: &mut Stream) -> Result<WatchEventsResponse, Ending> {
        let next = tokio::select! {
            () = self.shutdown.started() => return Err(Ending::Done),
            next = time::timeout(stream.silence, stream.messages.message()) => next,
        };
        let mut ending = match next {
            Ok(Ok(Some(message))) => return Ok(message),
            Ok(Ok(None)) if self.request.until_caught_up && stream.caught_up => Ending::Done,
            Ok(Ok(None)) => Ending::lost("the stream ended"),
            Ok(Err(status)) => self.ending(&status.into()),
            Err(_) => silent(stream.silence),
        };
        if let Ending::Lost(Loss { asked, .. }) = &mut ending {
            *asked = asked.or(stream.asked);
        }
        Err(ending)
    }

    /// Delivers what a message brings. From then on the next stream starts after it.
    fn handle(&mut self, stream: &mut Stream, message: WatchEventsResponse) -> Result<(), Ending> {
        match &message.signal {
            Some(Signal::Opened(opened)) => {
                stream.silence = waits::silence(opened.heartbeat_interval);
                self.notices.opened();
            }
            Some(Signal::CaughtUp(_)) => stream.caught_up = true,
            Some(Signal::Gap(gap)) => self.notices.warn(&lines::gap(gap)),
            Some(Signal::Draining(draining)) => {
                let asked = draining.reconnect_after;
                stream.asked = asked.and_then(|asked| asked.try_into().ok());
            }
            Some(Signal::Heartbeat(_)) | None => {}
        }
        // Only what proves that the stream works: one that opens and breaks again counts as a failure.
        if !message.events.is_empty() || matches!(message.signal, Some(Signal::Heartbeat(_))) {
            self.failures = 0;
        }
        task::block_in_place(|| self.delivery.deliver(&message)).map_err(|error| match error {
            Undelivered::ReaderGone => Ending::Done,
            error => Ending::Failed(error.to_string()),
        })?;
        if !message.resume_token.is_empty() {
            self.request.start = Some(Start::ResumeToken(message.resume_token));
        }
        Ok(())
    }

    /// Whether the files that show who calls have changed since they were shown last.
    async fn has_another_way_in(&self) -> bool {
        match (&self.way_in, self.gateway.way_in().await) {
            (Some(shown), Ok(now)) => !now.shows_the_same_as(shown),
            _ => false,
        }
    }

    fn ending(&self, failed: &Failed) -> Ending {
        Ending::of(failed, self.delivery.place().map(Place::path))
    }
}

fn silent(limit: Duration) -> Ending {
    let limit = humantime::format_duration(limit);
    Ending::lost(format!("nothing came from the gateway for {limit}"))
}
