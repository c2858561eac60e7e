//! How a stream begins, or fails to: what the gateway says to a request, and what the model says.

use kora_gateway::pb::watch_events_request::Start;
use tonic::Code;

use super::{
    asking::{Asked, asked, begin_of},
    follower::{Follower, Read},
    log::Begin,
    operation::{News, Wish, WishedStart},
    script::delivery,
    world::World,
};
use crate::subscriber::{Subscriber, assert_failure};

/// How many subscribers there are at a time.
const MAX_FOLLOWERS: usize = 6;

/// Keeps a subscriber that has come.
pub fn keep(world: &mut World, follower: Option<Follower>) {
    if let Some(follower) = follower {
        world.assert_known(&follower.tokens);
        if world.followers.len() == MAX_FOLLOWERS {
            world.followers.remove(0);
        }
        world.followers.push(follower);
    }
}

/// A subscriber comes.
pub async fn open(world: &mut World, wish: Wish) {
    let asked = asked(world, wish);
    come(world, asked).await;
}

/// Subscribers come, with what they ask for and connections of their own.
pub async fn come(world: &mut World, asked: Asked) {
    let at = world.land();
    let subscriber = world.new_subscriber(at).await;
    let follower = ask(world, (at, &subscriber), asked).await;
    keep(world, follower);
}

/// Opens a stream at a gateway; `None` where it had to fail, and did.
async fn ask(
    world: &mut World,
    (at, subscriber): (usize, &Subscriber),
    asked: Asked,
) -> Option<Follower> {
    world.wait_for_trim_on_nats(at).await;
    let start = &asked.request.start;
    let begin = begin_of(world, start);
    let token = match start {
        Some(Start::ResumeToken(token)) => token.clone(),
        _ => world.log.first_token.clone(),
    };
    let lost = match begin {
        Begin::Expired if !asked.wanted.skips_gaps => Some("TOKEN_EXPIRED"),
        Begin::Foreign if !asked.wanted.skips_gaps => Some("TOKEN_FOREIGN"),
        _ => None,
    };
    match (subscriber.watch(asked.request.clone()).await, lost) {
        (Err(status), Some(reason)) => {
            let info = assert_failure(&status, Code::OutOfRange, reason);
            let oldest = info.metadata.get("oldest_token").map(String::as_str);
            let is_expired = begin == Begin::Expired;
            assert_eq!(
                oldest,
                is_expired.then(|| world.log.token(world.log.trimmed))
            );
            None
        }
        (Ok(mut stream), None) => {
            let first = stream.message().await;
            let heads = least_head(world, at, begin)..=world.log.head();
            let begin = (begin, token.as_str());
            let opened = (stream, first);
            let follower = Follower::new(opened, asked, begin, &world.log, (at, heads));
            world.has_shown(at, follower.shown());
            Some(follower)
        }
        (Ok(_), Some(reason)) => panic!("{reason} was due: {asked:?}"),
        (Err(status), None) => panic!("{status:?} for {asked:?}, {begin:?}"),
    }
}

/// How far a gateway must be when it opens a stream: it waits for the record of another one's token.
fn least_head(world: &World, at: usize, begin: Begin) -> usize {
    match begin {
        Begin::At(sequence) => world.shown(at).max(sequence),
        _ => world.shown(at),
    }
}

/// The head moves while the stream is opened.
pub async fn open_amid(world: &mut World, mut wish: Wish, count: usize) {
    // Where it is to begin has to be certain all the same.
    let is_certain = matches!(
        wish.start,
        WishedStart::Latest | WishedStart::Unset | WishedStart::Token(_)
    );
    if !is_certain {
        wish.start = WishedStart::Latest;
    }
    let asked = asked(world, wish);
    let begin = begin_of(world, &asked.request.start);
    let (Begin::At(_) | Begin::Head) = begin else {
        return;
    };
    let at = world.land();
    world.wait_for_trim_on_nats(at).await;
    let (least, trimmed) = (least_head(world, at, begin), world.log.trimmed);
    let subscriber = world.new_subscriber(at).await;
    let request = asked.request.clone();
    let opening = tokio::spawn(async move {
        let mut stream = subscriber.watch(request).await?;
        let first = stream.message().await;
        Ok((stream, first))
    });
    for _ in 0..count {
        let delivery = delivery(world, &News::plain());
        world.deliver(delivery).await;
    }
    let opened: Result<_, tonic::Status> = opening.await.unwrap();
    // What is dropped for its size meanwhile can take the place away.
    if world.log.trimmed == trimmed {
        let at = (at, least..=world.log.head());
        let follower = Follower::new(opened.unwrap(), asked, (begin, ""), &world.log, at);
        keep(world, Some(follower));
    }
}

/// A gateway that stood still is asked to go on after a token of another one that it cannot know yet.
pub async fn open_behind(world: &mut World, wish: Wish, count: usize) {
    world.come_back().await;
    let at = world.land();
    let other = world.other_than(at).expect("another one");
    world.move_reference(other).await;
    world.wait_for_trim_on_nats(at).await;
    let trimmed = world.log.trimmed;
    let subscriber = world.new_subscriber(at).await;
    world.gateway(at).freeze(true).await;
    world.landings = if other == 0 { 0 } else { u64::MAX };
    for _ in 0..count {
        let delivery = delivery(world, &News::plain());
        world.deliver(delivery).await;
    }
    let mut asked = asked(world, wish);
    let token = world.log.token(world.log.head()).to_owned();
    asked.request.start = Some(Start::ResumeToken(token));
    asked.wanted.from = None;
    let request = asked.request.clone();
    let opening = tokio::spawn(async move { subscriber.watch(request).await });
    world.gateway(at).freeze(false).await;
    let mut stream = opening.await.unwrap().unwrap();
    let first = stream.message().await;
    // What was dropped meanwhile it may or may not have seen.
    if world.log.trimmed == trimmed {
        let head = world.log.head();
        let (begin, heads) = ((Begin::At(head), ""), (at, head..=head));
        let follower = Follower::new((stream, first), asked, begin, &world.log, heads);
        world.has_shown(at, follower.shown());
        keep(world, Some(follower));
    }
}

/// The whole log, as a subscriber without a token finds it at each gateway.
pub async fn ask_for_everything(world: &mut World) {
    let everything = Wish {
        start: WishedStart::Earliest,
        types: Vec::new(),
        subjects: Vec::new(),
        screenings: Vec::new(),
        until_caught_up: true,
        skips_gaps: false,
        is_raw: true,
        heartbeat: None,
    };
    world.come_back().await;
    world.wait_for_heads().await;
    for at in 0..world.gateways.len() {
        probe_at(world, at, everything.clone()).await;
    }
}

/// Opens a stream and reads it to its end.
pub async fn probe(world: &mut World, wish: Wish) {
    let at = world.land();
    probe_at(world, at, wish).await;
}

async fn probe_at(world: &mut World, at: usize, mut wish: Wish) {
    wish.until_caught_up = true;
    let subscriber = world.subscriber(at);
    let asked = asked(world, wish);
    if let Some(mut follower) = ask(world, (at, &subscriber), asked).await {
        while follower.read(&world.log).await != Read::End {}
        world.assert_known(&follower.tokens);
    }
}
